//! What the sides of panels mean, and how their codes become vectors of bytes: one type a weight format.
//!
//! An element is `scale * (value - zero) + minimum`, in this order of operations; `value` is the code or what the table
//! has for it. Where codes and sides lie is in `quant::panel`. Next room: `products`, which multiplies.

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
    pub(crate) minimums: [PerRow; MOST / 16],
}

impl Sides {
    /// Nothing yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { scales: [[0.0; ROWS]; 16], minimums: [[0.0; ROWS]; 16] }
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
    /// Whether every group of a block has a scale of its own.
    const MANY: bool = false;
    /// Whether there are minimums.
    const MINIMUM: bool = false;

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
    let line = |plane: usize, line: usize| v.words(&lines[(plane + line) * 64 + part * 4 * V::N..]);
    // The bits `shift..` of a line, brought to `to`; what else comes along is masked.
    let bits = |words: V::Words, shift: usize, to: usize, mask: u8| {
        let moved = match shift.cmp(&to) {
            std::cmp::Ordering::Less => v.up(words, (to - shift) as u32),
            std::cmp::Ordering::Equal => words,
            std::cmp::Ordering::Greater => v.down(words, (shift - to) as u32),
        };
        v.mask(moved, mask << to)
    };
    let codes = match F::BITS {
        1 => bits(line(0, 0), q, 0, 1),
        2 => bits(line(0, q % 2), q / 2 * 2, 0, 3),
        3 => v.or(bits(line(0, q % 2), q / 2 * 2, 0, 3), bits(line(2, 0), q, 2, 1)),
        4 => bits(line(0, q % 4), q / 4 * 4, 0, 15),
        5 => v.or(bits(line(0, q % 4), q / 4 * 4, 0, 15), bits(line(4, 0), q, 4, 1)),
        6 => v.or(bits(line(0, q % 4), q / 4 * 4, 0, 15), bits(line(4, q % 2), q / 2 * 2, 4, 3)),
        _ => line(0, q),
    };
    match &F::TABLE {
        Some(table) => v.look_up(table, codes),
        None => codes,
    }
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
    ($($(#[$doc:meta])* $name:ident: $span:literal, $side:literal, { $($constants:tt)* }, $sides:expr;)*) => {$(
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
                let read: fn(V, &[u8], &mut Sides) = $sides;
                read(v, bytes, sides);
            }
        }
    )*};
}

