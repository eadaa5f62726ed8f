//! What `mul` means.

/// `y` repeats over the elements of `x`.
pub(super) fn mul(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().enumerate().map(|(i, x)| x * y[i % y.len()]).collect()
}

/// Row `i` of `x` is multiplied by `y[i]`.
pub(super) fn mul_rows(x: &[f32], y: &[f32], width: usize) -> Vec<f32> {
    x.iter().enumerate().map(|(i, x)| x * y[i / width]).collect()
}
