#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Panels: the rows of a weight, 16 at a time, in the order in which integer kernels read them.
//!
//! ```text
//! panel    | sides of all blocks | codes of all blocks |
//! sides    for each block, for each number of a block's side: that of row 0, of row 1, … of row 15
//! codes    for each 32 columns: planes of 64-byte lines; byte 4 r + i of a line belongs to row r
//! ```
//! Four columns side by side are a *quad*; 32 columns have quads 0 to 7. A plane of 8 bits has a line for each quad, one
//! of 4 bits a line for quads `j` (low) and `j + 4` (high), one of 2 bits a line for quads `j`, `j + 2`, `j + 4` and
//! `j + 6`, one of a single bit a line for all. Codes of 3, 5 and 6 bits have a plane for their low bits and one for
//! their high bits. A panel is as large as the rows that it holds; rows that are missing are zero.
//!
//! Here is what each type keeps beside its codes, and how codes are taken out of a block, in loops without closures,
//! which would not be compiled for the level that packs. What sides mean is in `tiles::cpu::formats`. Types without a layout gain nothing: plain types are read in rows as they lie, and codes of
//! grids (IQ1, IQ2, IQ3, TQ1_0) and of 8-bit floats would grow by a quarter or more.

use crate::DType;

/// Rows of a panel.
pub(crate) const ROWS: usize = 16;
/// The most elements of a block.
pub(crate) const MOST: usize = 256;
/// Columns whose codes lie together.
pub(crate) const COLUMNS: usize = 32;

/// Numbers beside the codes of a block: `count` of `unit` bytes each, from `at` on in the block's part of a plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    plane: usize,
    at: usize,
    unit: usize,
    count: usize,
}

/// How the codes of a block lie in it; where several bytes come first, `at` is where they begin.
#[derive(Clone, Copy, Debug)]
enum Codes {
    /// Low and high halves of bytes: of each `span` codes the first half lies low.
    Halves { at: usize, span: usize },
    /// 32 fifth bits in a row, then low halves.
    Fifths { at: usize },
    /// Two bits, as blocks of 256 have them.
    Quarters { at: usize },
    /// In a row in a stream of bits.
    Stream { at: usize, bits: usize },
    /// Signed bytes, as codes around 128.
    Signed { at: usize },
    /// As drawn in the file of the type.
    Q3K,
    /// As drawn in the file of the type.
    Q5K,
    /// As drawn in the file of the type.
    Q6K,
}

/// How a type lies in panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelLayout {
    /// Elements of a block.
    pub(crate) span: usize,
    /// Bits of a code.
    pub(crate) bits: usize,
    /// Bytes of a block in each plane of the source.
    pub(crate) bytes: [usize; 3],
    sides: &'static [Side],
    codes: Codes,
}

const fn side(at: usize, unit: usize, count: usize) -> Side {
    Side { plane: 0, at, unit, count }
}

const fn beside(plane: usize, unit: usize, count: usize) -> Side {
    Side { plane, at: 0, unit, count }
}

