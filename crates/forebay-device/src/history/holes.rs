//! A set of addresses: stretches that neither overlap nor touch.

use std::collections::BTreeMap;

/// Stretches by their start, with their end.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents(BTreeMap<u64, u64>);

impl Extents {
    /// Adds what is not there yet, and says how many bytes that is.
    pub(super) fn add(&mut self, start: u64, bytes: u64) -> u64 {
        let (mut low, mut high) = (start, start.saturating_add(bytes));
        if low == high {
            return 0;
        }
        let mut there = 0;
        while let Some((&below, &end)) = self.0.range(..=high).next_back() {
            if end < low {
                break;
            }
            there += end.min(high).saturating_sub(below.max(low));
            self.0.remove(&below);
            (low, high) = (low.min(below), high.max(end));
        }
        // What the joined stretches had is not new, wherever it lies.
        let added = bytes.min(u64::MAX - start) - there.min(bytes);
        self.0.insert(low, high);
        added
    }

    /// Removes what is there.
    pub(super) fn remove(&mut self, start: u64, bytes: u64) {
        let high = start.saturating_add(bytes);
        if start == high {
            return;
        }
        while let Some((&below, &end)) = self.0.range(..high).next_back() {
            if end <= start {
                break;
            }
            self.0.remove(&below);
            if end > high {
                self.0.insert(high, end);
            }
            if below < start {
                self.0.insert(below, start);
                break;
            }
        }
    }

    /// Start and length of each stretch, from low to high.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(&start, &end)| (start, end - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_addresses_is_that_of_a_plain_list() {
        let (mut extents, mut plain) = (Extents::default(), [false; 64]);
        let mut seed = 3u64;
        for _ in 0..5000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (start, bytes) = ((seed >> 33) % 50, (seed >> 50) % 14);
            let adds = seed >> 63 == 0;
            let there = &mut plain[start as usize..(start + bytes) as usize];
            if adds {
                let added = there.iter().filter(|there| !**there).count() as u64;
                assert_eq!(extents.add(start, bytes), added, "{start} {bytes}");
            } else {
                extents.remove(start, bytes);
            }
            there.fill(adds);
            let seen: Vec<u64> = extents.iter().flat_map(|(start, bytes)| start..start + bytes).collect();
            let wanted: Vec<u64> = (0..64).filter(|at| plain[*at as usize]).collect();
            assert_eq!(seen, wanted);
            let ends: Vec<_> = extents.iter().collect();
            assert!(ends.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "they touch");
        }
    }

    #[test]
    fn the_end_of_all_addresses_is_no_trap() {
        let mut extents = Extents::default();
        assert_eq!(extents.add(u64::MAX - 5, 100), 5);
        extents.remove(u64::MAX - 3, u64::MAX);
        assert!(extents.iter().eq([(u64::MAX - 5, 2)]));
    }
}
