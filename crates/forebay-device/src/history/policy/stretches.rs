//! Free stretches by address and by size; stretches that touch become one.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Stretches {
    by_start: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
}

impl Stretches {
    pub(super) fn insert(&mut self, mut start: u64, mut bytes: u64) {
        if let Some((&below, &size)) = self.by_start.range(..start).next_back()
            && below + size == start
        {
            self.remove(below, size);
            (start, bytes) = (below, bytes + size);
        }
        if let Some(&size) = self.by_start.get(&(start + bytes)) {
            self.remove(start + bytes, size);
            bytes += size;
        }
        self.by_start.insert(start, bytes);
        self.by_size.insert((bytes, start));
    }

    pub(super) fn remove(&mut self, start: u64, bytes: u64) {
        self.by_start.remove(&start);
        self.by_size.remove(&(bytes, start));
    }

    /// Takes out the smallest stretch with room, the lowest of these.
    pub(super) fn take(&mut self, bytes: u64) -> Option<(u64, u64)> {
        let (size, start) = *self.by_size.range((bytes, 0)..).next()?;
        self.remove(start, size);
        Some((start, size))
    }

    /// Takes out the stretch that ends at `end`.
    pub(super) fn take_before(&mut self, end: u64) -> Option<(u64, u64)> {
        let (&start, &size) = self.by_start.range(..end).next_back()?;
        (start + size == end).then(|| self.remove(start, size))?;
        Some((start, size))
    }

    /// Takes out the stretch that starts at `start`.
    pub(super) fn take_at(&mut self, start: u64) -> Option<u64> {
        let size = *self.by_start.get(&start)?;
        self.remove(start, size);
        Some(size)
    }

    /// Length of the stretch that ends here, or nothing.
    pub(super) fn ends_at(&self, end: u64) -> u64 {
        let below = self.by_start.range(..end).next_back();
        below.filter(|(start, bytes)| *start + *bytes == end).map_or(0, |(_, bytes)| *bytes)
    }

    /// Length of the stretch that starts here, or nothing.
    pub(super) fn starts_at(&self, start: u64) -> u64 {
        self.by_start.get(&start).copied().unwrap_or(0)
    }

    /// Whether exactly this is one stretch.
    pub(super) fn all_of(&self, start: u64, bytes: u64) -> bool {
        self.by_start.get(&start) == Some(&bytes)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        self.by_start.iter().map(|(&start, &bytes)| (start, bytes))
    }

    pub(super) fn largest(&self) -> u64 {
        self.by_size.last().map_or(0, |(bytes, _)| *bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_become_one_and_the_smallest_that_fits_is_taken() {
        let mut free = Stretches::default();
        for (start, bytes) in [(0, 10), (20, 10), (40, 30), (10, 10)] {
            free.insert(start, bytes);
        }
        assert!(free.all().eq([(0, 30), (40, 30)]));
        assert_eq!((free.take(25), free.largest()), (Some((0, 30)), 30));
        assert_eq!((free.take_before(69), free.take_before(70)), (None, Some((40, 30))));
        assert_eq!((free.take(1), free.take_at(0), free.largest()), (None, None, 0));
    }
}
