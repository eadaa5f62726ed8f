//! What `softmax` means.

pub(super) fn softmax(x: &[f32], width: usize, scale: f32) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(width.max(1)) {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x) * f64::from(scale)).collect();
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
        out.extend(row.iter().map(|x| ((x - most).exp() / sum) as f32));
    }
    out
}
