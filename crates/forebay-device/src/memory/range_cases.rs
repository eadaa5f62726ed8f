//! `Range` in cases small enough to try all of, and at the edges of what numbers can say.

use super::range::{BlockId, End, GRANULE, LARGEST_REGION, Range, Reach};

const CELLS: u64 = 8;
const PAGE: u64 = 2 * GRANULE;

/// A region of `CELLS` granules in which a granule is live where `live` has a bit, and of whose free pages
/// those are unmapped where `bare` has a bit. `None` if `bare` names a page that is not wholly free.
fn layout(live: u32, bare: u32) -> Option<(Range, Vec<BlockId>)> {
    let mut range = Range::new(PAGE);
    assert!(range.add_region(0, CELLS * GRANULE, true));
    let cell = |range: &mut Range| range.alloc(1, 1, End::Low, Reach::Mapped).unwrap();
    let cells: Vec<BlockId> = (0..CELLS).map(|_| cell(&mut range)).collect();
    let (kept, freed): (Vec<_>, Vec<_>) =
        cells.into_iter().enumerate().partition(|(i, _)| live >> i & 1 == 1);
    for (_, id) in freed {
        assert!(range.free(id));
    }
    let mut left = bare;
    for idle in range.idle() {
        for page in idle.bytes.start / PAGE..idle.bytes.end / PAGE {
            if bare >> page & 1 == 1 {
                let mut one = idle.clone();
                one.bytes = page * PAGE..(page + 1) * PAGE;
                assert!(range.unmapped(&one));
                left &= !(1 << page);
            }
        }
    }
    range.audit().unwrap();
    (left == 0).then(|| (range, kept.into_iter().map(|(_, id)| id).collect()))
}

/// Where a request may go in a layout: the free stretches as (start, end), by the bits alone.
fn holes(live: u32) -> Vec<(u64, u64)> {
    let mut holes: Vec<(u64, u64)> = Vec::new();
    for cell in (0..CELLS).filter(|cell| live >> cell & 1 == 0) {
        match holes.last_mut() {
            Some(hole) if hole.1 == cell => hole.1 += 1,
            _ => holes.push((cell, cell + 1)),
        }
    }
    holes
}

#[test]
fn serves_every_request_in_every_small_layout() {
    let mut served = 0;
    for (live, bare) in (0..1 << CELLS).flat_map(|live| (0..1 << (CELLS / 2)).map(move |bare| (live, bare))) {
        let Some((range, kept)) = layout(live, bare) else { continue };
        let before: Vec<_> =
            range.walk().map(|p| (p.offset, p.bytes, p.unmapped, p.block.is_some())).collect();
        assert_eq!(range.live_blocks() as usize, kept.len());
        let holes = holes(live);
        let is_bare = |cell: u64| bare >> (cell * GRANULE / PAGE) & 1 == 1;
        for (len, align) in (1..=CELLS).flat_map(|len| [1, 2, 4].map(|align| (len, align))) {
            let spots: Vec<u64> = holes
                .iter()
                .flat_map(|(start, end)| (*start..*end).filter(move |at| at % align == 0 && at + len <= *end))
                .collect();
            let in_whole_piece = holes.iter().any(|(start, end)| {
                !(*start..*end).any(is_bare) && spots.iter().any(|at| start <= at && at < end)
            });
            for end in [End::Low, End::High] {
                for reach in [Reach::Mapped, Reach::Any] {
                    let mut range = range.clone();
                    let what =
                        format!("{len} cells by {align} {end:?} {reach:?}, live {live:b}, bare {bare:b}");
                    let Some(id) = range.alloc(len * GRANULE - 3, align * GRANULE, end, reach) else {
                        let must = if reach == Reach::Any { !spots.is_empty() } else { in_whole_piece };
                        assert!(!must, "{what}");
                        continue;
                    };
                    let block = range.block(id).unwrap();
                    let at = block.offset / GRANULE;
                    let hole = *holes.iter().find(|hole| hole.0 <= at && at < hole.1).unwrap();
                    let outer: Vec<u64> =
                        spots.iter().copied().filter(|spot| hole.0 <= *spot && *spot < hole.1).collect();
                    let (low, high) = (outer[0], outer[outer.len() - 1]);
                    let (want, other) = if end == End::Low { (low, high) } else { (high, low) };
                    // Where pages are missing, the other end may be the better one.
                    let torn = (hole.0..hole.1).any(is_bare);
                    assert!(at == want || torn && at == other, "{what}: at {at} of {outer:?}");
                    assert_eq!(block.bytes, len * GRANULE, "{what}");
                    let lacks = (at..at + len).any(is_bare);
                    assert!(reach == Reach::Any || !lacks, "{what}");
                    assert!(!in_whole_piece || !lacks, "{what}: mapped bytes come first");
                    assert_eq!(range.missing(id).next().is_some(), lacks, "{what}");
                    range.audit().unwrap();
                    assert!(range.free(id));
                    range.audit().unwrap();
                    let after: Vec<_> =
                        range.walk().map(|p| (p.offset, p.bytes, p.unmapped, p.block.is_some())).collect();
                    assert_eq!(after, before, "{what}");
                    served += 1;
                }
            }
        }
    }
    assert!(served > 10_000, "{served}");
}

