//! The launches of a sort on a card, where rows can be longer than what a block holds; `order.cuh` is their device code.
//!
//! Tiles are sorted each by one block. Then runs of twice the length are merged until one is left: elements are exchanged
//! with those that mirror them, then with those at half the distance, and so on; from half a tile on one launch does the rest.
//! Every exchange puts the one that comes first at the lower place, so that rows of any length need no padding.

use forebay_device::{BackendKind, Grid, Kernel};

use crate::{
    Result,
    op::{groups, size},
};

/// Elements that a block sorts at once.
pub(crate) const TILE: usize = 4096;
/// Threads of a block.
const THREADS: u32 = 1024;

/// What a launch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sorts each tile of all columns.
    Columns,
    /// Sorts each tile of the ids that are there.
    Ids,
    /// Exchanges ids that mirror each other in runs of twice the distance.
    Mirrored,
    /// Exchanges ids that are so far apart.
    Straight,
    /// Exchanges ids that are half a tile apart, then half of that, and so on down to neighbours.
    Finish,
    /// Looks for the largest elements, a block in each row.
    Choose,
}

/// One launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    step: Step,
    distance: usize,
    /// Blocks of a row.
    blocks: usize,
}

impl Pass {
    /// Its grid over so many rows. On the CPU a group does all of a row.
    pub(crate) fn grid(&self, op: &'static str, kernel: &Kernel, rows: usize) -> Result<Grid> {
        let blocks = if kernel.backend() == BackendKind::Cuda { self.blocks } else { 1 };
        Ok(Grid::linear(groups(op, rows.saturating_mul(blocks))?, THREADS))
    }

    /// The step, the distance and the blocks of a row, as kernels take them.
    pub(crate) fn words(&self, op: &'static str) -> Result<[u32; 3]> {
        Ok([
            self.step as u32,
            size(op, "distance", self.distance)?,
            size(op, "blocks of a row", self.blocks)?,
        ])
    }
}

/// The launches that sort rows of so many ids: first what is given, and the rest on a card only.
pub(crate) fn passes(kernel: &Kernel, first: Step, length: usize) -> impl Iterator<Item = Pass> + use<> {
    let most = if kernel.backend() == BackendKind::Cuda { usize::MAX } else { 1 };
    all_passes(first, length).take(most)
}

fn all_passes(first: Step, length: usize) -> impl Iterator<Item = Pass> {
    let (tiles, run) = (length.div_ceil(TILE), length.next_power_of_two());
    let (choose, tile) = match first {
        Step::Choose => (Some(Pass { step: first, distance: 0, blocks: 1 }), Step::Ids),
        tile => (None, tile),
    };
    let sorted = (tiles > 0).then_some(Pass { step: tile, distance: 0, blocks: tiles });
    let far = move |step| move |distance| Pass { step, distance, blocks: run / TILE };
    let halves = |from: usize, down_to: usize| {
        std::iter::successors(Some(from), |distance| Some(distance / 2))
            .take_while(move |distance| *distance >= down_to)
    };
    let doubles = std::iter::successors(Some(TILE), |half| half.checked_mul(2));
    let merges = doubles.take_while(move |half| *half < run).flat_map(move |half| {
        let finish = Pass { step: Step::Finish, distance: TILE / 2, blocks: tiles };
        let straight = halves(half / 2, TILE).map(far(Step::Straight));
        [far(Step::Mirrored)(half)].into_iter().chain(straight).chain([finish])
    });
    choose.into_iter().chain(sorted).chain(merges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Chance;

    /// One launch, as device code does it.
    fn play(pass: Pass, x: &mut [u64]) {
        let all = pass.blocks * TILE;
        let mut exchange = |distance: usize, mask: usize| {
            for low in (0..all).filter(|place| place & distance == 0) {
                let high = low ^ mask;
                if high < x.len() && x[high] < x[low] {
                    x.swap(low, high);
                }
            }
        };
        match pass.step {
            Step::Columns | Step::Ids => x.chunks_mut(TILE).for_each(<[u64]>::sort),
            Step::Mirrored => exchange(pass.distance, 2 * pass.distance - 1),
            Step::Straight => exchange(pass.distance, pass.distance),
            Step::Finish => {
                let mut distance = pass.distance;
                while distance > 0 {
                    exchange(distance, distance);
                    distance /= 2;
                }
            }
            Step::Choose => {}
        }
    }

    #[test]
    fn rows_of_any_length_are_sorted_in_the_end() {
        let mut chance = Chance::new(7);
        for length in [0, 1, TILE - 1, TILE, TILE + 1, 2 * TILE, 2 * TILE + 1, 5 * TILE + 77, 8 * TILE - 1] {
            let mut x: Vec<u64> = (0..length).map(|_| chance.bits() % 1000).collect();
            let mut wanted = x.clone();
            wanted.sort();
            all_passes(Step::Columns, length).for_each(|pass| play(pass, &mut x));
            assert!(x == wanted, "{length}");
        }
    }

    #[test]
    fn what_is_chosen_is_sorted_only_where_a_block_cannot_hold_it() {
        let steps = |length| all_passes(Step::Choose, length).map(|pass| pass.step).collect::<Vec<_>>();
        assert_eq!(steps(0), [Step::Choose]);
        assert_eq!(steps(TILE + 1), [Step::Choose, Step::Ids, Step::Mirrored, Step::Finish]);
    }
}
