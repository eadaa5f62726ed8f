//! Both types, groups of heads, lengths around the tile, large scores, and what lies behind the last position.

use super::{Attention, CACHE_TYPES, reference};
use crate::{DType, Result, conformance::Rig};
use half::f16;

/// Heads, heads of the cache, width, width of values, capacity, and positions.
type Sizes<'a> = (usize, usize, usize, usize, usize, &'a [u32]);

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    let all: [Sizes<'_>; 6] = [
        (1, 1, 1, 1, 1, &[0]),
        (4, 2, 8, 8, 40, &[0, 1, 31, 32, 33, 39]),
        (6, 2, 33, 17, 100, &[99]),
        (3, 1, 64, 64, 70, &[63, 64, 65]),
        (2, 2, 576, 512, 5, &[4, 0]),
        (2, 1, 4, 4, 8, &[]),
    ];
    for dtype in CACHE_TYPES {
        for sizes in all {
            for scale in [0.25, 20.0] {
                attend(rig, dtype, sizes, scale)?;
            }
        }
    }
    refusals(rig)
}

fn attend(rig: &mut Rig, dtype: DType, sizes: Sizes<'_>, scale: f32) -> Result<()> {
    let (heads, kv_heads, width, value_width, capacity, positions) = sizes;
    let count = positions.len();
    let rounded = |x: f32| if dtype == DType::F16 { f16::from_f32(x).to_f32() } else { x };
    let q = rig.floats(count * heads * width);
    let keys: Vec<f32> = rig.floats(kv_heads * capacity * width).into_iter().map(rounded).collect();
    let values: Vec<f32> = rig.floats(kv_heads * capacity * value_width).into_iter().map(rounded).collect();
    // What lies behind the last position that anybody sees must not matter.
    let seen = positions.iter().max().map_or(0, |most| *most as usize + 1);
    let mut spoiled = keys.clone();
    for head in spoiled.chunks_mut(capacity * width) {
        head[seen * width..].fill(f32::NAN);
    }
    let (k, _) = rig.rounded(dtype, &[kv_heads, capacity, width], &spoiled)?;
    let (v, _) = rig.rounded(dtype, &[kv_heads, capacity, value_width], &values)?;
    let (a, p) = (rig.tensor(&[count, heads, width], &q)?, rig.tensor(&[count], positions)?);
    let out = rig.output(DType::F32, &[count, heads, value_width])?;
    rig.run(&Attention { q: &a, keys: &k, values: &v, positions: &p, scale, out: &out })?;
    let mut wanted = Vec::new();
    for (i, &position) in positions.iter().enumerate() {
        for head in 0..heads {
            let group = head / (heads / kv_heads) * capacity;
            let seen = position as usize + 1;
            wanted.extend(reference::attend(
                &q[(i * heads + head) * width..][..width],
                &keys[group * width..][..seen * width],
                &values[group * value_width..][..seen * value_width],
                value_width,
                scale,
            ));
        }
    }
    // Rounding of a score moves its weight by as much.
    let tolerance = 1e-6 * (1.0 + scale * (width as f32).sqrt() * 4.0);
    rig.near(&format!("{dtype}, {sizes:?}, scale {scale}"), &out, &wanted, tolerance)
}

fn refusals(rig: &mut Rig) -> Result<()> {
    let q = rig.tensor(&[1, 3, 4], &[0.0f32; 12])?;
    let cache = rig.tensor(&[2, 5, 4], &[0.0f32; 40])?;
    let (p, out) = (rig.tensor(&[1], &[0u32])?, rig.output(DType::F32, &[1, 3, 4])?);
    let bad = Attention { q: &q, keys: &cache, values: &cache, positions: &p, scale: 1.0, out: &out };
    rig.refuses(&bad, "attention: heads of q is 3, it has to be a multiple of the heads of keys")?;
    let halves = rig.output(DType::F16, &[2, 5, 4])?;
    rig.refuses(&Attention { values: &halves, ..bad }, "attention: values is of type f16, f32 is wanted")?;
    let (q, out) = (rig.tensor(&[1, 2, 4], &[0.0f32; 8])?, rig.output(DType::F32, &[1, 2, 4])?);
    let p = rig.tensor(&[1], &[5u32])?;
    let past = Attention { q: &q, keys: &cache, values: &cache, positions: &p, scale: 1.0, out: &out };
    rig.fails(&past, "position 5 is not in a cache of 5")?;
    let x = rig.tensor(&[2, 2, 4], &[f32::NAN; 16])?;
    let p = rig.tensor(&[2], &[1u32, 0])?;
    rig.refuses_overlap(&Attention { q: &x, keys: &x, values: &x, positions: &p, scale: 1.0, out: &x })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let _ = rig;
    Ok(())
}
