//! What formats of one plane of bytes share: going block by block, weights of errors, and packing codes into
//! bytes.
//!
//! Lengths are checked before anything here is called; a partial block at the end is left alone. No format's
//! own layout is known here; those are in the files of the formats.

/// Calls `decode` for each block and the elements that it holds.
pub(super) fn for_each_block<const BYTES: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; N]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        decode(block, out);
    }
}

/// Calls `encode` for the elements of each block, with the weights of their errors.
pub(super) fn encode_blocks<const N: usize, const BYTES: usize>(
    src: &[f32],
    weights: Weights<'_>,
    out: &mut [u8],
    mut encode: impl FnMut(&[f32; N], &[f32; N], &mut [u8; BYTES]),
) {
    for (i, (x, block)) in src.as_chunks().0.iter().zip(out.as_chunks_mut().0).enumerate() {
        encode(x, &weights.of_block(i), block);
    }
}

/// How much the squared error of each column counts.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    columns: Option<&'a [f32]>,
}

impl<'a> Weights<'a> {
    /// One weight a column, all of them finite and none below zero.
    pub(super) fn new(columns: Option<&'a [f32]>) -> Self {
        Self { columns }
    }

    /// Those of a block's columns, the greatest of them 1. Where there are none, or all are zero, every
    /// element counts the same.
    fn of_block<const N: usize>(&self, block: usize) -> [f32; N] {
        let Some(columns) = self.columns else { return [1.0; N] };
        let blocks = columns.as_chunks::<N>().0;
        let weights = blocks[block % blocks.len()];
        let greatest = weights.iter().fold(0.0f32, |greatest, weight| greatest.max(*weight));
        if greatest == 0.0 { [1.0; N] } else { weights.map(|weight| weight / greatest) }
    }
}

/// The little-endian f16 at `at`.
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Writes `value` at `at` as a little-endian f16.
pub(super) fn put_f16(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

/// The little-endian u16 at `at`.
pub(super) fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The little-endian u32 at `at`.
pub(super) fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Puts the low four bits of the first half of the codes into the low halves of bytes, and those of the
/// second half into the high halves.
pub(super) fn pack_halves(codes: &[u8], out: &mut [u8]) {
    let (low, high) = codes.split_at(codes.len() / 2);
    for ((low, high), byte) in low.iter().zip(high).zip(out) {
        *byte = low & 15 | high << 4;
    }
}

/// Puts pairs of neighbours of 4 bits into bytes, the first low.
pub(super) fn pack_pairs(codes: &[u8], out: &mut [u8]) {
    for (pair, byte) in codes.as_chunks::<2>().0.iter().zip(out) {
        *byte = pair[0] | pair[1] << 4;
    }
}

/// The fifth bits of 32 codes.
pub(super) fn pack_fifths(codes: &[u8; 32]) -> u32 {
    codes.iter().enumerate().fold(0, |bits, (i, code)| bits | u32::from(code >> 4 & 1) << i)
}

/// Puts codes of 2 bits into bytes: element `128 h + 32 k + l` in bits `2 k` of byte `32 h + l`.
pub(super) fn pack_quarters(codes: &[u8; 256], out: &mut [u8]) {
    for (i, byte) in out.iter_mut().enumerate() {
        let first = 128 * (i / 32) + i % 32;
        *byte = codes[first] | codes[first + 32] << 2 | codes[first + 64] << 4 | codes[first + 96] << 6;
    }
}
