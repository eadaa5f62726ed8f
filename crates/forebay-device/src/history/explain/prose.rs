//! An explanation as people read it.

use std::fmt;

use super::{Explanation, Holder};
use crate::{error::Bytes, memory::trace::event::Shortage};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        self.sums(f)?;
        self.live_by(f)?;
        self.retiring_by(f)?;
        self.largest_hole(f)?;
        if !self.advice.is_empty() {
            writeln!(f, "\nWhat to do")?;
            for advice in &self.advice {
                writeln!(f, "  - {advice}")?;
            }
        }
        Ok(())
    }
}

impl Explanation {
    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64() * 1e3;
        match &self.refused {
            Some(refused) => {
                let why = match refused.why {
                    Shortage::Limit => "the limit was reached",
                    Shortage::Driver => "the device had none left",
                    Shortage::Budget => "the budget of its tag was reached",
                };
                writeln!(f, "A request was refused: {why}.")?;
                write!(f, "  asked     {} for {}", Bytes(refused.asked), refused.tag)?;
                match refused.label.as_str() {
                    "" => writeln!(f, ", without a label")?,
                    label => writeln!(f, ", labelled {label:?}")?,
                }
            }
            None => writeln!(f, "No request was refused up to here; this is who had the memory then.")?,
        }
        write!(
            f,
            "  when      event {} of {}, {at:.3} ms after the device was opened",
            self.number, self.events
        )?;
        match &self.refused {
            Some(refused) if refused.count > 1 => writeln!(f, ", refusal number {}", refused.count),
            _ => writeln!(f),
        }
    }

    fn sums(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(limit) = self.limit {
            writeln!(f, "  limit     {}", Bytes(limit))?;
        }
        if self.reserved > 0 {
            writeln!(f, "  reserved  {}", Bytes(self.reserved))?;
        }
        writeln!(f, "  live      {} (takes {} with rounding)", Bytes(self.live), Bytes(self.taken))?;
        if self.retiring > 0 {
            writeln!(f, "  retiring  {} (dropped, and queued work still uses it)", Bytes(self.retiring))?;
        }
        if self.reserved > 0 {
            writeln!(f, "  free      {} in pools, {} of it whole pages", Bytes(self.free), Bytes(self.idle))?;
        }
        if self.outside > 0 {
            writeln!(
                f,
                "  beside    {} of others, such as mapped files; it counts for no limit",
                Bytes(self.outside)
            )?;
        }
        Ok(())
    }

    fn live_by(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_tag.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nLive by tag")?;
        let whole = self.live.max(1) as f64;
        for (tag, bytes) in &self.by_tag {
            let share = *bytes as f64 * 100.0 / whole;
            writeln!(f, "  {:<12}{:>12}  {share:5.1} %", tag.name(), Bytes(*bytes).to_string())?;
        }
        writeln!(f, "\nLive by label")?;
        for Holder { label, tag, bytes, count } in &self.holders {
            let label = if label.is_empty() { "(no label)" } else { label };
            let times = if *count == 1 { String::new() } else { format!("{count} x ") };
            writeln!(f, "  {:>12}  {times}{label} ({tag})", Bytes(*bytes).to_string())?;
        }
        if self.other_holders > 0 {
            writeln!(f, "  {:>12}  all others", Bytes(self.other_holders).to_string())?;
        }
        Ok(())
    }

    fn retiring_by(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.queues.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nRetiring by queue")?;
        for share in &self.queues {
            write!(f, "  queue {}: {}, free at tick {}", share.queue, Bytes(share.bytes), share.last)?;
            match share.enough {
                Some(tick) => writeln!(f, "; enough for the request at tick {tick}")?,
                None if self.refused.is_some() => writeln!(f, "; not enough for the request")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }

    fn largest_hole(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(hole) = &self.hole else { return Ok(()) };
        writeln!(f, "\nLargest hole: {}, in pool {}", Bytes(hole.bytes), hole.pool)?;
        for (place, holder) in ["below", "above"].iter().zip(&hole.beside) {
            match holder {
                Some(Holder { label, tag, bytes, .. }) if label.is_empty() => {
                    writeln!(f, "  {place} it: {} of {tag}, without a label", Bytes(*bytes))?;
                }
                Some(Holder { label, tag, bytes, .. }) => {
                    writeln!(f, "  {place} it: {label:?}, {} of {tag}", Bytes(*bytes))?;
                }
                None => writeln!(f, "  {place} it: nothing; there what is mapped ends")?,
            }
        }
        Ok(())
    }
}
