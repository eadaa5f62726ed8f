//! What `routed_matmul` means.

/// One expert for one row of activations. `weight` is `[rows, width]`, that of the expert.
pub(super) fn product(weight: &[f32], x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = Vec::new();
    for (row, weight) in weight.chunks(x.len()).enumerate() {
        let sum: f64 = weight.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        out.push((sum + bias.map_or(0.0, |bias| f64::from(bias[row]))) as f32);
    }
    out
}
