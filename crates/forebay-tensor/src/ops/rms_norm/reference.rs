//! What `rms_norm` means.

pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(weight.len().max(1)) {
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let scale = 1.0 / (squares / row.len() as f64 + f64::from(epsilon)).sqrt();
        out.extend(row.iter().zip(weight).map(|(&x, &w)| (f64::from(x) * scale * f64::from(w)) as f32));
    }
    out
}
