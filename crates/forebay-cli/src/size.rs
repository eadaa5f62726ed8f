//! Sizes as people write and read them.

use std::{fmt, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str =
            "a size is a number with B, KiB, MiB, GiB or TiB, or KB, MB, GB or TB, behind it";
        let text = text.trim();
        let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: f64 = number.parse().map_err(|_| WANTED.to_owned())?;
        let (base, power) = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => (1024, 0),
            "k" | "kib" => (1024, 1),
            "m" | "mib" => (1024, 2),
            "g" | "gib" => (1024, 3),
            "t" | "tib" => (1024, 4),
            "kb" => (1000, 1),
            "mb" => (1000, 2),
            "gb" => (1000, 3),
            "tb" => (1000, 4),
            _ => return Err(WANTED.to_owned()),
        };
        let bytes = number * (base as f64).powi(power);
        if !(0.0..1.8e19).contains(&bytes) {
            return Err("the size is more than any machine has".to_owned());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let unit = (self.0.checked_ilog2().unwrap_or(0) / 10).min(4) as usize;
        let text = match unit {
            0 => format!("{} B", self.0),
            _ => format!("{:.1} {}", self.0 as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("1.5GiB", 3 << 29),
            ("1.5 g", 3 << 29),
            ("2MB", 2_000_000),
            ("2mib", 2 << 20),
            ("64K", 64 << 10),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "x", "-1", "1.2.3", "5 parsecs", "1e3", "99999999TiB", "GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        assert_eq!((Size(1023).to_string(), Size(3 << 29).to_string()), ("1023 B".into(), "1.5 GiB".into()));
    }
}
