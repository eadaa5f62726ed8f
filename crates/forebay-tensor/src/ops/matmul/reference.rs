//! What `matmul` means.

pub(super) fn matmul(weight: &[f32], x: &[f32], width: usize) -> Vec<f32> {
    let product = |w: &[f32], x: &[f32]| {
        w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>() as f32
    };
    x.chunks(width).flat_map(|x| weight.chunks(width).map(move |w| product(w, x))).collect()
}
