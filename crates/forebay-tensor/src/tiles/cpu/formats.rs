#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! What the sides of panels mean, and how their codes become vectors of bytes: one type a weight format.
//!
//! An element is `scale * (value - zero) + minimum`, in this order of operations; `value` is the code or what the table
//! has for it. Where a format folds, `value - zero` is multiplied by an integer of its 16 columns before. Where codes and
//! sides lie is in `quant::panel`. Hot code here and in `products` is loops without closures: a closure is a function of its
//! own, which is not compiled for the level. Next room: `products`, which multiplies.

use super::lanes::Lanes;
use crate::{
    DType,
    quant::{
        iq4_nl::LEVELS,
        panel::{COLUMNS, MOST, ROWS},
        small_float::{E2M1_DOUBLED, e8m0_half},
    },
};

/// A number for each row of a panel.
pub(crate) type PerRow = [f32; ROWS];

/// Scales and minimums of a block, for each part that has its own.
pub(crate) struct Sides {
    pub(crate) scales: [PerRow; MOST / 16],
    /// What values of 16 columns are multiplied by, where a format folds them.
    pub(crate) factors: [[i32; ROWS]; MOST / 16],
    pub(crate) minimums: [PerRow; MOST / 16],
}

impl Sides {
    /// Nothing yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { scales: [[0.0; ROWS]; 16], factors: [[0; ROWS]; 16], minimums: [[0.0; ROWS]; 16] }
    }
}

/// A format that lies in panels.
pub(crate) trait PanelFormat: Copy {
    /// Bits of a code.
    const BITS: usize;
    /// The value of zero.
    const ZERO: i32 = 0;
    /// What codes stand for, where not for themselves.
    const TABLE: Option<[u8; 16]> = None;
    /// Whether values reach 128.
    const WIDE: bool = false;
    /// Columns whose products are summed before they meet a scale: 16 or 32.
    const GROUP: usize = COLUMNS;
    /// Whether every group of a block has a scale of its own, and whatever shares a minimum has its own.
    const MANY: bool = false;
    /// What values are raised by to have no sign, once they were multiplied by the integer that 16 columns have beside the
    /// scale of their block; none where there are no such integers, or products do not fit a byte.
    const FOLD: Option<i32> = None;
    /// Columns that share a minimum: 16 or 32, or 0 where there are none.
    const MINIMUM: usize = 0;

    /// Elements of a block.
    fn span(self) -> usize;
    /// Bytes beside the codes of a block of a row.
    fn side_bytes(self) -> usize;
    /// Reads the sides of a block of all rows.
    fn sides<V: Lanes>(self, v: V, bytes: &[u8], sides: &mut Sides);
}

/// The quad of values of some rows: those of part `part`, out of the lines of 32 columns.
#[inline(always)]
pub(crate) fn quad<V: Lanes, F: PanelFormat>(v: V, lines: &[u8], part: usize, q: usize) -> V::Words {
    let codes = match F::BITS {
        1 => bits(v, line(v, lines, part, 0), q, 0, 1),
        2 => bits(v, line(v, lines, part, q % 2), q / 2 * 2, 0, 3),
        3 => v.or(
            bits(v, line(v, lines, part, q % 2), q / 2 * 2, 0, 3),
            bits(v, line(v, lines, part, 2), q, 2, 1),
        ),
        4 => bits(v, line(v, lines, part, q % 4), q / 4 * 4, 0, 15),
        5 => v.or(
            bits(v, line(v, lines, part, q % 4), q / 4 * 4, 0, 15),
            bits(v, line(v, lines, part, 4), q, 4, 1),
        ),
        6 => v.or(
            bits(v, line(v, lines, part, q % 4), q / 4 * 4, 0, 15),
            bits(v, line(v, lines, part, 4 + q % 2), q / 2 * 2, 4, 3),
        ),
        _ => line(v, lines, part, q),
    };
    match &F::TABLE {
        Some(table) => v.look_up(table, codes),
        None => codes,
    }
}

/// What some rows have of a line.
#[inline(always)]
fn line<V: Lanes>(v: V, lines: &[u8], part: usize, line: usize) -> V::Words {
    v.words(&lines[line * 64 + part * 4 * V::N..])
}

