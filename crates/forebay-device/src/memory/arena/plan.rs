//! Packing of an epoch's allocations when their sizes and lifetimes are known: who may lie over whom.
//!
//! Pure arithmetic, done between two epochs. The arena checks each assumption again when it serves a step.

use super::super::{range::GRANULE, stats::Tag};

/// One allocation of an epoch, as observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) bytes: u64,
    pub(super) tag: Tag,
    /// The first later step at which it was gone; `u32::MAX` if it was not gone by the end.
    pub(super) gone_by: u32,
}

/// One allocation of a planned epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) bytes: u64,
    pub(super) tag: Tag,
    pub(super) offset: u64,
    /// Its part of [`Plan::beneath`].
    beneath: (u32, u32),
}

/// Where every allocation of an epoch lies.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// For each step, the earlier steps whose bytes it takes over: they must be gone when it starts.
    beneath: Vec<u32>,
    /// Bytes that the epoch needs.
    pub(super) bytes: u64,
}

impl Plan {
    /// Packs the largest first, each at the lowest place where nothing that lives at the same time lies.
    pub(super) fn pack(observed: &[Observed]) -> Self {
        let sizes: Vec<u64> = observed.iter().map(|step| step.bytes.next_multiple_of(GRANULE)).collect();
        let mut order: Vec<usize> = (0..observed.len()).collect();
        order.sort_by_key(|&step| (std::cmp::Reverse(sizes[step]), step));
        let mut offsets = vec![0; observed.len()];
        let mut placed: Vec<usize> = Vec::with_capacity(observed.len());
        let mut total = 0;
        for step in order {
            if sizes[step] == 0 {
                continue;
            }
            let mut taken: Vec<(u64, u64)> = placed
                .iter()
                .filter(|&&other| meets(observed, step, other))
                .map(|&other| (offsets[other], offsets[other] + sizes[other]))
                .collect();
            taken.sort_unstable();
            let mut at = 0;
            for (start, end) in taken {
                if start >= at + sizes[step] {
                    break;
                }
                at = at.max(end);
            }
            offsets[step] = at;
            total = total.max(at + sizes[step]);
            placed.push(step);
        }
        let mut plan = Self { steps: Vec::with_capacity(observed.len()), beneath: Vec::new(), bytes: total };
        for (step, seen) in observed.iter().enumerate() {
            let first = plan.beneath.len() as u32;
            plan.note_beneath(step, &offsets, &sizes);
            let beneath = (first, plan.beneath.len() as u32);
            plan.steps.push(Step { bytes: seen.bytes, tag: seen.tag, offset: offsets[step], beneath });
        }
        plan
    }

    /// Finds whose bytes a step takes over: the latest earlier owner of each of them. Whoever owned them before that was
    /// checked when that owner started.
    fn note_beneath(&mut self, step: usize, offsets: &[u64], sizes: &[u64]) {
        let mut bare = vec![(offsets[step], offsets[step] + sizes[step])];
        for earlier in (0..step).rev() {
            let (start, end) = (offsets[earlier], offsets[earlier] + sizes[earlier]);
            if !bare.iter().any(|&(from, to)| from < end && start < to) {
                continue;
            }
            self.beneath.push(earlier as u32);
            let pieces = bare.iter().flat_map(|&(from, to)| [(from, to.min(start)), (from.max(end), to)]);
            bare = pieces.filter(|(from, to)| from < to).collect();
            if bare.is_empty() {
                return;
            }
        }
    }

    /// The steps that must be gone when a step starts.
    pub(super) fn beneath(&self, step: &Step) -> &[u32] {
        &self.beneath[step.beneath.0 as usize..step.beneath.1 as usize]
    }
}

/// Whether two steps were there at the same time. A step that another took the place of was gone before it started.
fn meets(observed: &[Observed], a: usize, b: usize) -> bool {
    let (first, second) = (a.min(b), a.max(b));
    observed[first].gone_by as usize > second
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: u64, gone_by: u32) -> Observed {
        Observed { bytes, tag: Tag::Activations, gone_by }
    }

    #[test]
    fn a_chain_in_which_each_step_outlives_one_other_needs_two_places() {
        let chain: Vec<_> = (0..100).map(|step| seen(1000, step + 2)).collect();
        let plan = Plan::pack(&chain);
        assert_eq!(plan.bytes, 2 * 1024);
        assert_eq!(plan.beneath(&plan.steps[0]), []);
        assert_eq!(plan.beneath(&plan.steps[7]), [5]);
    }

    #[test]
    fn what_lives_together_never_shares_bytes_and_every_taker_over_names_who_was_there() {
        let mut seed = 7u64;
        for _ in 0..200 {
            let mut next = |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) % below
            };
            let steps: Vec<_> = (0..40u32)
                .map(|step| {
                    let gone_by = if next(6) == 0 { u32::MAX } else { step + 1 + next(9) as u32 };
                    seen(next(5) * 300, gone_by)
                })
                .collect();
            let plan = Plan::pack(&steps);
            let span = |i: usize| (plan.steps[i].offset, plan.steps[i].offset + steps[i].bytes);
            for i in 0..steps.len() {
                for (j, earlier) in steps[..i].iter().enumerate() {
                    let overlap = span(i).0 < span(j).1 && span(j).0 < span(i).1;
                    if overlap {
                        assert!(earlier.gone_by as usize <= i, "{j} is still there when {i} starts");
                        assert!(is_below(&plan, i, j), "{i} lies on {j} and does not know");
                    }
                }
            }
        }
    }

    /// Whether `lower` is under `upper`, directly or under something that is.
    fn is_below(plan: &Plan, upper: usize, lower: usize) -> bool {
        let beneath = plan.beneath(&plan.steps[upper]);
        beneath
            .iter()
            .any(|&b| b as usize == lower || b as usize > lower && is_below(plan, b as usize, lower))
    }
}
