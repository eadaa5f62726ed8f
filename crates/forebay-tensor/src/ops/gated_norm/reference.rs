//! What `gated_norm` means.

pub(super) fn gated_norm(x: &[f32], weight: &[f32], gate: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = Vec::new();
    let width = weight.len().max(1);
    for (row, gate) in x.chunks(width).zip(gate.chunks(width)) {
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let scale = 1.0 / (squares / row.len() as f64 + f64::from(epsilon)).sqrt();
        for column in 0..row.len() {
            let (x, gate) = (f64::from(row[column]), f64::from(gate[column]));
            let gated = if gate == f64::NEG_INFINITY { 0.0 } else { gate / (1.0 + (-gate).exp()) };
            out.push((x * scale * f64::from(weight[column]) * gated) as f32);
        }
    }
    out
}
