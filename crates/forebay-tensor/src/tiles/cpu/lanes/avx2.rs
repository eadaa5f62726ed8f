#![allow(unsafe_code, reason = "calls the instructions of a level")]
//! AVX2 with F16C: 8 rows.
//!
//! Rules: V1, a value of the level's type is made only where the machine has all features that its functions need;
//! V2, a vector is read from or written to a slice that is as long as the vector, which is checked.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_HINT_T0, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm_prefetch,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_castsi256_ps,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_mullo_epi32, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_shuffle_epi8, _mm256_sll_epi16, _mm256_sll_epi32, _mm256_slli_epi32,
    _mm256_srl_epi16, _mm256_srl_epi32, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::{FIRST_PAIRS, Job, LAST_PAIRS, Lanes, Level};
use crate::quant::panel::ROWS;

/// The level. Only [`find`](Self::find) makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The level, where the machine has it.
    #[inline(always)]
    pub(super) fn find() -> Option<Self> {
        Level::Avx2.is_here().then_some(Self(()))
    }
}

/// Calls an instruction that takes and gives values only.
macro_rules! on_values {
    ($call:expr) => {
        // SAFETY: V1.
        unsafe { $call }
    };
}

impl Lanes for Avx2 {
    const N: usize = 8;
    type Words = __m256i;
    type Floats = __m256;

    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Output {
        #[target_feature(enable = "avx2,f16c")]
        fn compiled<J: Job>(v: Avx2, job: J) -> J::Output {
            job.run(v)
        }
        // SAFETY: V1.
        unsafe { compiled(self, job) }
    }

    #[inline(always)]
    fn words(self, bytes: &[u8]) -> __m256i {
        let bytes = &bytes[..32];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn put_words(self, words: __m256i, bytes: &mut [u8]) {
        let bytes = &mut bytes[..32];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), words) }
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> __m256i {
        let bytes: *const __m128i = bytes[..8].as_ptr().cast();
        // SAFETY: V1, and V2 by the slice: half of the vector is read.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes)) }
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8]) -> __m256i {
        let bytes: *const __m128i = bytes[..8].as_ptr().cast();
        // SAFETY: V1, and V2 by the slice: half of the vector is read.
        unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes)) }
    }

    #[inline(always)]
    fn quad(self, bytes: [i8; 4]) -> __m256i {
        self.integer(i32::from_le_bytes(bytemuck::cast(bytes)))
    }

    #[inline(always)]
    fn integer(self, x: i32) -> __m256i {
        on_values!(_mm256_set1_epi32(x))
    }

    #[inline(always)]
    fn mask(self, a: __m256i, byte: u8) -> __m256i {
        on_values!(_mm256_and_si256(a, _mm256_set1_epi8(byte.cast_signed())))
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        on_values!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn down(self, a: __m256i, bits: u32) -> __m256i {
        on_values!(_mm256_srl_epi16(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn up(self, a: __m256i, bits: u32) -> __m256i {
        on_values!(_mm256_sll_epi16(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn mask_words(self, a: __m256i, word: u32) -> __m256i {
        on_values!(_mm256_and_si256(a, _mm256_set1_epi32(word.cast_signed())))
    }

    #[inline(always)]
    fn down_words(self, a: __m256i, bits: u32) -> __m256i {
        on_values!(_mm256_srl_epi32(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn up_words(self, a: __m256i, bits: u32) -> __m256i {
        on_values!(_mm256_sll_epi32(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn flip(self, a: __m256i, byte: u8) -> __m256i {
        on_values!(_mm256_xor_si256(a, _mm256_set1_epi8(byte.cast_signed())))
    }

    #[inline(always)]
    fn apart(self, a: __m256i, pair: usize) -> __m256i {
        let order = if pair == 0 { &FIRST_PAIRS } else { &LAST_PAIRS };
        // SAFETY: V1, and V2 by the type of the table.
        let order = unsafe { _mm_loadu_si128(order.as_ptr().cast()) };
        let twice = on_values!(_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(order)));
        let low = on_values!(_mm256_and_si256(twice, _mm256_set1_epi32(0x000f_000f)));
        let high = on_values!(_mm256_and_si256(twice, _mm256_set1_epi32(0xf000_f000_u32.cast_signed())));
        self.or(low, self.down(high, 4))
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], a: __m256i) -> __m256i {
        let table: *const __m128i = table.as_ptr().cast();
        // SAFETY: V1, and V2 by the type of the table.
        unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table)), a) }
    }

    #[inline(always)]
    fn dot(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // Two products of at most 127 * 127 fit 16 bits with sign.
        let pairs = on_values!(_mm256_maddubs_epi16(a, b));
        on_values!(_mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))))
    }

    #[inline(always)]
    fn dot_wide(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let low = self.dot(sum, self.mask(a, 0x7f), b);
        let pairs = on_values!(_mm256_maddubs_epi16(self.mask(self.down(a, 7), 1), b));
        on_values!(_mm256_add_epi32(low, _mm256_madd_epi16(pairs, _mm256_set1_epi16(128))))
    }

    #[inline(always)]
    fn add_integers(self, a: __m256i, b: __m256i) -> __m256i {
        on_values!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn mul_integers(self, a: __m256i, b: __m256i) -> __m256i {
        on_values!(_mm256_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn floats(self, a: __m256i) -> __m256 {
        on_values!(_mm256_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn float(self, x: f32) -> __m256 {
        on_values!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..8];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn f32s(self, bytes: &[u8]) -> __m256 {
        let bytes = &bytes[..32];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn f16s(self, bytes: &[u8]) -> __m256 {
        let bytes = &bytes[..16];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn bf16s(self, bytes: &[u8]) -> __m256 {
        let bytes = &bytes[..16];
        // SAFETY: V1, and V2 by the slice.
        let wide = unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(bytes.as_ptr().cast())) };
        on_values!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
    }

    #[inline(always)]
    fn store(self, a: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), a) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        on_values!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        on_values!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn widen(self, halves: &[u8; 2 * ROWS]) -> [f32; ROWS] {
        let mut wide = [0.0; ROWS];
        for (halves, wide) in halves.as_chunks::<16>().0.iter().zip(wide.as_chunks_mut::<8>().0) {
            let halves: *const __m128i = halves.as_ptr().cast();
            // SAFETY: V1, and V2 by the type of the array.
            let floats = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(halves)) };
            self.store(floats, wide);
        }
        wide
    }

    #[inline(always)]
    fn fetch(self, bytes: &[u8], ahead: usize) {
        // Fetching is a hint: an address that is not there is left alone.
        on_values!(_mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()));
    }
}