formats! {
    Q4_0: 32, 2, { const BITS: usize = 4; const ZERO: i32 = 8; }, one_half;
    Q4_1: 32, 4, { const BITS: usize = 4; const MINIMUM: bool = true; }, two_halves;
    Q5_0: 32, 2, { const BITS: usize = 5; const ZERO: i32 = 16; }, one_half;
    Q5_1: 32, 4, { const BITS: usize = 5; const MINIMUM: bool = true; }, two_halves;
    Q8_0: 32, 2, { const BITS: usize = 8; const ZERO: i32 = 128; const WIDE: bool = true; }, one_half;
    Q2_K: 256, 20, {
        const BITS: usize = 2; const GROUP: usize = 16; const MANY: bool = true; const MINIMUM: bool = true;
    }, q2_k;
    Q3_K: 256, 14, {
        const BITS: usize = 3; const ZERO: i32 = 4; const GROUP: usize = 16; const MANY: bool = true;
    }, q3_k;
    Q4_K: 256, 16, { const BITS: usize = 4; const MANY: bool = true; const MINIMUM: bool = true; }, k_scales;
    Q5_K: 256, 16, { const BITS: usize = 5; const MANY: bool = true; const MINIMUM: bool = true; }, k_scales;
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
    }, |_, bytes, sides| exponents(bytes, sides, e8m0_half);
    NVFP4: 64, 4, {
        const BITS: usize = 4; const ZERO: i32 = 12; const GROUP: usize = 16; const MANY: bool = true;
        const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, |_, bytes, sides| small_floats(bytes, sides, |code| if code == 127 { 0.0 } else { 0.5 * e4m3(code & 127) });
    /// MLX's floats of 4 bits with powers of two.
    MlxMxfp4: 32, 1, {
        const BITS: usize = 4; const ZERO: i32 = 12; const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, |_, bytes, sides| exponents(bytes, sides, |code| if code == 255 { f32::INFINITY } else { e8m0_half(code) });
    /// MLX's floats of 4 bits with scales of 8 bits for 16, in pairs.
    MlxNvfp4: 32, 2, {
        const BITS: usize = 4; const ZERO: i32 = 12; const GROUP: usize = 16; const MANY: bool = true;
        const TABLE: Option<[u8; 16]> = Some(E2M1);
    }, |_, bytes, sides| small_floats(bytes, sides, |code| {
        0.5 * if code & 128 == 0 { e4m3(code & 127) } else { -e4m3(code & 127) }
    });
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
    const MINIMUM: bool = true;

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
        for (i, numbers) in [&mut sides.scales[0], &mut sides.minimums[0]].into_iter().enumerate() {
            *numbers = match self.scale_type {
                DType::F16 => halves(v, bytes, i),
                DType::BF16 => {
                    let halves = &bytes.as_chunks::<2>().0[i * ROWS..][..ROWS];
                    std::array::from_fn(|r| f32::from_bits(u32::from(u16::from_le_bytes(halves[r])) << 16))
                }
                _ => {
                    let words = &bytes.as_chunks::<4>().0[i * ROWS..][..ROWS];
                    std::array::from_fn(|r| f32::from_le_bytes(words[r]))
                }
            };
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

/// Lines of a byte for each row.
#[inline(always)]
fn lines<const N: usize>(bytes: &[u8], from: usize) -> [[u8; ROWS]; N] {
    let lines = &bytes[from..].as_chunks::<ROWS>().0[..N];
    std::array::from_fn(|i| lines[i])
}

/// `d * number`, where the number has no sign.
#[inline(always)]
fn scaled(d: &PerRow, number: impl Fn(usize) -> u8) -> PerRow {
    std::array::from_fn(|r| d[r] * f32::from(number(r)))
}

/// `d * number`, where the number has a sign.
#[inline(always)]
fn scaled_signed(d: &PerRow, number: impl Fn(usize) -> i8) -> PerRow {
    std::array::from_fn(|r| d[r] * f32::from(number(r)))
}

#[inline(always)]
fn k_scales<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let (d, negative) = (halves(v, bytes, 0), halves(v, bytes, 1).map(|dmin| -dmin));
    let packed: [[u8; ROWS]; 12] = lines(bytes, 4 * ROWS);
    for j in 0..4 {
        let (scales, minimums, both) = (&packed[j], &packed[4 + j], &packed[8 + j]);
        sides.scales[j] = scaled(&d, |r| scales[r] & 63);
        sides.minimums[j] = scaled(&negative, |r| minimums[r] & 63);
        sides.scales[4 + j] = scaled(&d, |r| both[r] & 15 | scales[r] >> 6 << 4);
        sides.minimums[4 + j] = scaled(&negative, |r| both[r] >> 4 | minimums[r] >> 6 << 4);
    }
}

#[inline(always)]
fn q2_k<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let (d, negative) = (halves(v, bytes, 0), halves(v, bytes, 1).map(|dmin| -dmin));
    let packed: [[u8; ROWS]; 16] = lines(bytes, 4 * ROWS);
    for (j, packed) in packed.iter().enumerate() {
        sides.scales[j] = scaled(&d, |r| packed[r] & 15);
        sides.minimums[j] = scaled(&negative, |r| packed[r] >> 4);
    }
}

#[inline(always)]
fn q3_k<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let d = halves(v, bytes, 0);
    let packed: [[u8; ROWS]; 12] = lines(bytes, 2 * ROWS);
    for (j, scales) in sides.scales.iter_mut().enumerate() {
        let (low, high) = (&packed[j % 8], &packed[8 + j % 4]);
        *scales = scaled_signed(&d, |r| {
            let scale = low[r] >> (4 * (j / 8)) & 15 | (high[r] >> (2 * (j / 4)) & 3) << 4;
            scale.cast_signed() - 32
        });
    }
}

#[inline(always)]
fn q6_k<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let d = halves(v, bytes, 0);
    let packed: [[u8; ROWS]; 16] = lines(bytes, 2 * ROWS);
    for (scales, packed) in sides.scales.iter_mut().zip(&packed) {
        *scales = scaled_signed(&d, |r| packed[r].cast_signed());
    }
}

#[inline(always)]
fn iq4_xs<V: Lanes>(v: V, bytes: &[u8], sides: &mut Sides) {
    let d = halves(v, bytes, 0);
    // The high bits are 16 a row: a byte for parts 0 to 3 and one for 4 to 7.
    let high = &bytes[2 * ROWS..].as_chunks::<2>().0[..ROWS];
    let low: [[u8; ROWS]; 4] = lines(bytes, 4 * ROWS);
    for (j, scales) in sides.scales.iter_mut().enumerate().take(8) {
        *scales = scaled_signed(&d, |r| {
            let high = high[r][j / 4] >> (2 * (j % 4)) & 3;
            (low[j / 2][r] >> (4 * (j % 2)) & 15 | high << 4).cast_signed() - 32
        });
    }
}

#[inline(always)]
fn exponents(bytes: &[u8], sides: &mut Sides, value: impl Fn(u8) -> f32) {
    sides.scales[0] = lines::<1>(bytes, 0)[0].map(value);
}

#[inline(always)]
fn small_floats(bytes: &[u8], sides: &mut Sides, value: impl Fn(u8) -> f32) {
    for (scales, line) in sides.scales.iter_mut().zip(bytes.as_chunks::<ROWS>().0) {
        *scales = line.map(&value);
    }
}

/// The value of an E4M3 code without sign: its bits are those of a float whose exponent is 120 too small.
#[inline(always)]
fn e4m3(code: u8) -> f32 {
    f32::from_bits(u32::from(code) << 20) * f32::from_bits((120 + 127) << 23)
}
