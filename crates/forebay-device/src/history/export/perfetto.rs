//! Trace events in JSON: counters of each pool, a bar for each submission, and a mark where a request was refused.
//!
//! Counters are told once for each moment that the trace knows; what happened between two readings of the clock has the
//! same time anyway.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use super::Writer;
use crate::{
    history::{json::text, ledger::Ledger},
    memory::{
        stats::Tag,
        trace::event::{Entry, Event, Moment},
    },
};

/// The process that queues are shown in.
const QUEUES: u32 = 0;

#[derive(Default)]
pub(super) struct Timeline {
    at: Duration,
    changed: bool,
    some: bool,
    named: BTreeSet<u32>,
    /// Submissions that are not known to be done.
    open: BTreeSet<(u32, u64)>,
}

impl Timeline {
    fn put(&mut self, to: &mut dyn Write, event: &str) -> io::Result<()> {
        let before = if std::mem::replace(&mut self.some, true) { ",\n" } else { "" };
        write!(to, "{before}{event}")
    }

    fn counters(&mut self, ledger: &Ledger, to: &mut dyn Write) -> io::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let ts = micros(self.at);
        let mut event = format!(r#"{{"ph":"C","pid":1,"ts":{ts},"name":"live by tag","args":{{"#);
        for (i, (tag, bytes)) in Tag::ALL.iter().zip(ledger.by_tag()).enumerate() {
            let _ = write!(event, r#"{}"{tag}":{bytes}"#, if i == 0 { "" } else { "," });
        }
        event.push_str("}}");
        self.put(to, &event)?;
        let pools: Vec<_> = ledger.pools().map(|(number, book)| (number, book.clone())).collect();
        for (pool, book) in pools {
            let pid = pool + 1;
            if self.named.insert(pid) {
                self.put(to, &process(pid, &format!("pool {pool}")))?;
            }
            for (name, bytes) in
                [("reserved", book.reserved), ("live", book.live), ("retiring", book.retiring)]
            {
                let counter = format!(
                    r#"{{"ph":"C","pid":{pid},"ts":{ts},"name":"{name}","args":{{"bytes":{bytes}}}}}"#
                );
                self.put(to, &counter)?;
            }
        }
        Ok(())
    }

    fn span(&mut self, to: &mut dyn Write, begins: bool, at: Moment, name: &str) -> io::Result<()> {
        let (Moment { queue, tick }, ts) = (at, micros(self.at));
        let phase = if begins { "b" } else { "e" };
        let event = format!(
            r#"{{"ph":"{phase}","cat":"queue {queue}","id":"{queue}.{tick}","pid":{QUEUES},"tid":{queue},"ts":{ts},"name":{}}}"#,
            text(name)
        );
        self.put(to, &event)
    }
}

impl Writer for Timeline {
    fn start(&mut self, to: &mut dyn Write) -> io::Result<()> {
        write!(to, r#"{{"displayTimeUnit":"ns","traceEvents":["#)?;
        self.put(to, &process(QUEUES, "queues"))
    }

    fn entry(&mut self, entry: &Entry, before: &Ledger, to: &mut dyn Write) -> io::Result<()> {
        if entry.at > self.at {
            self.counters(before, to)?;
            self.at = entry.at;
        }
        match &entry.event {
            Event::Submitted { at, label, .. } => {
                self.open.insert((at.queue, at.tick));
                let name = if label.as_str().is_empty() { "work" } else { label.as_str() };
                self.span(to, true, *at, name)?;
            }
            Event::SubmissionRefused { at } => {
                self.open.remove(&(at.queue, at.tick));
                self.span(to, false, *at, "refused")?;
            }
            Event::Completed { at, .. } => {
                let done: Vec<_> = self.open.range((at.queue, 0)..=(at.queue, at.tick)).copied().collect();
                for (queue, tick) in done {
                    self.open.remove(&(queue, tick));
                    self.span(to, false, Moment { queue, tick }, "done")?;
                }
            }
            Event::OutOfMemory { pool, asked, label, .. } => {
                let name = text(&format!("out of memory: {asked} bytes for {label:?}"));
                let (pid, ts) = (pool + 1, micros(self.at));
                self.put(
                    to,
                    &format!(r#"{{"ph":"i","s":"g","pid":{pid},"tid":0,"ts":{ts},"name":{name}}}"#),
                )?;
            }
            Event::Trimmed { pool, gone, .. } => {
                let (pid, ts) = (pool + 1, micros(self.at));
                let name = text(&format!("trimmed {gone} bytes"));
                self.put(
                    to,
                    &format!(r#"{{"ph":"i","s":"p","pid":{pid},"tid":0,"ts":{ts},"name":{name}}}"#),
                )?;
            }
            Event::Clock | Event::Waits { .. } | Event::Level { .. } | Event::ResidencyTold { .. } => {}
            _ => self.changed = true,
        }
        Ok(())
    }

    fn finish(&mut self, end: &Ledger, to: &mut dyn Write) -> io::Result<()> {
        self.counters(end, to)?;
        writeln!(to, "\n]}}")
    }
}

fn process(pid: u32, name: &str) -> String {
    format!(r#"{{"ph":"M","pid":{pid},"name":"process_name","args":{{"name":{}}}}}"#, text(name))
}

/// Microseconds with their fraction, as trace events count time.
fn micros(at: Duration) -> String {
    format!("{}.{:03}", at.as_micros(), at.subsec_nanos() % 1000)
}
