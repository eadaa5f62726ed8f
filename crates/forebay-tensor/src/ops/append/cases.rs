//! Both types, positions out of order, twice and at the end, what was there before, and positions that are not there.

use super::{Append, CACHE_TYPES, reference};
use crate::{DType, Result, conformance::Rig};
use half::f16;

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for dtype in CACHE_TYPES {
        for (heads, capacity, width, positions) in
            [(1, 1, 1, &[0u32][..]), (3, 9, 5, &[8, 0, 3, 0]), (2, 4, 64, &[2]), (2, 4, 8, &[])]
        {
            let count = positions.len();
            let rounded = |x: f32| if dtype == DType::F16 { f16::from_f32(x).to_f32() } else { x };
            let before: Vec<f32> = rig.floats(heads * capacity * width).into_iter().map(rounded).collect();
            let mut x = rig.floats(count * heads * width);
            x.iter_mut().take(1).for_each(|x| *x = f32::INFINITY);
            let (cache, _) = rig.rounded(dtype, &[heads, capacity, width], &before)?;
            let (a, p) = (rig.tensor(&[count, heads, width], &x)?, rig.tensor(&[count], positions)?);
            rig.run(&Append { x: &a, positions: &p, cache: &cache })?;
            let mut wanted = before;
            reference::append(&mut wanted, &x, positions, [heads, width]);
            let wanted: Vec<f32> = wanted.into_iter().map(rounded).collect();
            rig.same(&format!("{dtype}, {heads} x {capacity} x {width}"), &cache, &wanted)?;
        }
    }
    let cache = rig.tensor(&[2, 4, 2], &[0.0f32; 16])?;
    let (x, p) = (rig.tensor(&[1, 2, 2], &[1.0f32; 4])?, rig.tensor(&[1], &[4u32])?);
    rig.fails(&Append { x: &x, positions: &p, cache: &cache }, "position 4 is not in a cache of 4")?;
    let wide = rig.tensor(&[1, 2, 3], &[1.0f32; 6])?;
    let bad = Append { x: &wide, positions: &p, cache: &cache };
    rig.refuses(&bad, "append: cache has shape [2, 4, 2], [2, 4, 3] is wanted")?;
    let own = cache.narrow(0, 0..1)?.narrow(1, 0..2)?.reshape(&[1, 2, 2])?;
    rig.refuses_overlap(&Append { x: &own, positions: &p, cache: &cache })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let _ = rig;
    Ok(())
}
