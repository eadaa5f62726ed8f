//! What `l2_norm` means.

pub(super) fn l2_norm(x: &[f32], width: usize, epsilon: f32) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(width.max(1)) {
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        out.extend(row.iter().map(|&x| (f64::from(x) / (squares + f64::from(epsilon)).sqrt()) as f32));
    }
    out
}
