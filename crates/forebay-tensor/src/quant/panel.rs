//! Panels: the rows of a weight, 16 at a time, in the order in which integer kernels read them.
//!
//! ```text
//! panel    | piece | piece | …
//! piece    | sides of its blocks | codes of its blocks |
//! sides    for each block, for each number of a block's side: that of row 0, of row 1, … of row 15
//! codes    for each 32 columns: planes of 64-byte lines; byte 4 r + i of a line belongs to row r
//! ```
//! Four columns side by side are a *quad*; 32 columns have quads 0 to 7. A plane of 8 bits has a line for each quad, one
//! of 4 bits a line for quads `j` (low) and `j + 4` (high), one of 2 bits a line for quads `j`, `j + 2`, `j + 4` and
//! `j + 6`, one of a single bit a line for all. Codes of 3, 5 and 6 bits have a plane for their low bits and one for
//! their high bits. A panel is as large as the rows that it holds; rows that are missing have sides of zero. On the CPU a
//! piece has 256 columns, or what is left of them, so that a panel is read in one stream; for cards it has all columns.
//!
//! Here is what each type keeps beside its codes, and where its codes lie in a block. Next rooms: `tiles::cpu::pack`, which
//! fills panels, and `tiles::cpu::formats`, which says what sides mean. Types without a layout gain nothing: plain types
//! are read in rows as they lie, and codes of grids (IQ1, IQ2, IQ3, TQ1_0) and of 8-bit floats would grow by a quarter or
//! more.

use crate::DType;

/// Rows of a panel.
pub(crate) const ROWS: usize = 16;
/// The most elements of a block.
pub(crate) const MOST: usize = 256;
/// Columns whose codes lie together.
pub(crate) const COLUMNS: usize = 32;
/// Columns of a piece on the CPU: whole blocks of every type.
pub(crate) const PIECE: usize = MOST;

/// Numbers beside the codes of a block: `count` of `unit` bytes each, from `at` on in the block's part of a plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) plane: usize,
    pub(crate) at: usize,
    pub(crate) unit: usize,
    pub(crate) count: usize,
}

/// How the codes of a block lie in it; where several bytes come first, `at` is where they begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Codes {
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
    /// What lies beside the codes.
    pub(crate) sides: &'static [Side],
    /// Where the codes are.
    pub(crate) codes: Codes,
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

    /// Bytes of the codes of 32 columns of a panel.
    pub(crate) fn line_bytes(&self) -> usize {
        ROWS * COLUMNS * self.bits / 8
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
