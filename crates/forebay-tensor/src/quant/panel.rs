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
//! Here is what each type keeps beside its codes, and how codes are taken out of a block. What sides mean is in
//! `tiles::cpu::formats`. Types without a layout gain nothing: plain types are read in rows as they lie, and codes of
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
            DType::IQ4_XS => {
                (4, const { &[side(0, 2, 2), side(4, 1, 4)] }, Codes::Halves { at: 8, span: 32 })
            }
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
        let row = self.bytes.map(|bytes| bytes * blocks);
        let (sides, lines) = panel.split_at_mut(self.sides_of_panel(width));
        if rows < ROWS {
            sides.fill(0);
        }
        let mut codes = [[0u8; MOST]; ROWS];
        let side_bytes = ROWS * self.side_bytes();
        let line_bytes = self.line_bytes() * self.span / COLUMNS;
        for (block, (sides, lines)) in
            sides.chunks_exact_mut(side_bytes).zip(lines.chunks_exact_mut(line_bytes)).enumerate()
        {
            for (r, codes) in codes.iter_mut().enumerate().take(rows) {
                let part = |plane: usize| {
                    &planes[plane][r * row[plane] + block * self.bytes[plane]..][..self.bytes[plane]]
                };
                self.codes.take(part(0), &mut codes[..self.span]);
                let mut at = 0;
                for side in self.sides {
                    let from = &part(side.plane)[side.at..];
                    for (i, number) in from[..side.unit * side.count].chunks_exact(side.unit).enumerate() {
                        let to = at + (i * ROWS + r) * side.unit;
                        sides[to..to + side.unit].copy_from_slice(number);
                    }
                    at += ROWS * side.unit * side.count;
                }
            }
            for (i, lines) in lines.chunks_exact_mut(self.line_bytes()).enumerate() {
                interleave(&codes, i * COLUMNS, self.bits, lines);
            }
        }
    }
}

impl Codes {
    /// Takes the codes out of a block.
    #[inline(always)]
    fn take(self, block: &[u8], codes: &mut [u8]) {
        match self {
            Self::Halves { at, span: 16 } => halves::<8>(&block[at..], codes),
            Self::Halves { at, span: 32 } => halves::<16>(&block[at..], codes),
            Self::Halves { at, .. } => halves::<32>(&block[at..], codes),
            Self::Fifths { at } => fifths(&block[at..], codes),
            Self::Quarters { at } => quarters(&block[at..], codes),
            Self::Stream { at, bits: 1 } => stream::<1>(&block[at..], codes),
            Self::Stream { at, bits: 2 } => stream::<2>(&block[at..], codes),
            Self::Stream { at, bits: 3 } => stream::<3>(&block[at..], codes),
            Self::Stream { at, bits: 4 } => pairs(&block[at..], codes),
            Self::Stream { at, bits: 5 } => stream::<5>(&block[at..], codes),
            Self::Stream { at, bits: 6 } => stream::<6>(&block[at..], codes),
            Self::Stream { at, .. } => codes.copy_from_slice(&block[at..at + codes.len()]),
            Self::Signed { at } => signed(&block[at..], codes),
            Self::Q3K => q3_k(block, codes),
            Self::Q5K => q5_k(block, codes),
            Self::Q6K => q6_k(block, codes),
        }
    }
}

/// Writes the planes of 32 columns.
#[inline(always)]
fn interleave(codes: &[[u8; MOST]; ROWS], column: usize, bits: usize, lines: &mut [u8]) {
    let mut quads = [[0u32; ROWS]; 8];
    for (r, codes) in codes.iter().enumerate() {
        for (q, quad) in codes[column..column + COLUMNS].as_chunks::<4>().0.iter().enumerate() {
            quads[q][r] = u32::from_le_bytes(*quad);
        }
    }
    let low = if bits == 8 { 8 } else { 1 << bits.ilog2() };
    let (first, second) = lines.split_at_mut(low * 64);
    plane(&quads, 0, low, first);
    if low < bits {
        plane(&quads, low, bits - low, second);
    }
}