impl PanelLayout {
    /// The layout of a type; `scale_type` is that of the scales of a type of MLX.
    pub(crate) fn of(dtype: DType, scale_type: Option<DType>) -> Option<Self> {
        let (bits, sides, codes): (usize, &'static [Side], Codes) = match dtype {
            DType::Q4_0 | DType::IQ4_NL => (4, const { &[side(0, 2, 1)] }, Codes::Halves { at: 2, span: 32 }),
            DType::Q4_1 => (4, const { &[side(0, 2, 2)] }, Codes::Halves { at: 4, span: 32 }),
            DType::Q5_0 => (5, const { &[side(0, 2, 1)] }, Codes::Fifths { at: 2 }),
            DType::Q5_1 => (5, const { &[side(0, 2, 2)] }, Codes::Fifths { at: 4 }),
            DType::Q8_0 => (8, const { &[side(0, 2, 1)] }, Codes::Signed { at: 2 }),
            DType::Q2_K => (2, const { &[side(80, 2, 2), side(0, 1, 16)] }, Codes::Quarters { at: 16 }),
            DType::Q3_K => (3, const { &[side(108, 2, 1), side(96, 1, 12)] }, Codes::Q3K),
            DType::Q4_K => {
                (4, const { &[side(0, 2, 2), side(4, 1, 12)] }, Codes::Halves { at: 16, span: 64 })
            }
            DType::Q5_K => (5, const { &[side(0, 2, 2), side(4, 1, 12)] }, Codes::Q5K),
            DType::Q6_K => (6, const { &[side(208, 2, 1), side(192, 1, 16)] }, Codes::Q6K),
            DType::IQ4_XS => (
                4,
                const { &[side(0, 2, 1), side(2, 1, 2), side(4, 1, 4)] },
                Codes::Halves { at: 8, span: 32 },
            ),
            DType::TQ2_0 => (2, const { &[side(64, 2, 1)] }, Codes::Quarters { at: 0 }),
            DType::Q1_0 => (1, const { &[side(0, 2, 1)] }, Codes::Stream { at: 2, bits: 1 }),
            DType::Q2_0 => (2, const { &[side(0, 2, 1)] }, Codes::Stream { at: 2, bits: 2 }),
            DType::MXFP4 => (4, const { &[side(0, 1, 1)] }, Codes::Halves { at: 1, span: 32 }),
            DType::NVFP4 => (4, const { &[side(0, 1, 4)] }, Codes::Halves { at: 4, span: 16 }),
            _ => return Self::of_mlx(dtype, scale_type?),
        };
        Some(Self { span: dtype.block_elements(), bits, bytes: [dtype.block_bytes(), 0, 0], sides, codes })
    }

    fn of_mlx(dtype: DType, scale_type: DType) -> Option<Self> {
        let unit = scale_type.block_bytes();
        let (bits, span, sides, codes): (usize, usize, &'static [Side], Codes) = match dtype {
            DType::MlxMxfp4 => (4, 32, const { &[beside(1, 1, 1)] }, Codes::Stream { at: 0, bits: 4 }),
            DType::MlxNvfp4 => (4, 32, const { &[beside(1, 1, 2)] }, Codes::Stream { at: 0, bits: 4 }),
            DType::Affine(affine) => {
                let sides: &'static [Side] = match unit {
                    2 => const { &[beside(1, 2, 1), beside(2, 2, 1)] },
                    4 => const { &[beside(1, 4, 1), beside(2, 4, 1)] },
                    _ => return None,
                };
                let codes = Codes::Stream { at: 0, bits: affine.bits() };
                (affine.bits(), affine.group(), sides, codes)
            }
            _ => return None,
        };
        let mut bytes = [span * bits / 8, 0, 0];
        sides.iter().for_each(|side| bytes[side.plane] = side.unit * side.count);
        Some(Self { span, bits, bytes, sides, codes })
    }

    /// Bytes beside the codes of a block of a row.
    pub(crate) fn side_bytes(&self) -> usize {
        self.sides.iter().map(|side| side.unit * side.count).sum()
    }

    /// Bytes of a panel.
    pub(crate) fn panel_bytes(&self, width: usize) -> usize {
        ROWS * (width / self.span) * self.bytes.iter().sum::<usize>()
    }

    /// Bytes of the sides of a panel, which come first.
    pub(crate) fn sides_of_panel(&self, width: usize) -> usize {
        ROWS * (width / self.span) * self.side_bytes()
    }

    /// Bytes of the codes of 32 columns of a panel.
    pub(crate) fn line_bytes(&self) -> usize {
        ROWS * COLUMNS * self.bits / 8
    }

    /// Fills a panel with rows, which are at most 16 and lie in a row in each plane.
    ///
    /// Lengths are the caller's business: `panel` is as long as [`panel_bytes`](Self::panel_bytes) says, each plane holds
    /// `rows` rows of `width` elements.
    #[inline(always)]
    pub(crate) fn pack(&self, planes: [&[u8]; 3], rows: usize, width: usize, panel: &mut [u8]) {
        let blocks = width / self.span;
        let (sides, lines) = panel.split_at_mut(self.sides_of_panel(width));
        if rows < ROWS {
            sides.fill(0);
            lines.fill(0);
        }
        let side_bytes = ROWS * self.side_bytes();
        let line_bytes = self.line_bytes() * self.span / COLUMNS;
        for block in 0..blocks {
            let sides = &mut sides[block * side_bytes..][..side_bytes];
            for r in 0..rows {
                let mut at = 0;
                for side in self.sides {
                    let bytes = self.bytes[side.plane];
                    let from = &planes[side.plane][(r * blocks + block) * bytes + side.at..];
                    match side.unit {
                        1 => spread::<1>(from, side.count, r, &mut sides[at..]),
                        2 => spread::<2>(from, side.count, r, &mut sides[at..]),
                        _ => spread::<4>(from, side.count, r, &mut sides[at..]),
                    }
                    at += ROWS * side.unit * side.count;
                }
            }
            let lines = &mut lines[block * line_bytes..][..line_bytes];
            let (from, step) = (block * self.bytes[0], blocks * self.bytes[0]);
            let rows = Rows { bytes: &planes[0][from..], step, count: rows };
            match self.codes {
                Codes::Halves { at, span: 32 } => halves_as_they_are(&rows, at, lines),
                Codes::Halves { at, span: 64 } => halves_of_pairs(&rows, at, lines),
                Codes::Stream { at, bits: 4 } => neighbours(&rows, at, lines),
                Codes::Signed { at } => bytes(&rows, at, 0x8080_8080, lines),
                Codes::Stream { at, bits: 8 } => bytes(&rows, at, 0, lines),
                codes => codes.interleave(&rows, self, lines),
            }
        }
    }
}

