//! Every type of cache, one and several, positions out of order, twice and at the end, rings, what was there before, and
//! positions and places that are not there.

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
            append(rig, dtype, (heads, capacity, width.next_multiple_of(block), positions, ring), None)?;
        }
        let all: [(Sizes<'_>, usize, &[u32]); 4] = [
            ((3, 9, 5, &[8, 0, 3, 0], false), 5, &[4, 0, 2, 1]),
            ((1, 4, 7, &[3; 17], false), 19, &[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14, 18]),
            ((2, 5, 3, &[7, 2, 1_000_003], true), 2, &[0, 0, 1]),
            ((2, 4, 8, &[], false), 3, &[]),
        ];
        for ((heads, capacity, width, positions, ring), caches, places) in all {
            let sizes = (heads, capacity, width.next_multiple_of(block), positions, ring);
            append(rig, dtype, sizes, Some((caches, places)))?;
        }
    }
    let cache = rig.tensor(&[2, 4, 2], &[0.0f32; 16])?;
    let (x, p) = (rig.tensor(&[1, 2, 2], &[1.0f32; 4])?, rig.tensor(&[1], &[4u32])?);
    let op = Append { x: &x, positions: &p, places: None, cache: &cache, ring: false };
    rig.fails(&op, "position 4 is not in a cache of 4")?;
    let wide = rig.tensor(&[1, 2, 3], &[1.0f32; 6])?;
    rig.refuses(&Append { x: &wide, ..op }, "append: cache has shape [2, 4, 2], [2, 4, 3] is wanted")?;
    rig.refuses(
        &Append { cache: &p, ..op },
        "append: cache is of type u32, f32, f16, bf16, q8_0 or q4_0 is wanted",
    )?;
    let (places, caches) = (rig.tensor(&[1], &[2u32])?, rig.tensor(&[2, 2, 5, 2], &[0.0f32; 40])?);
    let several = Append { places: Some(&places), cache: &caches, ..op };
    rig.fails(&several, "place 2 is not one of 2")?;
    let wanted = "append: cache has shape [2, 4, 2], 4 axes are wanted";
    rig.refuses(&Append { cache: &cache, ..several }, wanted)?;
    let two = rig.tensor(&[2], &[0u32, 1])?;
    rig.refuses(&Append { places: Some(&two), ..several }, "append: places has shape [2], [1] is wanted")?;
    let own = cache.narrow(0, 0..1)?.reshape(&[4, 2])?.narrow(0, 1..3)?.reshape(&[1, 2, 2])?;
    rig.refuses_overlap(&Append { x: &own, ..op })
}

/// Rows that go into one cache, or into their places in so many.
fn append(rig: &mut Rig, dtype: DType, sizes: Sizes<'_>, several: Option<(usize, &[u32])>) -> Result<()> {
    let (heads, capacity, width, positions, ring) = sizes;
    let (count, caches) = (positions.len(), several.map_or(1, |(caches, _)| caches));
    let before = rig.floats(caches * heads * capacity * width);
    let mut x = rig.floats(count * heads * width);
    if dtype.is_plain() {
        x.iter_mut().take(1).for_each(|x| *x = f32::INFINITY);
    }
    let shape = &[caches, heads, capacity, width][usize::from(several.is_none())..];
    let (cache, mut wanted) = rig.rounded(dtype, shape, &before)?;
    let places = several.map(|(_, places)| rig.tensor(&[count], places)).transpose()?;
    let (a, p) = (rig.tensor(&[count, heads, width], &x)?, rig.tensor(&[count], positions)?);
    rig.run(&Append { x: &a, positions: &p, places: places.as_ref(), cache: &cache, ring })?;
    let mut bytes = vec![0; dtype.row_bytes(x.len())?];
    quant::quantise_row(dtype, &x, &mut bytes)?;
    quant::decode(dtype, &bytes, &mut x)?;
    let place = |i: usize| several.map_or(0, |(_, places)| places[i] as usize);
    let slots: Vec<_> =
        (0..).zip(positions).map(|(i, position)| (place(i), *position as usize % capacity)).collect();
    reference::append(&mut wanted, &x, &slots, [heads, capacity, width]);
    rig.same(&format!("{dtype}, {sizes:?}, {several:?}"), &cache, &wanted)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for dtype in CACHE_TYPES {
        let x = rig.floats(512 * 8 * 128);
        let positions: Vec<u32> = (0..512).collect();
        let (x, p) = (rig.tensor(&[512, 8, 128], &x)?, rig.tensor(&[512], &positions)?);
        let cache = rig.output(dtype, &[8, 1024, 128])?;
        let work = Work { bytes: 4 * x.elements() + cache.layout().bytes() / 2, operations: x.elements() };
        let op = Append { x: &x, positions: &p, places: None, cache: &cache, ring: false };
        rig.time(format!("512 x 8 x 128 {dtype}"), work, &op)?;
    }
    Ok(())
}
