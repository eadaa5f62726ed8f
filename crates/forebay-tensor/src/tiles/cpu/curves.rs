//! Curves that ops put numbers through. They hold no branches, so that the compiler works on many numbers at once.
//!
//! What is not a number stays none, and infinities go where the curve goes.

/// `e^x`, within two units in the last place.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // adding it leaves the nearest whole number in the low bits
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    // The power is split, so that neither half leaves the range of exponents.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x * sigmoid(x)`; zero at minus infinity.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    // Below this the result is zero to the last bit, and minus infinity times zero would be no number.
    let x = if x < -110.0 { -110.0 } else { x };
    x * sigmoid(x)
}

/// The hyperbolic tangent, within a few units in the last place.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_907_5e-2, -5.373_971_5e-2, 0.133_314_42, -0.333_332_8] {
        p = p * square + c;
    }
    let near = p * square * x + x;
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    let far = if x < 0.0 { -far } else { far };
    if x.abs() < 0.625 { near } else { far }
}

/// GELU by its usual approximation with a hyperbolic tangent.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    // 0.5 * (1 + tanh(u)) is sigmoid(2 u), which does not cancel where tanh comes near -1.
    let twice = 1.595_769 * x * (1.0 + 0.044_715 * x * x);
    let x = if x < -20.0 { -20.0 } else { x };
    x * sigmoid(if twice < -110.0 { -110.0 } else { twice })
}

/// GELU as it is defined, by the error function.
#[inline(always)]
pub(crate) fn gelu_erf(x: f32) -> f32 {
    // The area under the bell beyond |x|, as a polynomial in t times the bell; its error is below 1e-7.
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p * t + c;
    }
    let beyond = 0.5 * p * t * exp(-z * z);
    let share = if x < 0.0 { beyond } else { 1.0 - beyond };
    let x = if x < -20.0 { -20.0 } else { x };
    x * share
}

/// `ln(1 + e^x)`.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let rest = exp(-x.abs()).ln_1p();
    if x > 0.0 { x + rest } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(name: &str, got: impl Fn(f32) -> f32, wanted: impl Fn(f64) -> f64, relative: f64, absolute: f64) {
        for i in -40_000..=40_000 {
            let x = i as f32 * 2.7e-3;
            let (got, wanted) = (f64::from(got(x)), wanted(f64::from(x)));
            let wanted = if wanted > f64::from(f32::MAX) { f64::INFINITY } else { wanted };
            let fine = got == wanted || (got - wanted).abs() <= relative * wanted.abs() + absolute;
            assert!(fine, "{name}({x}) is {wanted}, not {got}");
        }
        assert!(got(f32::NAN).is_nan(), "{name} of what is no number");
    }

    #[test]
    fn curves_are_near_their_definitions_everywhere() {
        near("exp", exp, f64::exp, 3e-7, 1e-45);
        near("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 4e-7, 2e-38);
        near("tanh", tanh, f64::tanh, 4e-7, 0.0);
        near("silu", silu, |x| x / (1.0 + (-x).exp()), 5e-7, 1e-36);
        near("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 4e-7, 1e-38);
        let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        near("gelu_tanh", gelu_tanh, |x| x / (1.0 + (-2.0 * inner(x)).exp()), 3e-6, 1e-9);
        assert_eq!((exp(f32::INFINITY), exp(f32::NEG_INFINITY)), (f32::INFINITY, 0.0));
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
        for curve in [silu, gelu_tanh, gelu_erf, softplus] {
            assert_eq!((curve(f32::INFINITY), curve(f32::NEG_INFINITY).abs()), (f32::INFINITY, 0.0));
        }
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    }
}
