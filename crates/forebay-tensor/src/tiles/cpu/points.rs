#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Formats whose codes are numbers of points in a table, or digits of a number: rows as they lie, for integer products.
//!
//! Their values are small integers. A block of each of 16 rows is looked up into bytes, raised by 64, and turned into what
//! a panel is when it is expanded, so that they are multiplied as panels are. What blocks hold is drawn in the files of the
//! formats in `quant`. Next room: `blocks`, which multiplies.

use std::{marker::PhantomData, ops::Range};

use half::f16;

use super::{
    blocks::Values,
    lanes::{Lanes, turn},
    products::Expanded,
};
use crate::{
    DType,
    quant::{
        grids,
        panel::{COLUMNS, MOST, ROWS},
        points::even_signs,
    },
};

/// The value of zero.
const ZERO: i32 = 64;
/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The values of a block, raised by [`ZERO`], eight in a word; and a scale for each 16 or 32 of them.
pub(crate) struct Block {
    values: [u64; MOST / 8],
    scales: [f32; MOST / 16],
}

/// A format of blocks of 256.
pub(crate) trait PointFormat: Copy {
    /// Bytes of a block.
    const BYTES: usize;
    /// Values that share a scale.
    const GROUP: usize;

    /// Looks a block up.
    fn take(block: &[u8], to: &mut Block);
}

/// Rows of a weight.
#[derive(Clone, Copy)]
pub(crate) struct Points<'a, F> {
    pub(crate) f: PhantomData<F>,
    /// All rows, one after another.
    pub(crate) rows: &'a [u8],
    /// Blocks of a row.
    pub(crate) blocks: usize,
}

impl<F: PointFormat> Values for Points<'_, F> {
    const ZERO: i32 = ZERO;
    const GROUP: usize = F::GROUP;
    const MINIMUM: usize = 0;
    const WIDE: bool = false;

    #[inline(always)]
    fn expand<V: Lanes>(self, v: V, panel: usize, columns: Range<usize>, to: &mut Expanded, place: usize) {
        let mut block = Block { values: [0; MOST / 8], scales: [0.0; MOST / 16] };
        let mut values = [[ZERO as u8; MOST]; ROWS];
        let row_bytes = self.blocks * F::BYTES;
        let at = columns.start / (MOST / COLUMNS) * F::BYTES;
        for (r, row) in self.rows[panel * ROWS * row_bytes..].chunks_exact(row_bytes).take(ROWS).enumerate() {
            let bytes = &row[at..at + F::BYTES];
            v.fetch(bytes, 2 * row_bytes);
            F::take(bytes, &mut block);
            for (i, word) in block.values.iter().enumerate() {
                values[r][8 * i..][..8].copy_from_slice(&word.to_le_bytes());
            }
            for i in 0..MOST / F::GROUP {
                to.scales[place][i][r] = block.scales[i];
            }
        }
        let mut rows = [&values[0][..]; ROWS];
        for r in 1..ROWS {
            rows[r] = &values[r];
        }
        for (group, lines) in to.values[place].iter_mut().enumerate() {
            let (first, last) = lines.split_at_mut(4);
            turn(&rows, group * COLUMNS, first);
            turn(&rows, group * COLUMNS + 16, last);
        }
    }
}

/// Points of eight coordinates of two bits, as bytes.
const fn eights<const N: usize>(points: &[u16; N], levels: [u8; 3]) -> [u64; N] {
    let mut table = [0; N];
    let mut i = 0;
    while i < N * 8 {
        let level = levels[(points[i / 8] >> (2 * (i % 8))) as usize & 3];
        table[i / 8] |= (level as u64) << (8 * (i % 8));
        i += 1;
    }
    table
}

/// Points of four coordinates of three bits, as bytes.
const fn fours<const N: usize>(points: &[u16; N], levels: [u8; 8]) -> [u32; N] {
    let mut table = [0; N];
    let mut i = 0;
    while i < N * 4 {
        let level = levels[(points[i / 4] >> (3 * (i % 4))) as usize & 7];
        table[i / 4] |= (level as u32) << (8 * (i % 4));
        i += 1;
    }
    table
}