/// The bits of each byte from `shift` on, brought to `to`; what else comes along is masked.
#[inline(always)]
fn bits<V: Lanes>(v: V, words: V::Words, shift: usize, to: usize, mask: u8) -> V::Words {
    let moved = if shift < to {
        v.up(words, (to - shift) as u32)
    } else if shift > to {
        v.down(words, (shift - to) as u32)
    } else {
        words
    };
    v.mask(moved, mask << to)
}

/// Scales of 16 bits, one for each row.
#[inline(always)]
fn halves<V: Lanes>(v: V, bytes: &[u8], index: usize) -> PerRow {
    match bytes.as_chunks::<{ 2 * ROWS }>().0.get(index) {
        Some(halves) => v.widen(halves),
        None => [0.0; ROWS],
    }
}

/// Makes a unit type for each format of one plane.
macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident: $span:literal, $side:literal, { $($constants:tt)* }, $sides:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[allow(non_camel_case_types, reason = "the name of the format")]
        pub(crate) struct $name;

        impl PanelFormat for $name {
            $($constants)*

            #[inline(always)]
            fn span(self) -> usize {
                $span
            }

            #[inline(always)]
            fn side_bytes(self) -> usize {
                $side
            }

            #[inline(always)]
            fn sides<V: Lanes>(self, v: V, bytes: &[u8], sides: &mut Sides) {
                $sides(v, bytes, sides);
            }
        }
    )*};
}