/// The blocks of some rows: each begins `step` bytes after the one before.
struct Rows<'a> {
    bytes: &'a [u8],
    step: usize,
    count: usize,
}

impl Rows<'_> {
    /// Four bytes of a row, so many bytes in.
    #[inline(always)]
    fn word(&self, row: usize, at: usize) -> u32 {
        let bytes = &self.bytes[row * self.step + at..][..4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Writes `count` numbers of `UNIT` bytes of a row to their places between those of other rows.
#[inline(always)]
fn spread<const UNIT: usize>(from: &[u8], count: usize, row: usize, sides: &mut [u8]) {
    let (from, sides) = (from.as_chunks::<UNIT>().0, sides.as_chunks_mut::<UNIT>().0);
    for i in 0..count {
        sides[i * ROWS + row] = from[i];
    }
}

/// Writes four bytes of a row of a line.
#[inline(always)]
fn put(lines: &mut [u8], line: usize, row: usize, word: u32) {
    lines[line * 64 + row * 4..][..4].copy_from_slice(&word.to_le_bytes());
}

/// Halves of 32 codes, which are lines already.
#[inline(always)]
fn halves_as_they_are(rows: &Rows<'_>, at: usize, lines: &mut [u8]) {
    for line in 0..lines.len() / 64 {
        for r in 0..rows.count {
            put(lines, line, r, rows.word(r, at + 4 * line));
        }
    }
}

/// Halves of 64 codes: the low ones are of the first 32 columns, the high ones of the others.
#[inline(always)]
fn halves_of_pairs(rows: &Rows<'_>, at: usize, lines: &mut [u8]) {
    const LOW: u32 = 0x0f0f_0f0f;
    for pair in 0..lines.len() / 512 {
        for j in 0..4 {
            for r in 0..rows.count {
                let at = at + 32 * pair + 4 * j;
                let (first, last) = (rows.word(r, at), rows.word(r, at + 16));
                put(lines, 8 * pair + j, r, first & LOW | (last & LOW) << 4);
                put(lines, 8 * pair + 4 + j, r, first >> 4 & LOW | last & !LOW);
            }
        }
    }
}

/// Codes of 4 bits in a stream, where neighbours share a byte.
#[inline(always)]
fn neighbours(rows: &Rows<'_>, at: usize, lines: &mut [u8]) {
    for group in 0..lines.len() / 256 {
        for j in 0..4 {
            for r in 0..rows.count {
                // Four codes are two bytes; the word is read from where it does not reach past the row.
                let at = at + 16 * group + 2 * j;
                let (first, last) = (rows.word(r, at) & 0xffff, rows.word(r, at + 6) >> 16);
                put(lines, 4 * group + j, r, apart(first) | apart(last) << 4);
            }
        }
    }
}

/// Codes of a byte, some bits of them turned over.
#[inline(always)]
fn bytes(rows: &Rows<'_>, at: usize, turned: u32, lines: &mut [u8]) {
    for line in 0..lines.len() / 64 {
        for r in 0..rows.count {
            put(lines, line, r, rows.word(r, at + 4 * line) ^ turned);
        }
    }
}

/// The four halves of two bytes as four bytes.
#[inline(always)]
fn apart(halves: u32) -> u32 {
    let pairs = (halves | halves << 8) & 0x00ff_00ff;
    (pairs | pairs << 4) & 0x0f0f_0f0f
}

impl Codes {
    /// Takes the codes out of the blocks of some rows and writes their planes.
    #[inline(always)]
    fn interleave(self, rows: &Rows<'_>, layout: &PanelLayout, lines: &mut [u8]) {
        let (bits, line_bytes) = (layout.bits, layout.line_bytes());
        let mut codes = [[0u8; MOST]; ROWS];
        for r in 0..rows.count {
            let block = &rows.bytes[r * rows.step..][..layout.bytes[0]];
            self.take(block, &mut codes[r][..layout.span]);
        }
        let low = if bits == 8 { 8 } else { 1 << bits.ilog2() };
        for group in 0..layout.span / COLUMNS {
            let mut quads = [[0u32; ROWS]; 8];
            for r in 0..ROWS {
                for q in 0..8 {
                    let code = &codes[r][group * COLUMNS + 4 * q..][..4];
                    quads[q][r] = u32::from_le_bytes([code[0], code[1], code[2], code[3]]);
                }
            }
            let lines = &mut lines[group * line_bytes..][..line_bytes];
            plane(&quads, 0, low, &mut lines[..low * 64]);
            if low < bits {
                plane(&quads, low, bits - low, &mut lines[low * 64..]);
            }
        }
    }

    /// Takes the codes out of a block.
    #[inline(always)]
    fn take(self, block: &[u8], codes: &mut [u8]) {
        match self {
            Self::Halves { at, .. } => halves::<8>(&block[at..], codes),
            Self::Fifths { at } => fifths(&block[at..], codes),
            Self::Quarters { at } => quarters(&block[at..], codes),
            Self::Stream { at, bits: 1 } => stream::<1>(&block[at..], codes),
            Self::Stream { at, bits: 2 } => stream::<2>(&block[at..], codes),
            Self::Stream { at, bits: 3 } => stream::<3>(&block[at..], codes),
            Self::Stream { at, bits: 5 } => stream::<5>(&block[at..], codes),
            Self::Stream { at, bits: 6 } => stream::<6>(&block[at..], codes),
            // Whole bytes are lines already and never come here.
            Self::Stream { .. } | Self::Signed { .. } => {}
            Self::Q3K => q3_k(block, codes),
            Self::Q5K => q5_k(block, codes),
            Self::Q6K => q6_k(block, codes),
        }
    }
}

/// Writes the plane of some bits of the codes: `bits` of them from `from` on.
#[inline(always)]
fn plane(quads: &[[u32; ROWS]; 8], from: usize, bits: usize, lines: &mut [u8]) {
    let mask = 0x0101_0101 * ((1u32 << bits) - 1);
    for j in 0..bits {
        let mut words = [0u32; ROWS];
        // A line of 1, 2, 4 or 8 bits has quads `j`, `j + bits`, and so on.
        for i in 0..8 / bits {
            let quad = &quads[j + i * bits];
            for r in 0..ROWS {
                words[r] |= ((quad[r] >> from) & mask) << (i * bits);
            }
        }
        for r in 0..ROWS {
            put(lines, j, r, words[r]);
        }
    }
}

/// Low and high halves of `N` bytes at a time.
#[inline(always)]
fn halves<const N: usize>(bytes: &[u8], codes: &mut [u8]) {
    for k in 0..codes.len() / (2 * N) {
        let (bytes, codes) = (&bytes[N * k..][..N], &mut codes[2 * N * k..][..2 * N]);
        for i in 0..N {
            codes[i] = bytes[i] & 15;
            codes[N + i] = bytes[i] >> 4;
        }
    }
}

/// Codes of 2 bits as the blocks of 256 have them.
#[inline(always)]
fn quarters(bytes: &[u8], codes: &mut [u8]) {
    for h in 0..2 {
        let (bytes, codes) = (&bytes[32 * h..][..32], &mut codes[128 * h..][..128]);
        for k in 0..4 {
            for l in 0..32 {
                codes[32 * k + l] = bytes[l] >> (2 * k) & 3;
            }
        }
    }
}

/// 32 fifth bits in a row, then low halves.
#[inline(always)]
fn fifths(bytes: &[u8], codes: &mut [u8]) {
    halves::<16>(&bytes[4..], codes);
    for i in 0..32 {
        codes[i] |= (bytes[i / 8] >> (i % 8) & 1) << 4;
    }
}

/// Codes in a row in a stream of bits.
#[inline(always)]
fn stream<const BITS: usize>(bytes: &[u8], codes: &mut [u8]) {
    // Eight codes are a whole number of bytes.
    for k in 0..codes.len() / 8 {
        let mut word = 0;
        for i in 0..BITS {
            word |= u64::from(bytes[BITS * k + i]) << (8 * i);
        }
        for i in 0..8 {
            codes[8 * k + i] = (word >> (BITS * i)) as u8 & ((1 << BITS) - 1);
        }
    }
}

#[inline(always)]
fn q3_k(block: &[u8], codes: &mut [u8]) {
    quarters(&block[32..96], codes);
    for p in 0..8 {
        for l in 0..32 {
            codes[32 * p + l] |= (block[l] >> p & 1) << 2;
        }
    }
}

#[inline(always)]
fn q5_k(block: &[u8], codes: &mut [u8]) {
    halves::<32>(&block[48..], codes);
    for p in 0..8 {
        for l in 0..32 {
            codes[32 * p + l] |= (block[16 + l] >> p & 1) << 4;
        }
    }
}

#[inline(always)]
fn q6_k(block: &[u8], codes: &mut [u8]) {
    for h in 0..2 {
        for k in 0..4 {
            let low = &block[64 * h + 32 * (k % 2)..][..32];
            let high = &block[128 + 32 * h..][..32];
            let codes = &mut codes[128 * h + 32 * k..][..32];
            for l in 0..32 {
                codes[l] = low[l] >> (4 * (k / 2)) & 15 | (high[l] >> (2 * k) & 3) << 4;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_as_large_as_the_rows_that_it_holds() {
        let mut count = 0;
        for dtype in DType::all() {
            for scale_type in [DType::U8, DType::BF16, DType::F32] {
                let Some(layout) = PanelLayout::of(dtype, Some(scale_type)) else { continue };
                let codes = ROWS * layout.span * layout.bits / 8;
                assert_eq!(layout.panel_bytes(layout.span), codes + ROWS * layout.side_bytes(), "{dtype}");
                assert!(layout.span.is_multiple_of(COLUMNS) && layout.span <= MOST, "{dtype}");
                count += 1;
            }
        }
        assert!(count > 70, "{count}");
    }
}
