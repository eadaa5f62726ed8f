//! How much memory a policy reserves for what is live: traces played against policies, nothing allocated.
//!
//! A table for people, and one JSON line for each cell. The peers are the rules their sources state, in our
//! words. Next rooms: `ours` (what forebay does), `peers` (what others do), `traces` (what is asked).

mod ours;
mod peers;

use std::{io, time::Instant};

use bench::record::Record;

use crate::traces::{self, Event, Tag, Trace};

/// A way to serve a trace, seen from outside.
trait Policy {
    fn alloc(&mut self, id: u32, bytes: u64, tag: Tag);
    fn free(&mut self, id: u32);
    fn step_end(&mut self) {}
    /// Bytes of device memory held at this moment, used or not.
    fn reserved(&self) -> u64;
    /// Calls into the driver so far: mapping, unmapping, allocating, freeing.
    fn calls(&self) -> u64;
}

type Make = fn() -> io::Result<Box<dyn Policy>>;

/// The policies by name. Another pool of ours is one line here.
const POLICIES: [(&str, Make); 5] = [
    ("ours", || Ok(Box::new(ours::Ours::new()?))),
    ("exact best fit", || Ok(Box::new(peers::Growing::best_fit()))),
    ("PyTorch expandable segments", || Ok(Box::new(peers::Growing::expandable()))),
    ("PyTorch native", || Ok(Box::new(peers::Segments::default()))),
    ("powers of two", || Ok(Box::new(peers::PowersOfTwo::default()))),
];

/// What came of one trace under one policy.
struct Cell {
    peak_reserved: u64,
    calls: u64,
    nanos: u128,
}

/// Plays every trace against every policy and writes what came of it.
///
/// # Errors
/// Whatever writing fails with.
#[allow(clippy::print_stdout, reason = "the table is what a runner is started for")]
pub(crate) fn run(record: &mut Record) -> io::Result<()> {
    let traces = traces::all();
    print!("| reserved / live at the peaks [driver calls] |");
    for trace in &traces {
        let gib = trace.peak_live as f64 / (1u64 << 30) as f64;
        print!(" {}: {} events, {gib:.2} GiB |", trace.name, trace.events.len());
    }
    println!("\n|---|{}", "---|".repeat(traces.len()));
    for (name, make) in POLICIES {
        print!("| {name} |");
        for trace in &traces {
            let cell = play(trace, &mut *make()?);
            let ratio = cell.peak_reserved as f64 / trace.peak_live as f64;
            print!(" {ratio:.3} [{}] |", cell.calls);
            record.line(&serde_json::json!({
                "kind": "frag",
                "policy": name,
                "trace": trace.name,
                "events": trace.events.len(),
                "peak_live": trace.peak_live,
                "peak_reserved": cell.peak_reserved,
                "ratio": ratio,
                "driver_calls": cell.calls,
                "ns_per_event": cell.nanos as f64 / trace.events.len() as f64,
            }))?;
        }
        println!();
    }
    Ok(())
}

fn play(trace: &Trace, policy: &mut dyn Policy) -> Cell {
    let start = Instant::now();
    let mut peak_reserved = 0;
    for event in &trace.events {
        match *event {
            Event::Alloc { id, bytes, tag } => policy.alloc(id, bytes, tag),
            Event::Free { id } => policy.free(id),
            Event::StepEnd => policy.step_end(),
        }
        peak_reserved = peak_reserved.max(policy.reserved());
    }
    Cell { peak_reserved, calls: policy.calls(), nanos: start.elapsed().as_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_policy_reserves_less_than_is_live() {
        for trace in traces::all().into_iter().skip(2) {
            for (name, make) in POLICIES {
                let mut policy = make().unwrap();
                let (mut sizes, mut live) = (Vec::new(), 0);
                for event in &trace.events {
                    match *event {
                        Event::Alloc { id, bytes, tag } => {
                            sizes.push(bytes);
                            live += bytes;
                            policy.alloc(id, bytes, tag);
                        }
                        Event::Free { id } => {
                            live -= sizes[id as usize];
                            policy.free(id);
                        }
                        Event::StepEnd => policy.step_end(),
                    }
                    assert!(
                        policy.reserved() >= live,
                        "{name}, {}: {} of {live}",
                        trace.name,
                        policy.reserved()
                    );
                }
            }
        }
    }

    #[test]
    fn ours_stays_within_its_bound_on_each_trace() {
        for trace in traces::all() {
            let cell = play(&trace, &mut ours::Ours::new().unwrap());
            let ratio = cell.peak_reserved as f64 / trace.peak_live as f64;
            // The goal is a twentieth everywhere. Random sizes pin pages by both ends of what lies between them, and miss it:
            // their bound only keeps that from growing.
            let most = if trace.name.starts_with("random") { 1.12 } else { 1.05 };
            assert!(ratio <= most, "{}: {ratio}", trace.name);
        }
    }

    #[test]
    fn peers_round_split_and_grow_by_their_rules() {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let after = |policy: &mut dyn Policy, sizes: &[u64]| {
            sizes.iter().enumerate().for_each(|(id, bytes)| policy.alloc(id as u32, *bytes, Tag::Activation));
            (policy.reserved(), policy.calls())
        };
        assert_eq!(after(&mut peers::PowersOfTwo::default(), &[3 * MIB, 1, MIB]), (5 * MIB + 1, 3));
        // A small segment, one for middling sizes that serves two, one for a large size.
        let sizes = [KIB, 3 * MIB, 9 * MIB, 11 * MIB - 1, MIB];
        assert_eq!(after(&mut peers::Segments::default(), &sizes), (34 * MIB, 3));
        // A remainder of a mebibyte stays with its block, so the next one does not fit beside it.
        assert_eq!(
            after(&mut peers::Segments::default(), &[19 * MIB / 2, 19 * MIB / 2, MIB + 1]),
            (40 * MIB, 2)
        );
        assert_eq!(after(&mut peers::Growing::expandable(), &[KIB, 3 * MIB, 19 * MIB]), (42 * MIB, 3));
        assert_eq!(after(&mut peers::Growing::best_fit(), &[KIB, 3 * MIB, 19 * MIB]), (24 * MIB, 3));
    }
}