formats! {
    Q4_0: 32, 2, { const BITS: usize = 4; const ZERO: i32 = 8; }, one_half;
    Q4_1: 32, 4, { const BITS: usize = 4; const MINIMUM: usize = 32; }, two_halves;
    Q5_0: 32, 2, { const BITS: usize = 5; const ZERO: i32 = 16; }, one_half;
    Q5_1: 32, 4, { const BITS: usize = 5; const MINIMUM: usize = 32; }, two_halves;
    Q8_0: 32, 2, { const BITS: usize = 8; const ZERO: i32 = 128; const WIDE: bool = true; }, one_half;
    Q2_K: 256, 20, {
        const BITS: usize = 2; const MANY: bool = true; const FOLD: Option<i32> = Some(0); const MINIMUM: usize = 16;
    }, q2_k;
    Q3_K: 256, 14, {
        const BITS: usize = 3; const ZERO: i32 = 4; const MANY: bool = true; const FOLD: Option<i32> = Some(127);
    }, q3_k;
    Q4_K: 256, 16, { const BITS: usize = 4; const MANY: bool = true; const MINIMUM: usize = 32; }, k_scales;
    Q5_K: 256, 16, { const BITS: usize = 5; const MANY: bool = true; const MINIMUM: usize = 32; }, k_scales;
    Q6_K: 256, 18, {
        const BITS: usize = 6; const ZERO: i32 = 32; const GROUP: usize = 16; const MANY: bool = true;
    }, q6_k;
    IQ4_NL: 32, 2, {
        const BITS: usize = 4; const ZERO: i32 = 128; const WIDE: bool = true;
        const TABLE: Option<[u8; 16]> = Some(CURVE);
    }, one_half;
    IQ4_XS: 256, 8, {
        const BITS: usize = 4; const ZERO: i32 = 128; const WIDE: bool = true; const MANY: bool = true;
        const TABLE: Option<[u8; 16]> = Some(CURVE);
    }, iq4_xs;
    TQ2_0: 256, 2, { const BITS: usize = 2; const ZERO: i32 = 1; }, one_half;
    Q1_0: 128, 2, {
        const BITS: usize = 1; const ZERO: i32 = 1; const TABLE: Option<[u8; 16]> = Some(SIGNS);
    }, one_half;
    Q2_0: 64, 2, { const BITS: usize = 2; const ZERO: i32 = 1; }, one_half;
    MXFP4: 32, 1, {
        const BITS: usize = 4; const ZERO: i32 = 12; const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, mxfp4;
    NVFP4: 64, 4, {
        const BITS: usize = 4; const ZERO: i32 = 12; const GROUP: usize = 16; const MANY: bool = true;
        const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, nvfp4;
    /// MLX's floats of 4 bits with powers of two.
    MlxMxfp4: 32, 1, {
        const BITS: usize = 4; const ZERO: i32 = 12; const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, mlx_mxfp4;
    /// MLX's floats of 4 bits with scales of 8 bits for 16, in pairs.
    MlxNvfp4: 32, 2, {
        const BITS: usize = 4; const ZERO: i32 = 12; const GROUP: usize = 16; const MANY: bool = true;
        const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, mlx_nvfp4;
}

/// The curve of IQ4, raised above zero.
const CURVE: [u8; 16] = raised(LEVELS, 128);
/// The floats of 4 bits, doubled and raised above zero.
const E2M1: [u8; 16] = raised(E2M1_DOUBLED, 12);
/// What a single bit stands for, raised above zero.
const SIGNS: [u8; 16] = [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const fn raised(levels: [i8; 16], by: i16) -> [u8; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = (levels[i] as i16 + by) as u8;
        i += 1;
    }
    table
}

/// Something to do with any format.
pub(crate) trait FormatJob {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<F: PanelFormat>(self, f: F) -> Self::Output;
}

/// Does a job with the format of a type; `scale_type` is that of the scales of a type of MLX. Nothing for a type that
/// `quant::panel` has no layout for.
#[inline(always)]
pub(crate) fn with_format<J: FormatJob>(
    dtype: DType,
    scale_type: Option<DType>,
    job: J,
) -> Option<J::Output> {
    Some(match dtype {
        DType::Q4_0 => job.run(Q4_0),
        DType::Q4_1 => job.run(Q4_1),
        DType::Q5_0 => job.run(Q5_0),
        DType::Q5_1 => job.run(Q5_1),
        DType::Q8_0 => job.run(Q8_0),
        DType::Q2_K => job.run(Q2_K),
        DType::Q3_K => job.run(Q3_K),
        DType::Q4_K => job.run(Q4_K),
        DType::Q5_K => job.run(Q5_K),
        DType::Q6_K => job.run(Q6_K),
        DType::IQ4_NL => job.run(IQ4_NL),
        DType::IQ4_XS => job.run(IQ4_XS),
        DType::TQ2_0 => job.run(TQ2_0),
        DType::Q1_0 => job.run(Q1_0),
        DType::Q2_0 => job.run(Q2_0),
        DType::MXFP4 => job.run(MXFP4),
        DType::NVFP4 => job.run(NVFP4),
        DType::MlxMxfp4 => job.run(MlxMxfp4),
        DType::MlxNvfp4 => job.run(MlxNvfp4),
        DType::Affine(affine) => {
            let (span, scale_type) = (affine.group(), scale_type?);
            match affine.bits() {
                2 => job.run(Affine::<2> { span, scale_type }),
                3 => job.run(Affine::<3> { span, scale_type }),
                4 => job.run(Affine::<4> { span, scale_type }),
                5 => job.run(Affine::<5> { span, scale_type }),
                6 => job.run(Affine::<6> { span, scale_type }),
                _ => job.run(Affine::<8> { span, scale_type }),
            }
        }
        _ => return None,
    })
}

/// MLX's integer codes: a scale and a minimum for a block of 32, 64 or 128.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<const BITS: usize> {
    pub(crate) span: usize,
    pub(crate) scale_type: DType,
}

impl<const BITS: usize> PanelFormat for Affine<BITS> {
    const BITS: usize = BITS;
    const WIDE: bool = BITS == 8;
    const MINIMUM: usize = 32;

    #[inline(always)]
    fn span(self) -> usize {
        self.span
    }

    #[inline(always)]
    fn side_bytes(self) -> usize {
        2 * self.scale_type.block_bytes()
    }

    #[inline(always)]
    fn sides<V: Lanes>(self, v: V, bytes: &[u8], sides: &mut Sides) {
        match self.scale_type {
            DType::F16 => two_halves(v, bytes, sides),
            DType::BF16 => {
                for at in (0..ROWS).step_by(V::N) {
                    v.store(v.bf16s(&bytes[2 * at..]), &mut sides.scales[0][at..]);
                    v.store(v.bf16s(&bytes[2 * (ROWS + at)..]), &mut sides.minimums[0][at..]);
                }
            }
            _ => {
                for at in (0..ROWS).step_by(V::N) {
                    v.store(v.f32s(&bytes[4 * at..]), &mut sides.scales[0][at..]);
                    v.store(v.f32s(&bytes[4 * (ROWS + at)..]), &mut sides.minimums[0][at..]);
                }
            }
        }
    }
}

#[inline(always)]
fn one_half<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    sides.scales[0] = halves(v, bytes, 0);
}

#[inline(always)]
fn two_halves<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    sides.scales[0] = halves(v, bytes, 0);
    sides.minimums[0] = halves(v, bytes, 1);
}

#[inline(always)]
fn negative(numbers: PerRow) -> PerRow {
    let mut negative = numbers;
    for number in &mut negative {
        *number = -*number;
    }
    negative
}

/// Some lines of a byte for each row, as they lie beside the codes of a block; `at` is where the words of a vector begin.
#[inline(always)]
fn line_words<V: Lanes>(v: V, bytes: &[u8], line: usize, at: usize) -> V::Words {
    v.words(&bytes[line * ROWS + at..])
}

/// Makes `number - zero` of each number of a byte, for all rows.
#[inline(always)]
fn factors<V: Lanes>(v: V, numbers: &[u8], zero: i32, to: &mut [[i32; ROWS]]) {
    for (numbers, to) in numbers.as_chunks::<ROWS>().0.iter().zip(to) {
        let to: &mut [u8] = bytemuck::cast_slice_mut(to);
        for row in (0..ROWS).step_by(V::N) {
            let number = v.add_integers(v.bytes(&numbers[row..]), v.integer(-zero));
            v.put_words(number, &mut to[4 * row..]);
        }
    }
}

/// Makes `d * (number - zero)` of each number of a byte, for all rows.
#[inline(always)]
fn scaled<V: Lanes>(v: V, d: &PerRow, numbers: &[u8], zero: i32, to: &mut [PerRow]) {
    for (numbers, to) in numbers.as_chunks::<ROWS>().0.iter().zip(to) {
        for row in (0..ROWS).step_by(V::N) {
            let number = v.bytes(&numbers[row..]);
            let number = if zero == 0 { number } else { v.add_integers(number, v.integer(-zero)) };
            v.store(v.mul(v.load(&d[row..]), v.floats(number)), &mut to[row..]);
        }
    }
}

#[inline(always)]
fn k_scales<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let (d, dmin) = (halves(v, bytes, 0), negative(halves(v, bytes, 1)));
    let bytes = &bytes[4 * ROWS..];
    let (mut scales, mut minimums) = ([0; 8 * ROWS], [0; 8 * ROWS]);
    for at in (0..4 * ROWS).step_by(4 * V::N) {
        let (a, b) = (line_words(v, bytes, 0, at), line_words(v, bytes, 4, at));
        let low = line_words(v, bytes, 8, at);
        v.put_words(v.mask(a, 63), &mut scales[at..]);
        v.put_words(v.mask(b, 63), &mut minimums[at..]);
        // Two bits of the first lines lie above four of the last ones.
        let at = 4 * ROWS + at;
        v.put_words(v.or(v.mask(low, 15), bits(v, a, 6, 4, 3)), &mut scales[at..]);
        v.put_words(v.or(bits(v, low, 4, 0, 15), bits(v, b, 6, 4, 3)), &mut minimums[at..]);
    }
    scaled(v, &d, &scales, 0, &mut sides.scales);
    scaled(v, &dmin, &minimums, 0, &mut sides.minimums);
}

