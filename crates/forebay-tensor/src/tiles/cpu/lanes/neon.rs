#![allow(unsafe_code, reason = "calls the instructions of a level")]
//! NEON: 4 rows.
//!
//! Rules: V1, a value of the level's type is made only where the machine has all features that its functions need;
//! V2, a vector is read from or written to a slice that is as long as the vector, which is checked.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, vaddq_f32, vaddq_s32, vandq_u8, vcreate_s8, vcreate_u8, vcvtq_f32_s32,
    vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, vdupq_n_u32, veorq_u8, vget_low_s8, vget_low_s16,
    vget_low_u16, vld1_u8, vld1q_f32, vld1q_u8, vmovl_s8, vmovl_s16, vmovl_u8, vmovl_u16, vmull_high_s8,
    vmull_s8, vmulq_f32, vmulq_s32, vorrq_u8, vpadalq_s16, vpaddq_s16, vqtbl1q_u8, vreinterpret_u16_u8,
    vreinterpretq_f32_u8, vreinterpretq_f32_u32, vreinterpretq_s8_u8, vreinterpretq_s32_u8,
    vreinterpretq_u8_s32, vreinterpretq_u8_u32, vreinterpretq_u32_u8, vshlq_n_s32, vshlq_n_u32, vshlq_u8,
    vshlq_u32, vst1q_f32, vst1q_u8,
};

use half::f16;

use super::{FIRST_PAIRS, Job, LAST_PAIRS, Lanes, Level};
use crate::quant::panel::ROWS;

/// The level. Only [`find`](Self::find) makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    /// The level, where the machine has it.
    #[inline(always)]
    pub(super) fn find() -> Option<Self> {
        Level::Neon.is_here().then_some(Self(()))
    }
}

/// Calls an instruction that takes and gives values only.
macro_rules! on_values {
    ($call:expr) => {
        // SAFETY: V1.
        unsafe { $call }
    };
}

impl Lanes for Neon {
    const N: usize = 4;
    type Words = uint8x16_t;
    type Floats = float32x4_t;

    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Output {
        #[target_feature(enable = "neon")]
        fn compiled<J: Job>(v: Neon, job: J) -> J::Output {
            job.run(v)
        }
        // SAFETY: V1.
        unsafe { compiled(self, job) }
    }

