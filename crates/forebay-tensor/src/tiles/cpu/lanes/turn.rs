#![allow(unsafe_code, reason = "calls the instructions of a level")]
//! Turning: bytes of 16 rows, four at a time, to lines that have four of each row side by side.
//!
//! Rules: V1, the instructions are ones that every machine of the family has; V2, a vector is read from or written to a
//! slice that is as long as the vector, which is checked.

use crate::quant::panel::ROWS;

/// Sixteen bytes of each row, from `at` on, become four lines: word `i` of row `r` becomes word `r` of line `i`.
#[inline(always)]
pub(crate) fn turn(rows: &[&[u8]; ROWS], at: usize, lines: &mut [[u8; 64]]) {
    for (four, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
        let [a, b, c, d] = *rows;
        let words = turn_four([&a[at..at + 16], &b[at..at + 16], &c[at..at + 16], &d[at..at + 16]]);
        for (line, words) in lines.iter_mut().zip(words) {
            line[16 * four..][..16].copy_from_slice(&words);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn turn_four(rows: [&[u8]; 4]) -> [[u8; 16]; 4] {
    use std::arch::x86_64::{
        __m128i, _mm_loadu_si128, _mm_storeu_si128, _mm_unpackhi_epi32, _mm_unpackhi_epi64,
        _mm_unpacklo_epi32, _mm_unpacklo_epi64,
    };
    let mut words = [[0; 16]; 4];
    // SAFETY: V1, and V2 by the slices, each of which is 16 bytes long.
    unsafe {
        let [a, b, c, d] = rows.map(|row| _mm_loadu_si128(row[..16].as_ptr().cast::<__m128i>()));
        let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
        let turned = [
            _mm_unpacklo_epi64(ab, cd),
            _mm_unpackhi_epi64(ab, cd),
            _mm_unpacklo_epi64(ab_high, cd_high),
            _mm_unpackhi_epi64(ab_high, cd_high),
        ];
        for (words, turned) in words.iter_mut().zip(turned) {
            _mm_storeu_si128(words.as_mut_ptr().cast(), turned);
        }
    }
    words
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn turn_four(rows: [&[u8]; 4]) -> [[u8; 16]; 4] {
    let mut words = [[0; 16]; 4];
    for i in 0..4 {
        for r in 0..4 {
            words[i][4 * r..][..4].copy_from_slice(&rows[r][4 * i..][..4]);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_rows_become_words_of_lines() {
        let rows: [[u8; 20]; ROWS] = std::array::from_fn(|r| std::array::from_fn(|i| (20 * r + i) as u8));
        let rows: [&[u8]; ROWS] = std::array::from_fn(|r| &rows[r][..]);
        let mut lines = [[0; 64]; 4];
        turn(&rows, 3, &mut lines);
        for (i, line) in lines.iter().enumerate() {
            for (r, row) in rows.iter().enumerate() {
                assert_eq!(line[4 * r..][..4], row[3 + 4 * i..][..4], "line {i}, row {r}");
            }
        }
    }
}
