#![allow(unsafe_code, reason = "calls the instructions of a level")]
//! AVX-512 with VNNI: 16 rows.
//!
//! Rules: V1, a value of the level's type is made only where the machine has all features that its functions need;
//! V2, a vector is read from or written to a slice that is as long as the vector, which is checked.

use std::arch::x86_64::{
    __m128i, __m256i, __m512, __m512i, _MM_HINT_T0, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_prefetch,
    _mm256_loadu_si256, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_castsi512_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_shuffle_epi8, _mm512_sll_epi16, _mm512_sll_epi32, _mm512_slli_epi32, _mm512_srl_epi16,
    _mm512_srl_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::{FIRST_PAIRS, Job, LAST_PAIRS, Lanes, Level};
use crate::quant::panel::ROWS;

/// The level. Only [`find`](Self::find) makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The level, where the machine has it.
    #[inline(always)]
    pub(super) fn find() -> Option<Self> {
        Level::Avx512.is_here().then_some(Self(()))
    }
}

/// Calls an instruction that takes and gives values only.
macro_rules! on_values {
    ($call:expr) => {
        // SAFETY: V1.
        unsafe { $call }
    };
}

impl Lanes for Avx512 {
    const N: usize = ROWS;
    type Words = __m512i;
    type Floats = __m512;

    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn compiled<J: Job>(v: Avx512, job: J) -> J::Output {
            job.run(v)
        }
        // SAFETY: V1.
        unsafe { compiled(self, job) }
    }

    #[inline(always)]
    fn words(self, bytes: &[u8]) -> __m512i {
        let bytes = &bytes[..64];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn put_words(self, words: __m512i, bytes: &mut [u8]) {
        let bytes = &mut bytes[..64];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), words) }
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> __m512i {
        let bytes: *const __m128i = bytes[..16].as_ptr().cast();
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes)) }
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8]) -> __m512i {
        let bytes: *const __m128i = bytes[..16].as_ptr().cast();
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)) }
    }

    #[inline(always)]
    fn quad(self, bytes: [i8; 4]) -> __m512i {
        self.integer(i32::from_le_bytes(bytemuck::cast(bytes)))
    }

    #[inline(always)]
    fn integer(self, x: i32) -> __m512i {
        on_values!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn mask(self, a: __m512i, byte: u8) -> __m512i {
        on_values!(_mm512_and_si512(a, _mm512_set1_epi8(byte.cast_signed())))
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        on_values!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn down(self, a: __m512i, bits: u32) -> __m512i {
        on_values!(_mm512_srl_epi16(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn up(self, a: __m512i, bits: u32) -> __m512i {
        on_values!(_mm512_sll_epi16(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn mask_words(self, a: __m512i, word: u32) -> __m512i {
        on_values!(_mm512_and_si512(a, _mm512_set1_epi32(word.cast_signed())))
    }

    #[inline(always)]
    fn down_words(self, a: __m512i, bits: u32) -> __m512i {
        on_values!(_mm512_srl_epi32(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn up_words(self, a: __m512i, bits: u32) -> __m512i {
        on_values!(_mm512_sll_epi32(a, _mm_cvtsi32_si128(bits as i32)))
    }

    #[inline(always)]
    fn flip(self, a: __m512i, byte: u8) -> __m512i {
        on_values!(_mm512_xor_si512(a, _mm512_set1_epi8(byte.cast_signed())))
    }

    #[inline(always)]
    fn apart(self, a: __m512i, pair: usize) -> __m512i {
        let order = if pair == 0 { &FIRST_PAIRS } else { &LAST_PAIRS };
        // SAFETY: V1, and V2 by the type of the table.
        let order = unsafe { _mm_loadu_si128(order.as_ptr().cast()) };
        let twice = on_values!(_mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(order)));
        let low = on_values!(_mm512_and_si512(twice, _mm512_set1_epi32(0x000f_000f)));
        let high = on_values!(_mm512_and_si512(twice, _mm512_set1_epi32(0xf000_f000_u32.cast_signed())));
        self.or(low, self.down(high, 4))
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], a: __m512i) -> __m512i {
        let table: *const __m128i = table.as_ptr().cast();
        // SAFETY: V1, and V2 by the type of the table.
        unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table)), a) }
    }

    #[inline(always)]
    fn dot(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        on_values!(_mm512_dpbusd_epi32(sum, a, b))
    }

    #[inline(always)]
    fn dot_wide(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        self.dot(sum, a, b)
    }

    #[inline(always)]
    fn add_integers(self, a: __m512i, b: __m512i) -> __m512i {
        on_values!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn mul_integers(self, a: __m512i, b: __m512i) -> __m512i {
        on_values!(_mm512_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn floats(self, a: __m512i) -> __m512 {
        on_values!(_mm512_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn float(self, x: f32) -> __m512 {
        on_values!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..16];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn f32s(self, bytes: &[u8]) -> __m512 {
        let bytes = &bytes[..64];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn f16s(self, bytes: &[u8]) -> __m512 {
        let bytes = &bytes[..32];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn bf16s(self, bytes: &[u8]) -> __m512 {
        let bytes = &bytes[..32];
        // SAFETY: V1, and V2 by the slice.
        let wide = unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast())) };
        on_values!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
    }

    #[inline(always)]
    fn store(self, a: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: V1, and V2 by the slice.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), a) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        on_values!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        on_values!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn widen(self, halves: &[u8; 2 * ROWS]) -> [f32; ROWS] {
        let mut wide = [0.0; ROWS];
        let halves: *const __m256i = halves.as_ptr().cast();
        // SAFETY: V1, and V2 by the type of the array.
        let floats = unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(halves)) };
        self.store(floats, &mut wide);
        wide
    }

    #[inline(always)]
    fn fetch(self, bytes: &[u8], ahead: usize) {
        // Fetching is a hint: an address that is not there is left alone.
        on_values!(_mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()));
    }
}