    #[inline(always)]
    fn words(self, bytes: &[u8]) -> uint8x16_t {
        let bytes = &bytes[..16];
        // SAFETY: V1, and V2 by the slice.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    }

    #[inline(always)]
    fn put_words(self, words: uint8x16_t, bytes: &mut [u8]) {
        let bytes = &mut bytes[..16];
        // SAFETY: V1, and V2 by the slice.
        unsafe { vst1q_u8(bytes.as_mut_ptr(), words) }
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> uint8x16_t {
        let four = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let wide = on_values!(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four.into())))));
        on_values!(vreinterpretq_u8_u32(wide))
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[u8]) -> uint8x16_t {
        let four = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let wide = on_values!(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four.into())))));
        on_values!(vreinterpretq_u8_s32(wide))
    }

    #[inline(always)]
    fn quad(self, bytes: [i8; 4]) -> uint8x16_t {
        self.integer(i32::from_le_bytes(bytemuck::cast(bytes)))
    }

    #[inline(always)]
    fn integer(self, x: i32) -> uint8x16_t {
        on_values!(vreinterpretq_u8_s32(vdupq_n_s32(x)))
    }

    #[inline(always)]
    fn mask(self, a: uint8x16_t, byte: u8) -> uint8x16_t {
        on_values!(vandq_u8(a, vdupq_n_u8(byte)))
    }

    #[inline(always)]
    fn or(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        on_values!(vorrq_u8(a, b))
    }

    #[inline(always)]
    fn down(self, a: uint8x16_t, bits: u32) -> uint8x16_t {
        on_values!(vshlq_u8(a, vdupq_n_s8(-(bits as i8))))
    }

    #[inline(always)]
    fn up(self, a: uint8x16_t, bits: u32) -> uint8x16_t {
        on_values!(vshlq_u8(a, vdupq_n_s8(bits as i8)))
    }

    #[inline(always)]
    fn mask_words(self, a: uint8x16_t, word: u32) -> uint8x16_t {
        on_values!(vandq_u8(a, vreinterpretq_u8_u32(vdupq_n_u32(word))))
    }

    #[inline(always)]
    fn down_words(self, a: uint8x16_t, bits: u32) -> uint8x16_t {
        self.up_words(a, bits.wrapping_neg())
    }

    #[inline(always)]
    fn up_words(self, a: uint8x16_t, bits: u32) -> uint8x16_t {
        let by = on_values!(vdupq_n_s32(bits.cast_signed()));
        on_values!(vreinterpretq_u8_u32(vshlq_u32(vreinterpretq_u32_u8(a), by)))
    }

    #[inline(always)]
    fn flip(self, a: uint8x16_t, byte: u8) -> uint8x16_t {
        on_values!(veorq_u8(a, vdupq_n_u8(byte)))
    }

    #[inline(always)]
    fn apart(self, a: uint8x16_t, pair: usize) -> uint8x16_t {
        let order = self.words(if pair == 0 { &FIRST_PAIRS } else { &LAST_PAIRS });
        let twice = on_values!(vqtbl1q_u8(a, order));
        let low = on_values!(vandq_u8(twice, vreinterpretq_u8_u32(vdupq_n_u32(0x000f_000f))));
        let high = on_values!(vandq_u8(twice, vreinterpretq_u8_u32(vdupq_n_u32(0xf000_f000))));
        self.or(low, self.down(high, 4))
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], a: uint8x16_t) -> uint8x16_t {
        let table = self.words(table);
        on_values!(vqtbl1q_u8(table, a))
    }

    #[inline(always)]
    fn dot(self, sum: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // Bytes below 128 are the same with sign, and two products of at most 127 * 127 fit 16 bits.
        let (a, b) = on_values!((vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)));
        let (low, high) = on_values!((vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b)));
        on_values!(vreinterpretq_u8_s32(vpadalq_s16(vreinterpretq_s32_u8(sum), vpaddq_s16(low, high))))
    }

    #[inline(always)]
    fn dot_wide(self, sum: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        let low = self.dot(sum, self.mask(a, 0x7f), b);
        let high = self.dot(self.integer(0), self.down(a, 7), b);
        let high = on_values!(vshlq_n_s32::<7>(vreinterpretq_s32_u8(high)));
        on_values!(vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(low), high)))
    }

    #[inline(always)]
    fn add_integers(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        on_values!(vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b))))
    }

    #[inline(always)]
    fn mul_integers(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        on_values!(vreinterpretq_u8_s32(vmulq_s32(vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b))))
    }

    #[inline(always)]
    fn floats(self, a: uint8x16_t) -> float32x4_t {
        on_values!(vcvtq_f32_s32(vreinterpretq_s32_u8(a)))
    }

    #[inline(always)]
    fn float(self, x: f32) -> float32x4_t {
        on_values!(vdupq_n_f32(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> float32x4_t {
        let from = &from[..4];
        // SAFETY: V1, and V2 by the slice.
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn f32s(self, bytes: &[u8]) -> float32x4_t {
        on_values!(vreinterpretq_f32_u8(self.words(bytes)))
    }

    #[inline(always)]
    fn f16s(self, bytes: &[u8]) -> float32x4_t {
        let halves = bytes.as_chunks::<2>().0;
        let wide: [f32; 4] = std::array::from_fn(|row| f16::from_le_bytes(halves[row]).to_f32_const());
        self.load(&wide)
    }

    #[inline(always)]
    fn bf16s(self, bytes: &[u8]) -> float32x4_t {
        let bytes = &bytes[..8];
        // SAFETY: V1, and V2 by the slice.
        let halves = unsafe { vreinterpret_u16_u8(vld1_u8(bytes.as_ptr())) };
        on_values!(vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(halves))))
    }

    #[inline(always)]
    fn store(self, a: float32x4_t, to: &mut [f32]) {
        let to = &mut to[..4];
        // SAFETY: V1, and V2 by the slice.
        unsafe { vst1q_f32(to.as_mut_ptr(), a) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        on_values!(vaddq_f32(a, b))
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        on_values!(vmulq_f32(a, b))
    }

    #[inline(always)]
    fn widen(self, halves: &[u8; 2 * ROWS]) -> [f32; ROWS] {
        let halves = halves.as_chunks::<2>().0;
        std::array::from_fn(|row| f16::from_le_bytes(halves[row]).to_f32_const())
    }

    #[inline(always)]
    fn fetch(self, _: &[u8], _: usize) {}
}