#[test]
fn holds_the_largest_region_and_no_larger() {
    let mut range = Range::new(0);
    assert!(!range.add_region(0, LARGEST_REGION + GRANULE, true));
    assert!(!range.add_region(0, 0, true));
    assert!(!range.add_region(0, GRANULE + 1, true));
    assert!(range.add_region(0, LARGEST_REGION, true));
    assert!(!range.add_region(0, GRANULE, true));
    assert!(!range.grow_region(0, GRANULE, true));
    assert!(!range.grow_region(1, GRANULE, true));
    for bytes in [0, LARGEST_REGION + 1, u64::MAX] {
        assert_eq!(range.alloc(bytes, 1, End::Low, Reach::Any), None, "{bytes}");
    }
    assert_eq!(range.alloc(LARGEST_REGION, 1 << 20, End::High, Reach::Any).map(|id| id.index()), None);
    for end in [End::Low, End::High] {
        let all = range.alloc(LARGEST_REGION, 1, end, Reach::Mapped).unwrap();
        assert_eq!((range.free_bytes(), range.largest_hole()), (0, None));
        assert_eq!(range.alloc(1, 1, end, Reach::Any), None);
        assert!(range.free(all));
    }
    let last = range.alloc(1, 1 << 30, End::High, Reach::Any).unwrap();
    assert_eq!(range.block(last).unwrap().offset, LARGEST_REGION / (1 << 30) * (1 << 30));
}

#[test]
fn pages_of_many_words_count_right() {
    const LARGE: u64 = 2 << 20;
    let missing = |range: &Range, id| {
        range.missing(id).map(|run| (run.start / LARGE, run.end / LARGE)).collect::<Vec<_>>()
    };
    let mut range = Range::new(LARGE);
    assert!(range.add_region(3, 200 * LARGE, false));
    assert_eq!((range.mapped_bytes(), range.mapped_free_bytes(), range.idle()), (0, 0, vec![]));
    assert_eq!(range.alloc(1, 1, End::Low, Reach::Mapped), None);
    let low = range.alloc(65 * LARGE + 1, 1, End::Low, Reach::Any).unwrap();
    let high = range.alloc(70 * LARGE - 1, 1, End::High, Reach::Any).unwrap();
    assert_eq!(missing(&range, low), [(0, 66)]);
    assert_eq!(missing(&range, high), [(130, 200)]);
    range.mapped(low, 0..64 * LARGE);
    assert_eq!(missing(&range, low), [(64, 66)]);
    range.mapped(low, 64 * LARGE..66 * LARGE);
    range.mapped(high, 130 * LARGE..200 * LARGE);
    assert_eq!(range.missing(low).count() + range.missing(high).count(), 0);
    assert_eq!(range.mapped_bytes(), 136 * LARGE);
    assert_eq!(range.mapped_free_bytes(), LARGE - GRANULE);
    let edge = range.alloc(LARGE - GRANULE, 1, End::Low, Reach::Mapped).unwrap();
    assert_eq!(range.block(edge).unwrap().offset, 65 * LARGE + GRANULE);
    assert!(range.free(low) && range.free(edge));
    let idle = range.idle();
    assert_eq!(
        idle.iter().map(|idle| (idle.bytes.start, idle.bytes.end)).collect::<Vec<_>>(),
        [(0, 66 * LARGE)]
    );
    assert!(range.unmapped(&idle[0]));
    assert_eq!(range.mapped_bytes(), 70 * LARGE);
    assert!(range.free(high));
    assert_eq!(
        range.alloc(70 * LARGE, 1, End::High, Reach::Mapped).map(|id| range.block(id).unwrap().offset),
        Some(130 * LARGE)
    );
}

