//! What kernels on cards are told of weights in panels, and how much their blocks do.
//!
//! The panels are those of the CPU, whose words are just what a lane wants. Next rooms: `panels.cuh`, which reads them,
//! `products.cuh`, which takes products with a few rounded rows, and the ops that multiply.

use crate::{DType, quant::panel::PanelLayout};

/// Threads of a block that multiplies a panel by a few rows; the rows of `x` that it takes where there are several.
pub(crate) const PANEL_THREADS: usize = 256;
pub(crate) const FEW: usize = 4;
/// Bytes that a block may share on every card, without those that the kernels name themselves.
const MOST_SHARED: u32 = (99 << 10) - (8 * FEW as u32 + FEW as u32) * 16 * 4;
/// The most rows of `x` that are multiplied a few at a time; more of them go to tensor cores.
pub(crate) const MOST_FEW: usize = 8;
/// Rows of the weight of a block of tensor cores, its threads, and bytes that it keeps for each row of `x`.
pub(crate) const MANY_ROWS: usize = 128;
pub(crate) const MANY_THREADS: usize = 128;
pub(crate) const MANY_BYTES: usize = 2 * 2 * 80;

/// How kernels know the format of a panel, in a byte: a number of six bits, and above it how often a block of an affine
/// format has 32 columns, as a power of two.
pub(crate) fn form(dtype: DType) -> u32 {
    const NAMED: [DType; 19] = [
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q2_K,
        DType::Q3_K,
        DType::Q4_K,
        DType::Q5_K,
        DType::Q6_K,
        DType::IQ4_NL,
        DType::IQ4_XS,
        DType::TQ2_0,
        DType::Q1_0,
        DType::Q2_0,
        DType::MXFP4,
        DType::NVFP4,
        DType::MlxMxfp4,
        DType::MlxNvfp4,
    ];
    const AFFINE: u32 = 32;
    match dtype {
        DType::Affine(affine) => (AFFINE + affine.bits() as u32) | ((affine.group() / 32).ilog2() << 6),
        _ => NAMED.iter().take_while(|named| **named != dtype).count() as u32,
    }
}

/// Bytes that a block shares to multiply a panel by so many rows at a time: two stages of 256 columns, of panel and rows, for
/// each of its 8 warps.
pub(crate) fn panel_shared_bytes(layout: &PanelLayout, rows: usize) -> u32 {
    let panel = 16 * layout.side_bytes() * (256 / layout.span) + 512 * layout.bits;
    (8 * 2 * (panel + 512 * rows)) as u32
}

/// The rows that are multiplied at a time where there are a few: one after another where several would take more shared memory
/// than a block has on every card.
pub(crate) fn few_at_a_time(layout: &PanelLayout) -> usize {
    if panel_shared_bytes(layout, FEW) <= MOST_SHARED { FEW } else { 1 }
}

/// Gives the names of kernels that come for each format of panels: the formats that have one of their own, and one for all
/// others.
macro_rules! for_format {
    ($dtype:expr, $start:literal) => {
        match $dtype {
            $crate::DType::Q4_0 => concat!($start, "q4_0"),
            $crate::DType::Q8_0 => concat!($start, "q8_0"),
            $crate::DType::Q4_K => concat!($start, "q4_k"),
            $crate::DType::Q5_K => concat!($start, "q5_k"),
            $crate::DType::Q6_K => concat!($start, "q6_k"),
            $crate::DType::MXFP4 => concat!($start, "mxfp4"),
            $crate::DType::Affine(affine) if affine.bits() == 4 => concat!($start, "affine_4"),
            _ => concat!($start, "any"),
        }
    };
}
pub(crate) use for_format;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles::in_panels;

    #[test]
    fn no_block_shares_more_than_every_card_has() {
        let scales = [None, Some(DType::U8), Some(DType::BF16), Some(DType::F32)];
        let mut alone = 0;
        for (dtype, scale_type) in DType::all().flat_map(|dtype| scales.map(|scales| (dtype, scales))) {
            let Some(layout) = PanelLayout::of(dtype, scale_type) else { continue };
            let rows = few_at_a_time(&layout);
            assert!(panel_shared_bytes(&layout, rows) <= MOST_SHARED, "{dtype}");
            alone += usize::from(rows == 1);
        }
        assert!(alone > 0, "eight bits and four rows are more than some cards have");
    }

    #[test]
    fn device_code_knows_every_format_of_panels_by_the_same_number() {
        let source = include_str!("panels.cuh");
        let start = source.find("enum PanelCode {").unwrap();
        let body = source[start..].split_once('{').unwrap().1.split_once('}').unwrap().0;
        let names: Vec<&str> = body.split(',').map(str::trim).collect();
        assert_eq!(names.last(), Some(&"AFFINE = 32"));
        for (dtype, ..) in in_panels() {
            let form = form(dtype);
            assert!(form < 256);
            match dtype {
                DType::Affine(affine) => {
                    assert_eq!((form & 63, 32 << (form >> 6)), (32 + affine.bits() as u32, affine.group()));
                }
                _ => assert_eq!(names[form as usize].to_lowercase(), dtype.name().to_lowercase()),
            }
        }
    }
}
