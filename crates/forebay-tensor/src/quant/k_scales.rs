//! The 12 bytes in which Q4_K and Q5_K keep eight scales and eight minimums of 6 bits.
//!
//! ```text
//! byte 0                  4                    8                      12
//!      | scales of 0 to 3 | minimums of 0 to 3 | low halves of 4 to 7 |
//! ```
//! Bytes 0 to 7 hold 6 bits each, low. Byte `8 + j` holds the low four bits of scale `4 + j`, then of minimum
//! `4 + j`; their high two bits are the high two of bytes `j` and `4 + j`.

/// Scale and minimum of part `j` out of the 12 bytes.
pub(super) fn get(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        return (packed[j] & 63, packed[4 + j] & 63);
    }
    let (scale_high, minimum_high, low) = (packed[j - 4] >> 6, packed[j] >> 6, packed[4 + j]);
    (low & 15 | scale_high << 4, low >> 4 | minimum_high << 4)
}

/// Packs eight scales and eight minimums below 64.
pub(super) fn pack(scales: &[u8; 8], minimums: &[u8; 8]) -> [u8; 12] {
    std::array::from_fn(|i| match i {
        0..4 => scales[i] | scales[i + 4] >> 4 << 6,
        4..8 => minimums[i - 4] | minimums[i] >> 4 << 6,
        _ => scales[i - 4] & 15 | minimums[i - 4] << 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for start in 0..64u8 {
            let scales = std::array::from_fn(|j| (start + 7 * j as u8) % 64);
            let minimums = std::array::from_fn(|j| (start ^ 37).wrapping_add(11 * j as u8) % 64);
            let packed = pack(&scales, &minimums);
            for j in 0..8 {
                assert_eq!(get(&packed, j), (scales[j], minimums[j]));
            }
        }
    }
}
