//! Where on the page an address lies: what was ever used, region by region, without the wide gaps between.
//!
//! Heights are counted in granules, so that they fit in 32 bits; what is beyond that is not shown.

use std::collections::BTreeMap;

use crate::{GRANULE, Spot, history::holes::Extents};

/// Gaps that are left out at most; the narrowest others stay and are drawn.
const BREAKS: usize = 63;

/// A part of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) region: u32,
    pub(super) offset: u64,
    pub(super) granules: u64,
    /// Where it starts on the page.
    pub(super) y: u64,
}

/// All bands, by region and offset.
#[derive(Debug)]
pub(super) struct Map {
    bands: Vec<Band>,
}

impl Map {
    pub(super) fn of(used: impl Iterator<Item = (Spot, u64)>) -> Self {
        let mut regions: BTreeMap<u32, Extents> = BTreeMap::new();
        for (spot, bytes) in used {
            regions.entry(spot.region).or_default().add(spot.offset, bytes);
        }
        // Neighbours with a narrow gap between them stay together.
        let mut gaps: Vec<u64> = regions.values().flat_map(gaps).collect();
        gaps.sort_unstable();
        let whole: u64 =
            regions.values().flat_map(Extents::iter).fold(0, |sum, one| sum.saturating_add(one.1));
        let by_count = gaps.len().checked_sub(BREAKS).map_or(0, |at| gaps[at]);
        let narrow = by_count.max(whole / 50);
        let mut bands: Vec<Band> = Vec::new();
        let mut y = 0u64;
        for (region, extents) in regions {
            let mut open: Option<(u64, u64)> = None;
            let mut close = |(start, end): (u64, u64)| {
                let granules = (end - start).div_ceil(GRANULE);
                bands.push(Band { region, offset: start, granules, y });
                y = y.saturating_add(granules);
            };
            for (start, bytes) in extents.iter() {
                let end = start.saturating_add(bytes);
                open = match open {
                    Some((first, last)) if start - last <= narrow => Some((first, end)),
                    Some(band) => {
                        close(band);
                        Some((start, end))
                    }
                    None => Some((start, end)),
                };
            }
            if let Some(band) = open {
                close(band);
            }
        }
        Self { bands }
    }

    pub(super) fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Where an address lies on the page.
    pub(super) fn place(&self, region: u32, offset: u64) -> Option<u32> {
        let after = self.bands.partition_point(|band| (band.region, band.offset) <= (region, offset));
        let band = self.bands[..after].last().filter(|band| band.region == region)?;
        let inside = (offset - band.offset) / GRANULE;
        (inside < band.granules).then(|| u32::try_from(band.y.saturating_add(inside)).ok())?
    }
}

fn gaps(extents: &Extents) -> Vec<u64> {
    let all: Vec<_> = extents.iter().collect();
    all.windows(2).map(|pair| pair[1].0 - pair[0].0 - pair[0].1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(region: u32, offset: u64) -> Spot {
        Spot { region, offset }
    }

    #[test]
    fn wide_gaps_are_left_out_and_order_is_kept() {
        let far = 1 << 40;
        let used = [(spot(3, far), 512), (spot(1, 0), 1000), (spot(1, far), 256), (spot(3, 2 * far), 256)];
        let map = Map::of(used.into_iter());
        assert_eq!(
            map.bands().iter().map(|band| (band.y, band.granules)).collect::<Vec<_>>(),
            [(0, 4), (4, 1), (5, 2), (7, 1)]
        );
        assert_eq!(map.place(1, 768), Some(3));
        assert_eq!(
            (map.place(3, far + 300), map.place(3, far + 512), map.place(2, 0)),
            (Some(6), None, None)
        );
    }

    #[test]
    fn ten_thousand_islands_are_few_bands() {
        let used = (0..10_000u64).map(|i| (spot(0, i * (1 << 30) + i * i), 4096));
        let map = Map::of(used);
        assert!((2..=BREAKS + 1).contains(&map.bands().len()), "{}", map.bands().len());
        assert_eq!(map.place(0, 0), Some(0));
    }

    #[test]
    fn the_end_of_all_addresses_is_no_trap() {
        let map = Map::of([(spot(0, u64::MAX - 100), 4096), (spot(0, 0), u64::MAX / 2)].into_iter());
        assert!(map.place(0, u64::MAX - 50).is_none());
        assert!(!map.bands().is_empty());
    }
}