#[inline(always)]
fn q2_k<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let (d, dmin) = (halves(v, bytes, 0), negative(halves(v, bytes, 1)));
    let bytes = &bytes[4 * ROWS..];
    let (mut scales, mut minimums) = ([0; 16 * ROWS], [0; 16 * ROWS]);
    for at in (0..16 * ROWS).step_by(4 * V::N) {
        let both = line_words(v, bytes, 0, at);
        v.put_words(v.mask(both, 15), &mut scales[at..]);
        v.put_words(bits(v, both, 4, 0, 15), &mut minimums[at..]);
    }
    sides.scales[0] = d;
    factors(v, &scales, 0, &mut sides.factors);
    scaled(v, &dmin, &minimums, 0, &mut sides.minimums);
}

#[inline(always)]
fn q3_k<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let d = halves(v, bytes, 0);
    let bytes = &bytes[2 * ROWS..];
    let mut scales = [0; 16 * ROWS];
    for at in (0..4 * ROWS).step_by(4 * V::N) {
        let (a, b) = (line_words(v, bytes, 0, at), line_words(v, bytes, 4, at));
        let high = line_words(v, bytes, 8, at);
        let all = [
            v.or(v.mask(a, 15), bits(v, high, 0, 4, 3)),
            v.or(v.mask(b, 15), bits(v, high, 2, 4, 3)),
            v.or(bits(v, a, 4, 0, 15), bits(v, high, 4, 4, 3)),
            v.or(bits(v, b, 4, 0, 15), bits(v, high, 6, 4, 3)),
        ];
        for j in 0..4 {
            v.put_words(all[j], &mut scales[4 * j * ROWS + at..]);
        }
    }
    sides.scales[0] = d;
    factors(v, &scales, 32, &mut sides.factors);
}

