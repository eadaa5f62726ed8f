//! Where a barrier has to be: derived from the ranges that launches declare, once for all backends.
//!
//! The ranges of all launches since the last barrier are kept. A launch that reads what one of them writes, or writes
//! what one of them touches, needs a barrier first. Ranges are half-open: touching ends do not conflict.

use crate::launch::Place;

/// Ranges that are kept at most; one more is answered by a barrier, so that recording stays cheap.
const MOST: usize = 64;

/// The ranges since the last barrier.
#[derive(Debug, Default)]
pub(crate) struct Hazards {
    reads: Spans,
    writes: Spans,
}

/// Ranges of the device's addresses, first bytes beside first bytes: all of them are compared at once, if a range comes
/// between the lowest and the highest of them at all.
#[derive(Debug)]
struct Spans {
    starts: Vec<u64>,
    ends: Vec<u64>,
    lowest: u64,
    highest: u64,
}

impl Default for Spans {
    fn default() -> Self {
        Self { starts: Vec::new(), ends: Vec::new(), lowest: u64::MAX, highest: 0 }
    }
}

impl Spans {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn clear(&mut self) {
        self.starts.clear();
        self.ends.clear();
        (self.lowest, self.highest) = (u64::MAX, 0);
    }

    fn push(&mut self, place: Place) {
        let (start, end) = (place.address, place.address + place.len);
        self.starts.push(start);
        self.ends.push(end);
        (self.lowest, self.highest) = (self.lowest.min(start), self.highest.max(end));
    }

    /// Whether any of them overlaps a range that is not empty.
    #[inline]
    fn meet(&self, place: Place) -> bool {
        let (start, end) = (place.address, place.address + place.len);
        start < self.highest && self.lowest < end && self.any_meets(start, end)
    }

    fn any_meets(&self, start: u64, end: u64) -> bool {
        let spans = self.starts.iter().zip(&self.ends);
        spans.fold(false, |met, (&first, &last)| met | (first < end) & (start < last))
    }
}

impl Hazards {
    pub(crate) fn clear(&mut self) {
        self.reads.clear();
        self.writes.clear();
    }

    /// Whether a command with these accesses has to come after a barrier. The accesses are kept either way.
    pub(crate) fn note(&mut self, accesses: impl Iterator<Item = (Place, bool)> + Clone) -> bool {
        // Bytes that are not there conflict with nothing.
        let accesses = accesses.filter(|(place, _)| place.len > 0);
        let full = self.reads.len() + self.writes.len() + accesses.clone().count() > MOST;
        let clash = accesses
            .clone()
            .any(|(place, writes)| self.writes.meet(place) || writes && self.reads.meet(place));
        let barrier = full || clash;
        if barrier {
            self.clear();
        }
        for (place, writes) in accesses {
            if writes { self.writes.push(place) } else { self.reads.push(place) }
        }
        barrier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(region: u32, start: u64, end: u64) -> Place {
        Place { region, offset: start, address: (u64::from(region) << 32) + start, len: end - start }
    }

    fn note(hazards: &mut Hazards, reads: &[Place], writes: &[Place]) -> bool {
        let all: Vec<_> = reads
            .iter()
            .map(|&place| (place, false))
            .chain(writes.iter().map(|&place| (place, true)))
            .collect();
        hazards.note(all.iter().copied())
    }

    #[test]
    fn half_open_ranges_that_touch_do_not_conflict_in_either_order() {
        for (first, second) in [((0, 128), (128, 256)), ((128, 256), (0, 128))] {
            let mut hazards = Hazards::default();
            assert!(!note(&mut hazards, &[], &[at(0, first.0, first.1)]));
            assert!(!note(&mut hazards, &[], &[at(0, second.0, second.1)]));
        }
    }

    #[test]
    fn each_kind_of_conflict_needs_a_barrier_and_reading_twice_needs_none() {
        let (x, y) = (at(0, 0, 64), at(0, 64, 128));
        let needs = |first: (&[Place], &[Place]), second: (&[Place], &[Place])| {
            let mut hazards = Hazards::default();
            note(&mut hazards, first.0, first.1);
            note(&mut hazards, second.0, second.1)
        };
        assert!(needs((&[], &[x]), (&[x], &[y])), "read after write");
        assert!(needs((&[x], &[y]), (&[], &[x])), "write after read");
        assert!(needs((&[], &[x]), (&[], &[x])), "write after write");
        assert!(!needs((&[x], &[]), (&[x], &[y])), "read after read");
        assert!(!needs((&[], &[x]), (&[at(1, 0, 64)], &[])), "another region");
    }

    #[test]
    fn what_has_no_bytes_conflicts_with_nothing_around_it() {
        let mut hazards = Hazards::default();
        assert!(!note(&mut hazards, &[], &[at(0, 0, 64)]));
        assert!(!note(&mut hazards, &[at(0, 32, 32)], &[at(0, 16, 16)]));
        assert!(!note(&mut hazards, &[], &[at(0, 64, 128)]));
    }

    #[test]
    fn a_barrier_forgets_what_was_before_it_and_nothing_after_it() {
        let (x, y) = (at(0, 0, 64), at(0, 64, 128));
        let mut hazards = Hazards::default();
        note(&mut hazards, &[], &[x]);
        assert!(note(&mut hazards, &[x], &[y]));
        assert!(!note(&mut hazards, &[x], &[]), "the write of x is before the barrier");
        assert!(note(&mut hazards, &[y], &[]), "the write of y is after it");
    }

    #[test]
    fn many_independent_launches_stay_bounded() {
        let mut hazards = Hazards::default();
        let barriers = (0..10_000).filter(|i| note(&mut hazards, &[], &[at(0, i * 64, i * 64 + 64)])).count();
        assert!(barriers > 0 && barriers < 10_000 / 32);
        assert!(hazards.reads.len() + hazards.writes.len() <= MOST);
    }

    #[test]
    fn a_barrier_comes_exactly_where_ranges_conflict() {
        let mut seed = 3u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut hazards = Hazards::default();
        let mut since: Vec<(Place, bool)> = Vec::new();
        for step in 0..5_000 {
            let accesses: Vec<_> = (0..next(4))
                .map(|_| {
                    let start = next(400);
                    (at(0, start, start + next(6)), next(3) == 0)
                })
                .collect();
            let meets = |a: &(Place, bool), b: &(Place, bool)| {
                let apart = a.0.address + a.0.len <= b.0.address || b.0.address + b.0.len <= a.0.address;
                !apart && (a.1 || b.1) && a.0.len > 0 && b.0.len > 0
            };
            let real = accesses.iter().filter(|(place, _)| place.len > 0);
            let full = since.len() + real.clone().count() > MOST;
            let clash = accesses.iter().any(|new| since.iter().any(|old| meets(new, old)));
            assert_eq!(hazards.note(accesses.iter().copied()), full || clash, "step {step}");
            if full || clash {
                since.clear();
            }
            since.extend(real);
        }
    }
}
