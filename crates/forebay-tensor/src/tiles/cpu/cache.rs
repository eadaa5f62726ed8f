//! Types of caches: how rows of them become f32 and come from it.
//!
//! A row of a type of blocks is a row of units, each a whole block, so that slices of units never cut one.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::lanes::Lanes;
use crate::{DType, quant};

/// Types that a cache can have.
pub(crate) const CACHE_TYPES: [DType; 5] = [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0];
/// The same, as messages say it.
pub(crate) const CACHE_NAMES: &str = "f32, f16, bf16, q8_0 or q4_0";

/// What a row of a cache is made of.
pub(crate) trait Unit: Pod {
    /// The type.
    const DTYPE: DType;
    /// Elements of a unit.
    const ELEMENTS: usize;

    /// A row as f32; `scratch` is as long as the row.
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];

    /// The same, on a level.
    #[inline(always)]
    fn widen_on<'a, V: Lanes>(_: V, row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        Self::widen(row, scratch)
    }

    /// The blocks of rows whose products with queries are of integers.
    #[inline(always)]
    fn blocks(_: &[Self]) -> Option<&[Q8Block]> {
        None
    }

    /// Rounds a row to nearest. `from` has as many elements as the row.
    fn narrow(from: &[f32], row: &mut [Self]);
}

/// Calls something for the unit of a type of [`CACHE_TYPES`].
macro_rules! per_unit {
    ($dtype:expr, $unit:ident => $call:expr) => {{
        use $crate::tiles::cpu::cache::{Q4Block, Q8Block};
        match $dtype {
            DType::F16 => {
                type $unit = half::f16;
                $call
            }
            DType::BF16 => {
                type $unit = half::bf16;
                $call
            }
            DType::Q8_0 => {
                type $unit = Q8Block;
                $call
            }
            DType::Q4_0 => {
                type $unit = Q4Block;
                $call
            }
            _ => {
                type $unit = f32;
                $call
            }
        }
    }};
}
pub(crate) use per_unit;

impl Unit for f32 {
    const DTYPE: DType = DType::F32;
    const ELEMENTS: usize = 1;

    #[inline(always)]
    fn widen<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        row.copy_from_slice(from);
    }
}

impl Unit for f16 {
    const DTYPE: DType = DType::F16;
    const ELEMENTS: usize = 1;

    #[inline(always)]
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        row.iter().zip(scratch.iter_mut()).for_each(|(x, out)| *out = wide(x.to_bits()));
        scratch
    }

    #[inline(always)]
    fn widen_on<'a, V: Lanes>(v: V, row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let bytes: &[u8] = bytemuck::cast_slice(row);
        let whole = row.len() / V::N * V::N;
        for at in (0..whole).step_by(V::N) {
            v.store(v.f16s(&bytes[2 * at..]), &mut scratch[at..]);
        }
        Self::widen(&row[whole..], &mut scratch[whole..]);
        scratch
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        row.convert_from_f32_slice(from);
    }
}

impl Unit for bf16 {
    const DTYPE: DType = DType::BF16;
    const ELEMENTS: usize = 1;

    #[inline(always)]
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let wide = |x: bf16| f32::from_bits(u32::from(x.to_bits()) << 16);
        row.iter().zip(scratch.iter_mut()).for_each(|(x, out)| *out = wide(*x));
        scratch
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        row.convert_from_f32_slice(from);
    }
}

/// A block of [`DType::Q8_0`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Q8Block {
    scale: [u8; 2],
    codes: [i8; 32],
}

impl Unit for Q8Block {
    const DTYPE: DType = DType::Q8_0;
    const ELEMENTS: usize = 32;

    #[inline(always)]
    fn blocks(rows: &[Self]) -> Option<&[Q8Block]> {
        Some(rows)
    }

    #[inline(always)]
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        for (block, out) in row.iter().zip(scratch.as_chunks_mut::<32>().0) {
            let scale = wide(u16::from_le_bytes(block.scale));
            out.iter_mut().zip(block.codes).for_each(|(out, code)| *out = scale * f32::from(code));
        }
        scratch
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        round(from, row);
    }
}

/// A block of [`DType::Q4_0`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Q4Block {
    scale: [u8; 2],
    /// The first half of the elements in the low bits, the second in the high ones.
    codes: [u8; 16],
}

impl Unit for Q4Block {
    const DTYPE: DType = DType::Q4_0;
    const ELEMENTS: usize = 32;

    #[inline(always)]
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        for (block, out) in row.iter().zip(scratch.as_chunks_mut::<32>().0) {
            let scale = wide(u16::from_le_bytes(block.scale));
            let (low, high) = out.split_at_mut(16);
            for ((low, high), codes) in low.iter_mut().zip(high).zip(block.codes) {
                *low = scale * (f32::from(codes & 15) - 8.0);
                *high = scale * (f32::from(codes >> 4) - 8.0);
            }
        }
        scratch
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        round(from, row);
    }
}

#[allow(clippy::panic, reason = "rows that do not fit fail the stage")]
fn round<T: Unit>(from: &[f32], row: &mut [T]) {
    if let Err(error) = quant::quantise_row(T::DTYPE, from, bytemuck::cast_slice_mut(row)) {
        panic!("{error}");
    }
}

/// A half as f32, exactly; without branches, so that the compiler works on many at once.
#[inline(always)]
fn wide(half: u16) -> f32 {
    const REBIAS: f32 = f32::from_bits((254 - 15) << 23);
    let half = u32::from(half);
    let size = f32::from_bits((half & 0x7FFF) << 13) * REBIAS;
    // Exponents of all ones stay all ones.
    let special = if half & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
    f32::from_bits(size.to_bits() | special | (half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_becomes_the_float_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (got, wanted) = (wide(bits), f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan(), "{bits:#06x}");
        }
    }

    #[test]
    fn rows_become_what_their_type_decodes_to() {
        fn check<T: Unit>() {
            let x: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let mut row = vec![T::zeroed(); 96 / T::ELEMENTS];
            T::narrow(&x, &mut row);
            let (mut scratch, mut wanted) = ([0.0; 96], [0.0; 96]);
            quant::decode(T::DTYPE, bytemuck::cast_slice(&row), &mut wanted).unwrap();
            assert_eq!(T::widen(&row, &mut scratch), wanted, "{}", T::DTYPE);
        }
        for dtype in CACHE_TYPES {
            per_unit!(dtype, U => check::<U>());
        }
    }
}
