//! `Range` against a model that keeps live intervals and mapped pages in plain tables and counts everything
//! anew.
//!
//! The model never looks at nodes or lists; `Range::audit` does that after every move.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::range::{BlockId, End, GRANULE, Idle, Range, Reach};

#[derive(Clone, Debug)]
enum Move {
    Add {
        region: u32,
        pages: u64,
        mapped: bool,
    },
    Grow {
        region: u32,
        pages: u64,
        mapped: bool,
    },
    Remove {
        region: u32,
    },
    Alloc {
        bytes: u64,
        align: u32,
        end: End,
        reach: Reach,
        map: bool,
    },
    Free {
        which: usize,
    },
    Shrink {
        which: usize,
        bytes: u64,
    },
    Split {
        which: usize,
        granules: u64,
    },
    /// Maps what a block still lacks, only the first run of it if `first`.
    Map {
        which: usize,
        first: bool,
    },
    /// Unmaps some idle runs, only the first half of each if `clip`.
    Unmap {
        most: usize,
        clip: bool,
    },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let end = || prop_oneof![Just(End::Low), Just(End::High)];
    let reach = || prop_oneof![Just(Reach::Mapped), Just(Reach::Any)];
    let bytes = || {
        let exact = (1..40u64).prop_map(|granules| granules * GRANULE);
        prop_oneof![4 => 1..20 * GRANULE, 2 => exact, 1 => 1..200 * GRANULE]
    };
    let more = |most: u64| (0..4u32, 1..most, any::<bool>());
    let one = prop_oneof![
        1 => more(20).prop_map(|(region, pages, mapped)| Move::Add { region, pages, mapped }),
        1 => more(6).prop_map(|(region, pages, mapped)| Move::Grow { region, pages, mapped }),
        1 => (0..4u32).prop_map(|region| Move::Remove { region }),
        12 => (bytes(), 0..13u32, end(), reach(), any::<bool>())
            .prop_map(|(bytes, align, end, reach, map)| Move::Alloc { bytes, align, end, reach, map }),
        8 => any::<usize>().prop_map(|which| Move::Free { which }),
        2 => (any::<usize>(), bytes()).prop_map(|(which, bytes)| Move::Shrink { which, bytes }),
        2 => (any::<usize>(), 0..30u64).prop_map(|(which, granules)| Move::Split { which, granules }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, first)| Move::Map { which, first }),
        2 => (0..4usize, any::<bool>()).prop_map(|(most, clip)| Move::Unmap { most, clip }),
    ];
    prop::collection::vec(one, 1..160)
}

/// Live intervals and mapped pages, in granules and pages, by region.
#[derive(Default)]
struct Model {
    /// Bytes a page, 0 if regions come mapped as wholes.
    page: u64,
    lens: BTreeMap<u32, u64>,
    mapped: BTreeMap<u32, Vec<bool>>,
    live: BTreeMap<(u32, u64), (u64, BlockId)>,
}

impl Model {
    /// What regions are measured in.
    fn unit(&self) -> u64 {
        if self.page == 0 { 8 * GRANULE } else { self.page }
    }

    fn free_pieces(&self) -> Vec<(u32, u64, u64)> {
        let mut free = Vec::new();
        for (region, len) in &self.lens {
            let mut at = 0;
            for ((_, start), (blocks, _)) in self.live.range((*region, 0)..(*region + 1, 0)) {
                if *start > at {
                    free.push((*region, at, *start));
                }
                at = start + blocks;
            }
            if at < *len {
                free.push((*region, at, *len));
            }
        }
        free
    }

    fn is_bare(&self, region: u32, granule: u64) -> bool {
        self.page > 0 && !self.mapped[&region][(granule * GRANULE / self.page) as usize]
    }

    fn bare(&self, region: u32, start: u64, end: u64) -> u64 {
        (start..end).filter(|granule| self.is_bare(region, *granule)).count() as u64
    }

    fn pick(&self, which: usize) -> Option<((u32, u64), u64, BlockId)> {
        let (at, (len, id)) = self.live.iter().nth(which % self.live.len().max(1))?;
        Some((*at, *len, *id))
    }

