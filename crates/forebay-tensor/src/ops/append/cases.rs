//! Every type of cache, positions out of order, twice and at the end, rings, what was there before, and positions that
//! are not there.

use super::{Append, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    quant,
    tiles::cpu::cache::CACHE_TYPES,
};

/// Heads, capacity, width, positions, and whether it is a ring.
type Sizes<'a> = (usize, usize, usize, &'a [u32], bool);

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for dtype in CACHE_TYPES {
        let block = dtype.block_elements();
        let all: [Sizes<'_>; 6] = [
            (1, 1, 1, &[0], false),
            (3, 9, 5, &[8, 0, 3, 0], false),
            (2, 4, 64, &[2], false),
            (2, 4, 8, &[], false),
            (3, 5, 3, &[7, 4, 5, 1_000_003], true),
            (1, 1, 2, &[0, 1, 2, 3], true),
        ];
        for (heads, capacity, width, positions, ring) in all {
            append(rig, dtype, (heads, capacity, width.next_multiple_of(block), positions, ring))?;
        }
    }
    let cache = rig.tensor(&[2, 4, 2], &[0.0f32; 16])?;
    let (x, p) = (rig.tensor(&[1, 2, 2], &[1.0f32; 4])?, rig.tensor(&[1], &[4u32])?);
    let op = Append { x: &x, positions: &p, cache: &cache, ring: false };
    rig.fails(&op, "position 4 is not in a cache of 4")?;
    let wide = rig.tensor(&[1, 2, 3], &[1.0f32; 6])?;
    rig.refuses(&Append { x: &wide, ..op }, "append: cache has shape [2, 4, 2], [2, 4, 3] is wanted")?;
    rig.refuses(
        &Append { cache: &p, ..op },
        "append: cache is of type u32, f32, f16, bf16, q8_0 or q4_0 is wanted",
    )?;
    let own = cache.narrow(0, 0..1)?.reshape(&[4, 2])?.narrow(0, 1..3)?.reshape(&[1, 2, 2])?;
    rig.refuses_overlap(&Append { x: &own, ..op })
}

fn append(rig: &mut Rig, dtype: DType, sizes: Sizes<'_>) -> Result<()> {
    let (heads, capacity, width, positions, ring) = sizes;
    let count = positions.len();
    let before = rig.floats(heads * capacity * width);
    let mut x = rig.floats(count * heads * width);
    if dtype.is_plain() {
        x.iter_mut().take(1).for_each(|x| *x = f32::INFINITY);
    }
    let (cache, mut wanted) = rig.rounded(dtype, &[heads, capacity, width], &before)?;
    let (a, p) = (rig.tensor(&[count, heads, width], &x)?, rig.tensor(&[count], positions)?);
    rig.run(&Append { x: &a, positions: &p, cache: &cache, ring })?;
    let mut bytes = vec![0; dtype.row_bytes(x.len())?];
    quant::quantise_row(dtype, &x, &mut bytes)?;
    quant::decode(dtype, &bytes, &mut x)?;
    let slots: Vec<usize> = positions.iter().map(|position| *position as usize % capacity).collect();
    reference::append(&mut wanted, &x, &slots, [heads, width]);
    rig.same(&format!("{dtype}, {sizes:?}"), &cache, &wanted)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for dtype in CACHE_TYPES {
        let x = rig.floats(512 * 8 * 128);
        let positions: Vec<u32> = (0..512).collect();
        let (x, p) = (rig.tensor(&[512, 8, 128], &x)?, rig.tensor(&[512], &positions)?);
        let cache = rig.output(dtype, &[8, 1024, 128])?;
        let work = Work { bytes: 4 * x.elements() + cache.layout().bytes() / 2, operations: x.elements() };
        let op = Append { x: &x, positions: &p, cache: &cache, ring: false };
        rig.time(format!("512 x 8 x 128 {dtype}"), work, &op)?;
    }
    Ok(())
}