/// What turns magnitudes below 64 into raised values, where the bits of signs say so: `m ^ 0x40` is `64 + m`, and
/// `(m ^ 0x3f) + 1` is `64 - m`, which no byte carries out of.
static SIGNS: [u64; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 * 8 {
        let turned: u64 = if (i / 8) >> (i % 8) & 1 == 1 { 0x3f } else { 0x40 };
        table[i / 8] |= turned << (8 * (i % 8));
        i += 1;
    }
    table
};

/// The same for seven signs, the eighth of which makes the number of minuses even.
static EVEN_SIGNS: [u64; 128] = {
    let mut table = [0; 128];
    let mut i = 0;
    while i < 128 {
        table[i] = SIGNS[even_signs(i as u32) as usize];
        i += 1;
    }
    table
};

/// Eight magnitudes with their signs, raised.
#[inline(always)]
fn signed(magnitudes: u64, signs: u64) -> u64 {
    (magnitudes ^ signs) + (signs & ONES)
}

/// The lowest seven signs, and the eighth that goes with them.
#[inline(always)]
fn seven(signs: u32) -> u64 {
    EVEN_SIGNS[signs as usize & 127]
}

static IQ2_XXS: [u64; 256] = eights(&grids::IQ2_XXS, [8, 25, 43]);
static IQ2_XS: [u64; 512] = eights(&grids::IQ2_XS, [8, 25, 43]);
static IQ2_S: [u64; 1024] = eights(&grids::IQ2_S, [8, 25, 43]);
static IQ3_XXS: [u32; 256] = fours(&grids::IQ3_XXS, [4, 12, 20, 28, 36, 44, 52, 62]);
static IQ3_S: [u32; 512] = fours(&grids::IQ3_S, [1, 3, 5, 7, 9, 11, 13, 15]);
/// Eight times what a coordinate is worth, raised; a shift is one of these.
static IQ1: [u64; 2048] = eights(&grids::IQ1, [56, 64, 72]);

#[inline(always)]
fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

#[inline(always)]
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(u16_at(block, at)).to_f32_const()
}

/// Two points of four coordinates side by side.
#[inline(always)]
fn pair<const N: usize>(table: &[u32; N], first: usize, last: usize) -> u64 {
    u64::from(table[first & (N - 1)]) | u64::from(table[last & (N - 1)]) << 32
}

macro_rules! points {
    ($($name:ident: $bytes:literal, $group:literal, $take:path;)*) => {$(
        #[derive(Clone, Copy, Debug)]
        #[allow(non_camel_case_types, reason = "the name of the format")]
        pub(crate) struct $name;

        impl PointFormat for $name {
            const BYTES: usize = $bytes;
            const GROUP: usize = $group;

            #[inline(always)]
            fn take(block: &[u8], to: &mut Block) {
                $take(block, to);
            }
        }
    )*};
}

points! {
    Iq1S: 50, 32, iq1_s;
    Iq1M: 56, 16, iq1_m;
    Iq2Xxs: 66, 32, iq2_xxs;
    Iq2Xs: 74, 16, iq2_xs;
    Iq2S: 82, 16, iq2_s;
    Iq3Xxs: 98, 32, iq3_xxs;
    Iq3S: 110, 32, iq3_s;
    Tq1: 54, 32, tq1_0;
}

/// Something to do with any of these formats.
pub(crate) trait PointJob {
    /// Does it.
    fn run<F: PointFormat>(self);
}

/// Whether a type is one of these.
pub(crate) fn has_points(dtype: DType) -> bool {
    struct Nothing;
    impl PointJob for Nothing {
        fn run<F: PointFormat>(self) {}
    }
    with_points(dtype, Nothing)
}