    /// Whether some free stretch has room for `len` granules at a multiple of `align`, wholly mapped if
    /// asked.
    fn fits(&self, len: u64, align: u64, reach: Reach) -> bool {
        self.free_pieces().iter().any(|(region, start, end)| {
            let mut at = start.next_multiple_of(align);
            while at + len <= *end {
                if reach == Reach::Any || self.bare(*region, at, at + len) == 0 {
                    return true;
                }
                at += align;
            }
            false
        })
    }

    fn check(&self, range: &Range) -> Result<(), TestCaseError> {
        range.audit().map_err(TestCaseError::fail)?;
        let free = self.free_pieces();
        let total: u64 = self.lens.values().sum();
        let free_len: u64 = free.iter().map(|(_, start, end)| end - start).sum();
        let bare: u64 = self.lens.iter().map(|(region, len)| self.bare(*region, 0, *len)).sum();
        let bare_free: u64 = free.iter().map(|(region, start, end)| self.bare(*region, *start, *end)).sum();
        prop_assert_eq!(range.total_bytes(), total * GRANULE);
        prop_assert_eq!(range.free_bytes(), free_len * GRANULE);
        prop_assert_eq!(range.live_bytes(), (total - free_len) * GRANULE);
        prop_assert_eq!(range.mapped_bytes(), (total - bare) * GRANULE);
        prop_assert_eq!(range.mapped_free_bytes(), (free_len - bare_free) * GRANULE);
        prop_assert_eq!(range.free_pieces() as usize, free.len());
        prop_assert_eq!(range.live_blocks() as usize, self.live.len());
        let mut walked: Vec<_> = free
            .iter()
            .map(|(region, start, end)| (*region, *start, end - start, None))
            .chain(self.live.iter().map(|((region, start), (len, id))| (*region, *start, *len, Some(*id))))
            .collect();
        walked.sort();
        let walk: Vec<_> =
            range.walk().map(|p| (p.region, p.offset / GRANULE, p.bytes / GRANULE, p.block)).collect();
        prop_assert_eq!(walk, walked);
        let hole = range.largest_hole();
        prop_assert_eq!(
            hole.map(|h| h.bytes / GRANULE),
            free.iter().map(|(_, start, end)| end - start).max()
        );
        if let Some(hole) = hole {
            let (start, end) = (hole.offset / GRANULE, (hole.offset + hole.bytes) / GRANULE);
            prop_assert!(free.contains(&(hole.region, start, end)));
            let below =
                self.live.range((hole.region, 0)..(hole.region, start)).next_back().map(|(_, (_, id))| *id);
            prop_assert_eq!(hole.below, below);
            prop_assert_eq!(hole.above, self.live.get(&(hole.region, end)).map(|(_, id)| *id));
        }
        for (region, len) in &self.lens {
            prop_assert_eq!(range.region_bytes(*region), Some(len * GRANULE));
            let tail = free.iter().find(|(at, _, end)| at == region && end == len);
            prop_assert_eq!(
                range.tail_bytes(*region),
                tail.map_or(0, |(_, start, end)| (end - start) * GRANULE)
            );
        }
        let wholly: Vec<u32> =
            self.lens.iter().filter(|(r, len)| free.contains(&(**r, 0, **len))).map(|x| *x.0).collect();
        prop_assert_eq!(range.wholly_free_regions().collect::<Vec<_>>(), wholly);
        Ok(())
    }

    /// The unmapped pages a block touches, as runs of bytes.
    fn missing(&self, region: u32, start: u64, len: u64) -> Vec<std::ops::Range<u64>> {
        let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
        if self.page == 0 {
            return runs;
        }
        let page_bytes = self.page;
        for page in start * GRANULE / page_bytes..((start + len) * GRANULE).div_ceil(page_bytes) {
            if self.mapped[&region][page as usize] {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == page * page_bytes => run.end += page_bytes,
                _ => runs.push(page * page_bytes..(page + 1) * page_bytes),
            }
        }
        runs
    }

