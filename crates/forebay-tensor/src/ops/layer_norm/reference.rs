//! What `layer_norm` means.

/// Without a weight all columns weigh 1; without a bias nothing is added.
pub(super) fn layer_norm(
    x: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    epsilon: f32,
) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(width.max(1)) {
        let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
        for (column, x) in row.iter().enumerate() {
            let weight = weight.map_or(1.0, |weight| f64::from(weight[column]));
            let bias = bias.map_or(0.0, |bias| f64::from(bias[column]));
            out.push(((x - mean) / (variance + f64::from(epsilon)).sqrt() * weight + bias) as f32);
        }
    }
    out
}