/// Writes the plane of some bits of the codes: `bits` of them from `from` on.
#[inline(always)]
fn plane(quads: &[[u32; ROWS]; 8], from: usize, bits: usize, lines: &mut [u8]) {
    let mask = 0x0101_0101 * ((1u32 << bits) - 1);
    for (j, line) in lines.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let mut words = [0u32; ROWS];
        // A line of 1, 2, 4 or 8 bits has quads `j`, `j + bits`, and so on.
        for (i, quad) in quads.iter().skip(j).step_by(bits).enumerate() {
            for r in 0..ROWS {
                words[r] |= ((quad[r] >> from) & mask) << (i * bits);
            }
        }
        line.copy_from_slice(bytemuck::bytes_of(&words.map(u32::to_le)));
    }
}

/// Low and high halves of `N` bytes at a time.
#[inline(always)]
fn halves<const N: usize>(bytes: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in bytes.as_chunks::<N>().0.iter().zip(codes.chunks_exact_mut(2 * N)) {
        let (low, high) = codes.split_at_mut(N);
        low.copy_from_slice(&bytes.map(|byte| byte & 15));
        high.copy_from_slice(&bytes.map(|byte| byte >> 4));
    }
}

/// Low and high halves of each byte side by side.
#[inline(always)]
fn pairs(bytes: &[u8], codes: &mut [u8]) {
    for (byte, codes) in bytes.iter().zip(codes.as_chunks_mut::<2>().0) {
        *codes = [byte & 15, byte >> 4];
    }
}

/// Codes of 2 bits as the blocks of 256 have them.
#[inline(always)]
fn quarters(bytes: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in bytes.as_chunks::<32>().0.iter().zip(codes.as_chunks_mut::<128>().0) {
        for (k, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            *codes = bytes.map(|byte| byte >> (2 * k) & 3);
        }
    }
}

/// 32 fifth bits in a row, then low halves.
#[inline(always)]
fn fifths(bytes: &[u8], codes: &mut [u8]) {
    halves::<16>(&bytes[4..], codes);
    for (i, code) in codes.iter_mut().enumerate() {
        *code |= (bytes[i / 8] >> (i % 8) & 1) << 4;
    }
}

/// Signed bytes, as codes around 128.
#[inline(always)]
fn signed(bytes: &[u8], codes: &mut [u8]) {
    for (byte, code) in bytes.iter().zip(codes) {
        *code = byte ^ 0x80;
    }
}

/// Codes in a row in a stream of bits.
#[inline(always)]
fn stream<const BITS: usize>(bytes: &[u8], codes: &mut [u8]) {
    // Eight codes are a whole number of bytes.
    for (bytes, codes) in bytes.chunks_exact(BITS).zip(codes.as_chunks_mut::<8>().0) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        for (i, code) in codes.iter_mut().enumerate() {
            *code = (word >> (BITS * i)) as u8 & ((1 << BITS) - 1);
        }
    }
}

#[inline(always)]
fn q3_k(block: &[u8], codes: &mut [u8]) {
    quarters(&block[32..96], codes);
    for (p, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, high) in codes.iter_mut().zip(&block[..32]) {
            *code |= (high >> p & 1) << 2;
        }
    }
}

#[inline(always)]
fn q5_k(block: &[u8], codes: &mut [u8]) {
    halves::<32>(&block[48..], codes);
    for (p, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, fifth) in codes.iter_mut().zip(&block[16..48]) {
            *code |= (fifth >> p & 1) << 4;
        }
    }
}

#[inline(always)]
fn q6_k(block: &[u8], codes: &mut [u8]) {
    for (h, codes) in codes.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        for (k, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = &block[64 * h + 32 * (k % 2)..][..32];
            let high = &block[128 + 32 * h..][..32];
            for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
                *code = low >> (4 * (k / 2)) & 15 | (high >> (2 * k) & 3) << 4;
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