#[test]
fn the_longest_idle_come_first() {
    let mut range = Range::new(PAGE);
    assert!(range.add_region(0, 16 * PAGE, true));
    let blocks: Vec<BlockId> =
        (0..16).map(|_| range.alloc(PAGE, 1, End::Low, Reach::Mapped).unwrap()).collect();
    for i in [9, 3, 13, 5] {
        assert!(range.free(blocks[i]));
    }
    let pages = |range: &Range| {
        range.idle().iter().map(|idle| (idle.bytes.start / PAGE, idle.age)).collect::<Vec<_>>()
    };
    assert_eq!(pages(&range), [(9, 3), (3, 2), (13, 1), (5, 0)]);
    // Two short blocks back into the oldest piece: what is left of it is as old, what is freed is young
    // again.
    let half = range.alloc(GRANULE, 1, End::Low, Reach::Mapped).unwrap();
    let at = range.block(half).unwrap().offset / PAGE;
    assert!(range.free(half));
    assert_eq!(pages(&range).last(), Some(&(at, 0)));
    assert!(range.free(blocks[10]));
    assert_eq!(pages(&range).last(), Some(&(9, 0)), "joined, it counts as freed now");
}

#[test]
fn a_request_prefers_the_piece_of_its_own_length() {
    let mut range = Range::new(0);
    assert!(range.add_region(0, 1 << 30, true));
    // Lengths within one list, each between blocks that stay.
    let lens = [1000u64, 1003, 1007, 1001];
    let mut holes = Vec::new();
    for len in lens {
        holes.push(range.alloc(len * GRANULE, 1, End::Low, Reach::Mapped).unwrap());
        range.alloc(1, 1, End::Low, Reach::Mapped).unwrap();
    }
    let offsets: Vec<u64> = holes.iter().map(|id| range.block(*id).unwrap().offset).collect();
    holes.iter().for_each(|id| assert!(range.free(*id)));
    let again = range.alloc(1007 * GRANULE, 1, End::High, Reach::Mapped).unwrap();
    assert_eq!(range.block(again).unwrap().offset, offsets[2]);
    let pieces = range.free_pieces();
    let again = range.alloc(1002 * GRANULE, 1, End::High, Reach::Mapped).unwrap();
    assert_eq!(range.block(again).unwrap().offset, offsets[1] + GRANULE);
    assert_eq!(range.free_pieces(), pieces);
}

#[test]
fn numbers_that_are_not_live_change_nothing() {
    let mut range = Range::new(PAGE);
    assert!(range.add_region(0, 4 * PAGE, true));
    let block = range.alloc(PAGE, 1, End::Low, Reach::Any).unwrap();
    let other = range.alloc(PAGE, 1, End::Low, Reach::Any).unwrap();
    assert!(range.free(block));
    let before = format!("{range:?}");
    assert!(!range.free(block));
    assert!(!range.shrink(block, 1));
    assert_eq!(range.split(block, GRANULE), None);
    assert_eq!(range.block(block), None);
    assert_eq!(range.missing(block).count(), 0);
    range.mapped(block, 0..PAGE);
    range.mapped(other, 1..PAGE);
    range.mapped(other, 0..5 * PAGE);
    assert!(!range.remove_region(0) && !range.remove_region(1));
    assert!(!range.shrink(other, PAGE + 1));
    assert_eq!(format!("{range:?}"), before);
}

#[test]
fn idle_pages_that_were_taken_meanwhile_stay_mapped() {
    let mut range = Range::new(PAGE);
    assert!(range.add_region(0, 4 * PAGE, true));
    let idle = range.idle();
    let block = range.alloc(GRANULE, 1, End::High, Reach::Mapped).unwrap();
    assert!(!range.unmapped(&idle[0]), "its last page is in use");
    assert!(range.free(block));
    assert!(range.unmapped(&idle[0]));
    assert_eq!(range.mapped_bytes(), 0);
}
