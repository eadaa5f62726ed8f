//! Vectors of the CPU, one implementation a level: 16, 8 or 4 rows of a panel side by side.
//!
//! Kernels are written once, for any [`Lanes`]; a value of such a type exists only where the machine has what it needs,
//! so kernels are safe code. All levels give the same bits: products of integers are exact, and floats are multiplied
//! and added one by one, never fused. Next rooms: the levels; `formats`, which says how codes become vectors.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;
mod turn;

pub(crate) use self::turn::turn;
pub(crate) use crate::Level;
use crate::quant::panel::ROWS;

impl Level {
    /// Does a job on this level, or on the plain one where the machine lacks it.
    #[inline(always)]
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if let Some(lanes) = avx512::Avx512::find() => lanes.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if let Some(lanes) = avx2::Avx2::find() => lanes.run(job),
            #[cfg(target_arch = "aarch64")]
            Self::Neon if let Some(lanes) = neon::Neon::find() => lanes.run(job),
            _ => plain::Plain.run(job),
        }
    }
}

/// For every four bytes, the first two twice.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const FIRST_PAIRS: [u8; 16] = [0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13];
/// For every four bytes, the last two twice.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const LAST_PAIRS: [u8; 16] = [2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15];

/// Something to do on any level.
pub(crate) trait Job {
    /// What comes of it.
    type Output;

    /// Does it. Implementations are `#[inline(always)]`, so that they are compiled for the level.
    fn run<V: Lanes>(self, v: V) -> Self::Output;
}

/// Vectors of so many rows. Slices that are given are as long as is said, or the job panics.
pub(crate) trait Lanes: Copy {
    /// Rows.
    const N: usize;
    /// Four bytes, or one integer of 32 bits, a row.
    type Words: Copy;
    /// A float a row.
    type Floats: Copy;

    /// Does a job, compiled for this level.
    fn run<J: Job>(self, job: J) -> J::Output;

    /// `4 N` bytes.
    fn words(self, bytes: &[u8]) -> Self::Words;
    /// Writes `4 N` bytes.
    fn put_words(self, words: Self::Words, bytes: &mut [u8]);
    /// `N` bytes, each as an integer.
    fn bytes(self, bytes: &[u8]) -> Self::Words;
    /// As [`bytes`](Self::bytes), with their sign.
    fn signed_bytes(self, bytes: &[u8]) -> Self::Words;
    /// The same four bytes for all rows.
    fn quad(self, bytes: [i8; 4]) -> Self::Words;
    /// The same integer for all rows.
    fn integer(self, x: i32) -> Self::Words;
    /// The bits that all bytes have in common with this one.
    fn mask(self, a: Self::Words, byte: u8) -> Self::Words;
    /// The bits of both.
    fn or(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Moves bits down. What comes from the next byte is for the caller to mask.
    fn down(self, a: Self::Words, bits: u32) -> Self::Words;
    /// Moves bits up. What comes from the byte below is for the caller to mask.
    fn up(self, a: Self::Words, bits: u32) -> Self::Words;
    /// The bits that all words have in common with this one.
    fn mask_words(self, a: Self::Words, word: u32) -> Self::Words;
    /// Moves the bits of words down; zeros follow.
    fn down_words(self, a: Self::Words, bits: u32) -> Self::Words;
    /// Moves the bits of words up; zeros follow.
    fn up_words(self, a: Self::Words, bits: u32) -> Self::Words;
    /// Turns these bits of all bytes over.
    fn flip(self, a: Self::Words, byte: u8) -> Self::Words;
    /// The halves of the first or the last two bytes of each row, as four bytes.
    fn apart(self, a: Self::Words, pair: usize) -> Self::Words;
    /// For each byte below 16 that of the table.
    fn look_up(self, table: &[u8; 16], a: Self::Words) -> Self::Words;
    /// Adds the products of four bytes a row, the first without and the others with sign. The first are below 128, the
    /// others above -128.
    fn dot(self, sum: Self::Words, a: Self::Words, b: Self::Words) -> Self::Words;
    /// As [`dot`](Self::dot), for any first bytes.
    fn dot_wide(self, sum: Self::Words, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The sums of integers.
    fn add_integers(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The low bits of the products of integers.
    fn mul_integers(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Integers as floats.
    fn floats(self, a: Self::Words) -> Self::Floats;

    /// The same float for all rows.
    fn float(self, x: f32) -> Self::Floats;
    /// `N` floats.
    fn load(self, from: &[f32]) -> Self::Floats;
    /// `N` little-endian floats of 32 bits.
    fn f32s(self, bytes: &[u8]) -> Self::Floats;
    /// `N` little-endian floats of 16 bits, widened.
    fn f16s(self, bytes: &[u8]) -> Self::Floats;
    /// `N` upper halves of floats of 32 bits, widened.
    fn bf16s(self, bytes: &[u8]) -> Self::Floats;
    /// Writes `N` floats.
    fn store(self, a: Self::Floats, to: &mut [f32]);
    /// The sum.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The product.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// 16 little-endian floats of 16 bits, widened.
    fn widen(self, halves: &[u8; 2 * ROWS]) -> [f32; ROWS];
    /// Says that the line `ahead` bytes past the start of these will be wanted.
    fn fetch(self, bytes: &[u8], ahead: usize);
}
