//! What `mix` means.

pub(super) fn mix(x: &[f32], weights: &[f32], [count, k, width]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::new();
    for i in 0..count {
        for column in 0..width {
            let term = |j: usize| f64::from(weights[i * k + j]) * f64::from(x[(i * k + j) * width + column]);
            out.push((0..k).map(term).sum::<f64>() as f32);
        }
    }
    out
}
