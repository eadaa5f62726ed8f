//! What `scale` means.

pub(super) fn scale(x: &[f32], factor: f32) -> Vec<f32> {
    x.iter().map(|x| factor * x).collect()
}
