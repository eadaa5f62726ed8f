//! Dates and times as templates ask for them: the `strftime` of the C locale, in UTC.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A point in time, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    year: i64,
    /// From 1.
    month: usize,
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// 0 is Sunday.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let since = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2);
        let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => since(after),
            Err(before) => -since(before.duration()),
        };
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        // 400 years have the same number of days wherever they begin.
        let mut year = 1970 + 400 * days.div_euclid(146_097);
        let mut left = days.rem_euclid(146_097);
        while left >= 365 + i64::from(leap(year)) {
            left -= 365 + i64::from(leap(year));
            year += 1;
        }
        let day_of_year = left + 1;
        let mut month = 1;
        for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            year,
            month,
            day: left + 1,
            day_of_year,
            weekday: (days + 4).rem_euclid(7) as usize,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

impl Moment {
    /// The time as the format says; what the format has and nobody knows stays as it is.
    pub(super) fn format(&self, format: &str) -> String {
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let mut sign = chars.next();
            let bare = sign == Some('-');
            if bare {
                sign = chars.next();
            }
            let number = |text: &mut String, n: i64, width: usize| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{n:0width$}", width = if bare { 1 } else { width });
            };
            let month = MONTHS[self.month.clamp(1, 12) - 1];
            let day = DAYS[self.weekday % 7];
            let twelve = (self.hour + 11) % 12 + 1;
            match sign {
                Some('Y') => number(&mut text, self.year, 4),
                Some('y') => number(&mut text, self.year.rem_euclid(100), 2),
                Some('m') => number(&mut text, self.month as i64, 2),
                Some('d') => number(&mut text, self.day, 2),
                Some('e') => text.push_str(&format!("{:2}", self.day)),
                Some('j') => number(&mut text, self.day_of_year, 3),
                Some('H') => number(&mut text, self.hour, 2),
                Some('I') => number(&mut text, twelve, 2),
                Some('M') => number(&mut text, self.minute, 2),
                Some('S') => number(&mut text, self.second, 2),
                Some('f') => text.push_str("000000"),
                Some('p') => text.push_str(if self.hour < 12 { "AM" } else { "PM" }),
                Some('B') => text.push_str(month),
                Some('b' | 'h') => text.push_str(&month[..3]),
                Some('A') => text.push_str(day),
                Some('a') => text.push_str(&day[..3]),
                Some('w') => number(&mut text, self.weekday as i64, 1),
                Some('u') => number(&mut text, (self.weekday as i64 + 6) % 7 + 1, 1),
                Some('Z') => text.push_str("UTC"),
                Some('z') => text.push_str("+0000"),
                Some('F') => text.push_str(&self.format("%Y-%m-%d")),
                Some('T' | 'X') => text.push_str(&self.format("%H:%M:%S")),
                Some('R') => text.push_str(&self.format("%H:%M")),
                Some('D' | 'x') => text.push_str(&self.format("%m/%d/%y")),
                Some('c') => text.push_str(&self.format("%a %b %e %H:%M:%S %Y")),
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('%') => text.push('%'),
                other => {
                    text.push_str(if bare { "%-" } else { "%" });
                    text.extend(other);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        let since = Duration::from_secs(seconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        Moment::from(if seconds < 0 { epoch - since } else { epoch + since })
    }

    #[test]
    fn known_days() {
        assert_eq!(at(0).format("%A %Y-%m-%d %H:%M:%S %j"), "Thursday 1970-01-01 00:00:00 001");
        assert_eq!(at(-1).format("%a %F %T"), "Wed 1969-12-31 23:59:59");
        assert_eq!(at(951_782_400).format("%d %b %Y, day %j"), "29 Feb 2000, day 060");
        assert_eq!(at(4_107_542_400).format("%F"), "2100-03-01");
        assert_eq!(at(1_741_064_767).format("%c %I%p %-d/%-m %y"), "Tue Mar  4 05:06:07 2025 05AM 4/3 25");
        assert_eq!(at(12 * 3600).format("%I %p"), "12 PM");
        assert_eq!(at(-62_135_596_800).format("%Y"), "0001");
    }

    #[test]
    fn what_nobody_knows_stays() {
        assert_eq!(at(0).format("100%% %Q %-Q %"), "100% %Q %-Q %");
    }
}
