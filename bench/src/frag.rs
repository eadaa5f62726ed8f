//! How much memory a policy reserves for what is live: traces played against policies, nothing allocated.
//!
//! A table for people, and one JSON line for each cell. The peers are the rules their sources state, in our words. Next
//! rooms: `traces` (what is asked), `history/policy` of `forebay-device` (who serves it).

use std::io;

use bench::record::Record;
use forebay_device::history::{PolicyKind, replay};

use crate::traces;

/// Plays every trace against every policy and writes what came of it.
///
/// # Errors
/// Whatever writing fails with.
#[allow(clippy::print_stdout, reason = "the table is what a runner is started for")]
pub(crate) fn run(record: &mut Record) -> io::Result<()> {
    let traces = traces::all();
    print!("| reserved / live at the peaks [driver calls] |");
    for trace in &traces {
        let gib = trace.demand.peak_live() as f64 / (1u64 << 30) as f64;
        print!(" {}: {} events, {gib:.2} GiB |", trace.name, trace.demand.calls().len());
    }
    println!("\n|---|{}", "---|".repeat(traces.len()));
    for policy in PolicyKind::ALL {
        print!("| {} |", policy.about());
        for trace in &traces {
            let (events, peak_live) = (trace.demand.calls().len(), trace.demand.peak_live());
            let outcome = replay(&trace.demand, policy, u64::MAX).map_err(io::Error::other)?;
            let ratio = outcome.peak_reserved as f64 / peak_live as f64;
            print!(" {ratio:.3} [{}] |", outcome.driver_calls);
            record.line(&serde_json::json!({
                "kind": "frag",
                "policy": policy.about(),
                "trace": trace.name,
                "events": events,
                "peak_live": peak_live,
                "peak_reserved": outcome.peak_reserved,
                "ratio": ratio,
                "driver_calls": outcome.driver_calls,
                "worst_waste": outcome.worst_waste,
                "ns_per_event": outcome.took.as_nanos() as f64 / events as f64,
            }))?;
        }
        println!();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use forebay_device::{Tag, history::Call};

    use super::*;

    #[test]
    fn no_policy_reserves_less_than_is_live() {
        for trace in traces::all().into_iter().skip(2) {
            for kind in PolicyKind::ALL {
                let mut policy = kind.open(u64::MAX).unwrap();
                let (mut sizes, mut live) = (vec![0; 1 << 16], 0);
                for call in trace.demand.calls() {
                    match *call {
                        Call::Alloc { id, bytes, tag } => {
                            sizes[id as usize] = bytes;
                            live += bytes;
                            assert!(policy.alloc(id, bytes, tag), "{kind}, {}", trace.name);
                        }
                        Call::Free { id } => {
                            live -= sizes[id as usize];
                            policy.free(id);
                        }
                    }
                    let reserved = policy.reserved();
                    assert!(reserved >= live, "{kind}, {}: {reserved} of {live}", trace.name);
                }
            }
        }
    }

    #[test]
    fn ours_stays_within_its_bound_on_each_trace() {
        for trace in traces::all() {
            assert!(
                trace
                    .demand
                    .calls()
                    .iter()
                    .any(|call| matches!(call, Call::Alloc { tag, .. } if *tag != Tag::Other))
            );
            let outcome = replay(&trace.demand, PolicyKind::Ours, u64::MAX).unwrap();
            let ratio = outcome.peak_reserved as f64 / trace.demand.peak_live() as f64;
            // The goal is a twentieth everywhere. Random sizes pin pages by both ends of what lies between them, and
            // miss it: their bound only keeps that from growing.
            let most = if trace.name.starts_with("random") { 1.12 } else { 1.05 };
            assert!(ratio <= most, "{}: {ratio}", trace.name);
        }
    }
}
