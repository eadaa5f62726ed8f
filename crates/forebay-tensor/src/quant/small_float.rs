//! Floats of 4 and 8 bits, as the microscaling formats define them.
//!
//! E2M1 has a sign, two exponent bits and one fraction bit. E4M3 has a sign, four exponent bits and three
//! fraction bits and no infinity. E8M0 is an exponent alone. What a block of them means is said in `mxfp4`,
//! `nvfp4` and `mlx`.

use super::search::Levels;

/// What an E2M1 code is worth, doubled so that all are integers.
pub(crate) const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of the power of two that an E8M0 code names: it meets values that are doubled.
#[inline(always)]
pub(crate) fn e8m0_half(code: u8) -> f32 {
    // Without branches, so that the compiler works on many at once.
    let code = u32::from(code);
    let (small, usual) = (0x0020_0000 << (code & 1), code.wrapping_sub(1) << 23);
    f32::from_bits(if code < 2 { small } else { usual })
}

/// The magnitude of an E4M3 code; its sign bit is ignored.
pub(crate) fn e4m3_magnitude(code: u8) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    match exponent {
        0 => fraction / 512.0,
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    }
}

/// The levels of E2M1, doubled.
#[derive(Clone, Copy)]
pub(super) struct E2m1Doubled;

impl Levels for E2m1Doubled {
    #[inline]
    fn nearest(self, u: f32) -> (u8, f32) {
        const MIDDLES: [f32; 7] = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0];
        let magnitude = MIDDLES.iter().filter(|middle| u.abs() > **middle).count();
        let code = magnitude | usize::from(u < 0.0) << 3;
        (code as u8, E2M1_DOUBLED[code].into())
    }

    fn landings(self) -> (f32, f32) {
        (7.0, 14.0)
    }

    fn symmetric(self) -> bool {
        true
    }
}

/// The E4M3 code without sign whose value is nearest to `x`; ties go to the even code, all above 448 to 448.
pub(super) fn nearest_e4m3(x: f32) -> u8 {
    let above = (0..=126).find(|code| e4m3_magnitude(*code) >= x).unwrap_or(126);
    if above == 0 {
        return 0;
    }
    let (low, high) = (x - e4m3_magnitude(above - 1), e4m3_magnitude(above) - x);
    if low < high || low == high && above % 2 == 1 { above - 1 } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_e4m3_of_a_code_is_the_code() {
        for code in 0..=126 {
            assert_eq!(nearest_e4m3(e4m3_magnitude(code)), code);
        }
        assert_eq!(e4m3_magnitude(126), 448.0);
        assert_eq!(e4m3_magnitude(1), 2f32.powi(-9));
        assert_eq!((nearest_e4m3(1e9), nearest_e4m3(0.0)), (126, 0));
        assert_eq!((nearest_e4m3(1.0625), nearest_e4m3(1.1875)), (56, 58), "ties go to the even code");
    }

    #[test]
    fn half_powers_of_two_are_exact() {
        for code in 0..=254 {
            assert_eq!(f64::from(e8m0_half(code)), 2f64.powi(i32::from(code) - 128));
        }
    }
}