/// Does a job with the format of a type. Says whether it is one of these.
pub(crate) fn with_points<J: PointJob>(dtype: DType, job: J) -> bool {
    match dtype {
        DType::IQ1_S => job.run::<Iq1S>(),
        DType::IQ1_M => job.run::<Iq1M>(),
        DType::IQ2_XXS => job.run::<Iq2Xxs>(),
        DType::IQ2_XS => job.run::<Iq2Xs>(),
        DType::IQ2_S => job.run::<Iq2S>(),
        DType::IQ3_XXS => job.run::<Iq3Xxs>(),
        DType::IQ3_S => job.run::<Iq3S>(),
        DType::TQ1_0 => job.run::<Tq1>(),
        _ => return false,
    }
    true
}

#[inline(always)]
fn iq1_s(block: &[u8], to: &mut Block) {
    let d = f16_at(block, 0) * 0.125;
    for part in 0..8 {
        let stored = u16_at(block, 34 + 2 * part);
        to.scales[part] = d * f32::from(1 + 2 * (stored >> 12 & 7));
        for l in 0..4 {
            let number = usize::from(block[2 + 4 * part + l]) | usize::from(stored >> (3 * l) & 7) << 8;
            to.values[4 * part + l] = shifted(number, stored >> 15 == 1);
        }
    }
}

/// A point of IQ1, shifted up or down.
#[inline(always)]
fn shifted(number: usize, down: bool) -> u64 {
    let point = IQ1[number & 2047];
    if down { point - ONES } else { point + ONES }
}

#[inline(always)]
fn iq1_m(block: &[u8], to: &mut Block) {
    let mut d = 0;
    for w in 0..4 {
        d |= u16_at(block, 48 + 2 * w) >> 12 << (4 * w);
    }
    let d = f16::from_bits(d).to_f32_const() * 0.125;
    for part in 0..16 {
        let scale = u16_at(block, 48 + part / 4 * 2) >> (part % 4 * 3) & 7;
        to.scales[part] = d * f32::from(1 + 2 * scale);
        for l in 0..2 {
            let high = usize::from(block[32 + part] >> (4 * l));
            let number = usize::from(block[2 * part + l]) | (high & 7) << 8;
            to.values[2 * part + l] = shifted(number, high & 8 == 8);
        }
    }
}

#[inline(always)]
fn iq2_xxs(block: &[u8], to: &mut Block) {
    let d = f16_at(block, 0) * 0.25;
    for part in 0..8 {
        let at = 2 + 8 * part;
        let stored = u32::from(u16_at(block, at + 4)) | u32::from(u16_at(block, at + 6)) << 16;
        to.scales[part] = d * (0.5 + (stored >> 28) as f32);
        for l in 0..4 {
            to.values[4 * part + l] = signed(IQ2_XXS[usize::from(block[at + l])], seven(stored >> (7 * l)));
        }
    }
}

/// The scales of 16 parts of the formats of IQ2.
#[inline(always)]
fn halves_of_scales(d: f32, bytes: &[u8], to: &mut Block) {
    for part in 0..16 {
        to.scales[part] = d * 0.25 * (0.5 + f32::from(bytes[part / 2] >> (part % 2 * 4) & 15));
    }
}

#[inline(always)]
fn iq2_xs(block: &[u8], to: &mut Block) {
    halves_of_scales(f16_at(block, 0), &block[66..74], to);
    for group in 0..32 {
        let stored = u16_at(block, 2 + 2 * group);
        let point = IQ2_XS[usize::from(stored & 511)];
        to.values[group] = signed(point, seven((stored >> 9).into()));
    }
}

#[inline(always)]
fn iq2_s(block: &[u8], to: &mut Block) {
    halves_of_scales(f16_at(block, 0), &block[74..82], to);
    for group in 0..32 {
        let high = usize::from(block[66 + group / 4] >> (group % 4 * 2) & 3);
        let point = IQ2_S[usize::from(block[2 + group]) | high << 8];
        to.values[group] = signed(point, SIGNS[usize::from(block[34 + group])]);
    }
}