    fn map(&mut self, range: &mut Range, at: (u32, u64), first: bool) -> Result<(), TestCaseError> {
        let (len, id) = self.live[&at];
        let runs: Vec<_> = range.missing(id).collect();
        prop_assert_eq!(&runs, &self.missing(at.0, at.1, len));
        for run in runs.into_iter().take(if first { 1 } else { usize::MAX }) {
            for page in run.start / self.page..run.end / self.page {
                self.mapped.get_mut(&at.0).unwrap()[page as usize] = true;
            }
            range.mapped(id, run);
        }
        Ok(())
    }

    /// Does one move on both; what was decided, for comparing two runs.
    fn step(&mut self, range: &mut Range, step: &Move) -> Result<Option<(u32, u64)>, TestCaseError> {
        match *step {
            Move::Add { region, pages, mapped } => {
                let added = range.add_region(region, pages * self.unit(), mapped);
                prop_assert_eq!(added, !self.lens.contains_key(&region));
                if added {
                    self.lens.insert(region, pages * self.unit() / GRANULE);
                    self.mapped.insert(region, vec![mapped; pages as usize]);
                }
            }
            Move::Grow { region, pages, mapped } => {
                let grown = range.grow_region(region, pages * self.unit(), mapped);
                prop_assert_eq!(grown, self.lens.contains_key(&region));
                if grown {
                    *self.lens.get_mut(&region).unwrap() += pages * self.unit() / GRANULE;
                    self.mapped.get_mut(&region).unwrap().extend(vec![mapped; pages as usize]);
                }
            }
            Move::Remove { region } => {
                let empty = self.live.range((region, 0)..(region + 1, 0)).next().is_none();
                let gone = range.remove_region(region);
                prop_assert_eq!(gone, self.lens.contains_key(&region) && empty);
                if gone {
                    self.lens.remove(&region);
                    self.mapped.remove(&region);
                }
            }
            Move::Alloc { bytes, align, end, reach, map } => {
                return self.alloc(range, bytes, 1 << align, end, reach, map);
            }
            Move::Free { which } => {
                if let Some((at, _, id)) = self.pick(which) {
                    prop_assert!(range.free(id));
                    prop_assert!(range.block(id).is_none());
                    prop_assert!(!range.free(id));
                    self.live.remove(&at);
                }
            }
            Move::Shrink { which, bytes } => {
                if let Some((at, len, id)) = self.pick(which) {
                    let keep = bytes.div_ceil(GRANULE);
                    prop_assert_eq!(range.shrink(id, bytes), keep <= len);
                    if keep <= len {
                        self.live.insert(at, (keep, id));
                    }
                }
            }
            Move::Split { which, granules } => {
                if let Some((at, len, id)) = self.pick(which) {
                    prop_assert!(range.split(id, granules * GRANULE + 1).is_none());
                    let upper = range.split(id, granules * GRANULE);
                    prop_assert_eq!(upper.is_some(), 0 < granules && granules < len);
                    if let Some(upper) = upper {
                        self.live.insert(at, (granules, id));
                        self.live.insert((at.0, at.1 + granules), (len - granules, upper));
                    }
                }
            }
            Move::Map { which, first } => {
                if let Some((at, _, _)) = self.pick(which) {
                    self.map(range, at, first)?;
                }
            }
            Move::Unmap { most, clip } => self.unmap(range, most, clip)?,
        }
        Ok(None)
    }

