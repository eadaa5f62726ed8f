//! What `rms_norm` means.

/// Without a weight all columns weigh 1.
pub(crate) fn rms_norm(x: &[f32], width: usize, weight: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(width.max(1)) {
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let scale = 1.0 / (squares / row.len() as f64 + f64::from(epsilon)).sqrt();
        for (column, &x) in row.iter().enumerate() {
            let weight = weight.map_or(1.0, |weight| f64::from(weight[column]));
            out.push((f64::from(x) * scale * weight) as f32);
        }
    }
    out
}