#[inline(always)]
fn iq3_xxs(block: &[u8], to: &mut Block) {
    let d = f16_at(block, 0) * 0.5;
    for part in 0..8 {
        let at = 66 + 4 * part;
        let stored = u32::from(u16_at(block, at)) | u32::from(u16_at(block, at + 2)) << 16;
        to.scales[part] = d * (0.5 + (stored >> 28) as f32);
        for l in 0..4 {
            let numbers = &block[2 + 8 * part + 2 * l..][..2];
            let point = pair(&IQ3_XXS, numbers[0].into(), numbers[1].into());
            to.values[4 * part + l] = signed(point, seven(stored >> (7 * l)));
        }
    }
}

#[inline(always)]
fn iq3_s(block: &[u8], to: &mut Block) {
    let d = f16_at(block, 0);
    for part in 0..8 {
        let scale = block[106 + part / 2] >> (part % 2 * 4) & 15;
        to.scales[part] = d * f32::from(1 + 2 * scale);
        let ninths = usize::from(block[66 + part]) << 8;
        for l in 0..4 {
            let numbers = &block[2 + 8 * part + 2 * l..][..2];
            let first = usize::from(numbers[0]) | ninths >> (2 * l) & 256;
            let last = usize::from(numbers[1]) | ninths >> (2 * l + 1) & 256;
            to.values[4 * part + l] =
                signed(pair(&IQ3_S, first, last), SIGNS[usize::from(block[74 + 4 * part + l])]);
        }
    }
}

#[inline(always)]
fn tq1_0(block: &[u8], to: &mut Block) {
    let values: &mut [u8; MOST] = bytemuck::cast_mut(&mut to.values);
    for digit in 0..5 {
        digits(&block[..32], digit, &mut values[32 * digit..][..32]);
        digits(&block[32..48], digit, &mut values[160 + 16 * digit..][..16]);
    }
    for digit in 0..4 {
        digits(&block[48..52], digit, &mut values[240 + 4 * digit..][..4]);
    }
    to.scales[..8].fill(f16_at(block, 52));
}

/// A digit is what multiplying by 3 moves above the point, once the digits before it have been moved out.
#[inline(always)]
fn digits(bytes: &[u8], digit: usize, values: &mut [u8]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    for (byte, value) in bytes.iter().zip(values) {
        let rest = byte.wrapping_mul(POWERS[digit]);
        *value = ((u16::from(rest) * 3) >> 8) as u8 + ZERO as u8 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant;

    struct Compare<'a>(DType, &'a [u8]);

    impl PointJob for Compare<'_> {
        fn run<F: PointFormat>(self) {
            let mut block = Block { values: [0; MOST / 8], scales: [0.0; MOST / 16] };
            F::take(self.1, &mut block);
            let values: [u8; MOST] = bytemuck::cast(block.values);
            let mut wanted = [0.0; MOST];
            quant::decode(self.0, self.1, &mut wanted).unwrap();
            for i in 0..MOST {
                let got = block.scales[i / F::GROUP] * (i32::from(values[i]) - ZERO) as f32;
                let near =
                    (got - wanted[i]).abs() <= 1e-6 * wanted[i].abs() || got.is_nan() && wanted[i].is_nan();
                assert!(near, "{}, element {i}: {got} is not {}", self.0, wanted[i]);
            }
        }
    }

    #[test]
    fn values_and_scales_are_what_the_oracles_decode() {
        let mut count = 0;
        for dtype in DType::all().filter(|dtype| has_points(*dtype)) {
            for seed in 0..20u64 {
                let mut state = seed + 1;
                let block: Vec<u8> = (0..dtype.block_bytes())
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 56) as u8
                    })
                    .collect();
                assert!(with_points(dtype, Compare(dtype, &block)));
            }
            count += 1;
        }
        assert_eq!(count, 8);
    }
}