#[inline(always)]
fn q6_k<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let d = halves(v, bytes, 0);
    for (numbers, to) in bytes[2 * ROWS..].as_chunks::<ROWS>().0.iter().zip(&mut sides.scales) {
        for row in (0..ROWS).step_by(V::N) {
            let scale = v.mul(v.load(&d[row..]), v.floats(v.signed_bytes(&numbers[row..])));
            v.store(scale, &mut to[row..]);
        }
    }
}

#[inline(always)]
fn iq4_xs<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let d = halves(v, bytes, 0);
    let lines = bytes[2 * ROWS..].as_chunks::<ROWS>().0;
    // Lines 0 and 1 have two high bits of four numbers, lines 2 to 5 four low bits of two.
    let mut scales = [0; 8 * ROWS];
    for (j, scales) in scales.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        let (low, high) = (&lines[2 + j / 2], &lines[j / 4]);
        for row in 0..ROWS {
            scales[row] = low[row] >> (4 * (j % 2)) & 15 | (high[row] >> (2 * (j % 4)) & 3) << 4;
        }
    }
    scaled(v, &d, &scales, 32, &mut sides.scales);
}

#[inline(always)]
fn mxfp4<V: Lanes>(_: V, bytes: &[u8], sides: &mut Sides) {
    for codes in &bytes.as_chunks::<ROWS>().0[..1] {
        for r in 0..ROWS {
            sides.scales[0][r] = e8m0_half(codes[r]);
        }
    }
}

#[inline(always)]
fn mlx_mxfp4<V: Lanes>(_: V, bytes: &[u8], sides: &mut Sides) {
    for codes in &bytes.as_chunks::<ROWS>().0[..1] {
        for r in 0..ROWS {
            sides.scales[0][r] = if codes[r] == 255 { f32::INFINITY } else { e8m0_half(codes[r]) };
        }
    }
}

#[inline(always)]
fn nvfp4<V: Lanes>(_: V, bytes: &[u8], sides: &mut Sides) {
    for (scales, line) in sides.scales.iter_mut().zip(bytes.as_chunks::<ROWS>().0) {
        for r in 0..ROWS {
            scales[r] = if line[r] == 127 { 0.0 } else { 0.5 * e4m3(line[r] & 127) };
        }
    }
}

#[inline(always)]
fn mlx_nvfp4<V: Lanes>(_: V, bytes: &[u8], sides: &mut Sides) {
    for (scales, line) in sides.scales.iter_mut().zip(bytes.as_chunks::<ROWS>().0) {
        for r in 0..ROWS {
            let half = 0.5 * e4m3(line[r] & 127);
            scales[r] = if line[r] < 128 { half } else { -half };
        }
    }
}

/// The value of an E4M3 code without sign: its bits are those of a float whose exponent is 120 too small.
#[inline(always)]
fn e4m3(code: u8) -> f32 {
    f32::from_bits(u32::from(code) << 20) * f32::from_bits((120 + 127) << 23)
}