    fn alloc(
        &mut self,
        range: &mut Range,
        bytes: u64,
        align: u64,
        end: End,
        reach: Reach,
        map: bool,
    ) -> Result<Option<(u32, u64)>, TestCaseError> {
        let len = bytes.div_ceil(GRANULE);
        let Some(id) = range.alloc(bytes, align, end, reach) else {
            // What is mapped inside a torn piece may be missed, what is free may not.
            let fits = self.fits(len, align.div_ceil(GRANULE), Reach::Any);
            let torn =
                self.free_pieces().iter().any(|(region, start, end)| self.bare(*region, *start, *end) > 0);
            prop_assert!(
                !fits || reach == Reach::Mapped && torn,
                "{bytes} bytes, align {align}: a fit was missed"
            );
            return Ok(None);
        };
        let block = range.block(id).unwrap();
        let (at, region) = (block.offset / GRANULE, block.region);
        prop_assert_eq!(block.bytes, len * GRANULE);
        prop_assert_eq!(block.offset % align, 0);
        let piece = self
            .free_pieces()
            .into_iter()
            .find(|(r, start, end)| *r == region && *start <= at && at + len <= *end);
        prop_assert!(piece.is_some(), "{block:?} is not free");
        let (_, low, high) = piece.unwrap();
        let step = align.div_ceil(GRANULE);
        let (from_low, from_high) = (at - low < step, high - (at + len) < step);
        // Where pages are missing, the other end may be the better one.
        let torn = self.bare(region, low, high) > 0;
        let suits = match end {
            End::Low => from_low || torn && from_high,
            End::High => from_high || torn && from_low,
        };
        prop_assert!(suits);
        prop_assert!(reach == Reach::Any || self.bare(region, at, at + len) == 0);
        self.live.insert((region, at), (len, id));
        if map {
            self.map(range, (region, at), false)?;
        }
        Ok(Some((region, block.offset)))
    }

    fn unmap(&mut self, range: &mut Range, most: usize, clip: bool) -> Result<(), TestCaseError> {
        let mut pages: Vec<(u32, u64)> = Vec::new();
        let page_bytes = self.unit();
        for (region, start, end) in self.free_pieces() {
            for page in (start * GRANULE).div_ceil(page_bytes)..end * GRANULE / page_bytes {
                if self.page > 0 && self.mapped[&region][page as usize] {
                    pages.push((region, page));
                }
            }
        }
        let idle = range.idle();
        prop_assert!(idle.is_sorted_by(|a, b| a.age >= b.age));
        let pages_of = |idle: &Idle| idle.bytes.start / page_bytes..idle.bytes.end / page_bytes;
        let mut said: Vec<_> =
            idle.iter().flat_map(|idle| pages_of(idle).map(|page| (idle.region, page))).collect();
        said.sort();
        prop_assert_eq!(said, pages);
        for mut idle in idle.into_iter().take(most) {
            if clip {
                idle.bytes.end = idle.bytes.start
                    + (idle.bytes.end - idle.bytes.start).div_ceil(2 * page_bytes) * page_bytes;
            }
            prop_assert!(range.unmapped(&idle));
            prop_assert!(!range.unmapped(&idle), "twice");
            for page in pages_of(&idle) {
                self.mapped.get_mut(&idle.region).unwrap()[page as usize] = false;
            }
        }
        Ok(())
    }
}

fn run(page: u64, moves: &[Move]) -> Result<Vec<Option<(u32, u64)>>, TestCaseError> {
    let mut range = Range::new(page);
    let mut model = Model { page, ..Model::default() };
    let mut placed = Vec::new();
    for step in moves {
        placed.push(model.step(&mut range, step)?);
        model.check(&range).map_err(|e| TestCaseError::fail(format!("after {step:?}: {e}")))?;
    }
    for (_, id) in std::mem::take(&mut model.live).into_values() {
        prop_assert!(range.free(id));
    }
    model.check(&range)?;
    prop_assert_eq!(range.free_pieces() as usize, model.lens.len());
    for region in model.lens.keys() {
        prop_assert!(range.remove_region(*region));
    }
    prop_assert_eq!((range.total_bytes(), range.mapped_bytes(), range.free_pieces()), (0, 0, 0));
    Ok(placed)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn follows_the_model_with_small_pages(moves in moves()) {
        run(3 * GRANULE, &moves)?;
    }

    #[test]
    fn follows_the_model_with_large_pages(moves in moves()) {
        run(64 * GRANULE, &moves)?;
    }

    #[test]
    fn follows_the_model_when_regions_come_mapped(moves in moves()) {
        run(0, &moves)?;
    }

    #[test]
    fn places_the_same_twice(moves in moves()) {
        prop_assert_eq!(run(8 * GRANULE, &moves)?, run(8 * GRANULE, &moves)?);
    }
}
