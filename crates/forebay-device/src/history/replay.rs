//! Plays a demand against a policy and says what came of it; finds how little memory a policy gets by with.

use std::time::{Duration, Instant};

use super::{
    demand::{Call, Demand},
    policy::PolicyKind,
};
use crate::Result;

/// What came of a demand under a policy. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The policy.
    pub policy: PolicyKind,
    /// The most it held at once.
    pub peak_reserved: u64,
    /// What was live at that moment.
    pub live_at_peak: u64,
    /// Calls into the driver.
    pub driver_calls: u64,
    /// The most that one request got above what it asked for.
    pub worst_waste: u64,
    /// The largest piece that was free when it held the most.
    pub largest_hole: u64,
    /// The first request that the limit was in the way of; nothing after it was played.
    pub refused: Option<Refusal>,
    /// How long it took.
    pub took: Duration,
}

/// A request that was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Which call of the demand it is.
    pub call: usize,
    /// What it asked for.
    pub asked: u64,
    /// What was live.
    pub live: u64,
    /// What the policy held.
    pub reserved: u64,
}

/// Plays a demand against a policy that may hold so many bytes.
///
/// ```
/// use forebay_device::{Tag, history::{Demand, PolicyKind, replay}};
///
/// let mut demand = Demand::default();
/// demand.alloc(3 << 20, Tag::Kv);
/// let outcome = replay(&demand, PolicyKind::PowersOfTwo, u64::MAX)?;
/// assert_eq!((outcome.peak_reserved, outcome.worst_waste), (4 << 20, 1 << 20));
/// let refused = replay(&demand, PolicyKind::PowersOfTwo, 3 << 20)?.refused;
/// assert_eq!(refused.map(|refusal| refusal.asked), Some(3 << 20));
/// # Ok::<(), forebay_device::Error>(())
/// ```
///
/// # Errors
/// What opening the policy fails with.
pub fn replay(demand: &Demand, kind: PolicyKind, limit: u64) -> Result<Outcome> {
    let begun = Instant::now();
    let mut policy = kind.open(limit)?;
    let mut sizes = vec![0; demand.ids()];
    let (mut live, mut live_at_peak, mut peak, mut hole, mut refused) = (0, 0, 0, 0, None);
    for (call, what) in demand.calls().iter().enumerate() {
        match *what {
            Call::Alloc { id, bytes, tag } => {
                if !policy.alloc(id, bytes, tag) {
                    refused = Some(Refusal { call, asked: bytes, live, reserved: policy.reserved() });
                    break;
                }
                sizes[id as usize] = bytes;
                live += bytes;
                // Nothing grows but by a request.
                let reserved = policy.reserved();
                if reserved > peak {
                    (peak, live_at_peak, hole) = (reserved, live, policy.largest_hole());
                }
            }
            Call::Free { id } => {
                live -= std::mem::take(&mut sizes[id as usize]);
                policy.free(id);
            }
        }
    }
    Ok(Outcome {
        policy: kind,
        peak_reserved: peak,
        live_at_peak,
        driver_calls: policy.calls(),
        worst_waste: policy.worst_waste(),
        largest_hole: hole,
        refused,
        took: begun.elapsed(),
    })
}

/// The cheapest limit under which a policy serves all of a demand, to a thousandth of the peak or a page, whichever is
/// more. `within` serves it, such as the most that was held without a limit. Policies are no monotone functions: a limit
/// in between may serve too, and the one found does.
///
/// # Errors
/// What opening the policy fails with.
pub fn cheapest_limit(demand: &Demand, kind: PolicyKind, within: u64) -> Result<u64> {
    const PAGE: u64 = 2 << 20;
    let step = (demand.peak_live() / 1000).next_multiple_of(PAGE).max(PAGE);
    // No policy serves with less than what is live.
    let (mut fails, mut serves) = (demand.peak_live().saturating_sub(1) / PAGE * PAGE, within);
    // The answer is near the floor for a good policy: the first guesses are close to it, then further off.
    let mut reach = step;
    while serves > fails + step {
        let guess = (fails + reach).min(fails + (serves - fails) / 2).next_multiple_of(PAGE).min(serves - 1);
        if guess <= fails {
            break;
        }
        if replay(demand, kind, guess)?.refused.is_some() {
            fails = guess;
            reach *= 4;
        } else {
            serves = guess;
        }
    }
    Ok(serves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tag;

    #[test]
    fn the_cheapest_limit_serves_and_a_step_less_does_not() {
        let mut demand = Demand::default();
        let mut held = Vec::new();
        let mut seed = 9u64;
        for turn in 0..3000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = 1 + (seed >> 33) % (8 << 20);
            held.push(demand.alloc(size, Tag::ALL[(seed >> 60) as usize % 5]));
            if turn > 40 {
                let at = (seed >> 20) as usize % held.len();
                demand.free(held.swap_remove(at));
            }
        }
        for kind in PolicyKind::ALL {
            let free = replay(&demand, kind, u64::MAX).unwrap();
            assert!(free.refused.is_none() && free.peak_reserved >= demand.peak_live(), "{free:?}");
            assert!(free.live_at_peak <= demand.peak_live() && free.largest_hole <= free.peak_reserved);
            let cheapest = cheapest_limit(&demand, kind, free.peak_reserved).unwrap();
            assert!(cheapest >= demand.peak_live() && cheapest <= free.peak_reserved, "{kind}");
            assert!(replay(&demand, kind, cheapest).unwrap().refused.is_none(), "{kind}");
            let refused = replay(&demand, kind, demand.peak_live() - 1).unwrap().refused.unwrap();
            assert!(refused.reserved < demand.peak_live() && refused.live < demand.peak_live(), "{kind}");
        }
    }

    #[test]
    fn nothing_asked_is_nothing_held() {
        for kind in PolicyKind::ALL {
            let outcome = replay(&Demand::default(), kind, 0).unwrap();
            assert_eq!((outcome.peak_reserved, outcome.largest_hole, outcome.refused), (0, 0, None));
        }
    }
}
