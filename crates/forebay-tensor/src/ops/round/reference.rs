//! What `round` means: codes, their scale and their sums, for 32 elements.

pub(super) fn round(x: &[f32]) -> (Vec<i8>, f32) {
    let furthest = x.iter().filter(|x| !x.is_nan()).fold(0.0f32, |most, x| most.max(x.abs()));
    let d = furthest / 127.0;
    let code = |x: f32| if d == 0.0 || x.is_nan() { 0 } else { (x * (1.0 / d)).round_ties_even() as i8 };
    (x.iter().map(|&x| code(x)).collect(), d)
}
