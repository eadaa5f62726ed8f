//! What `attention` means, for one head at one position.

/// `keys` and `values` hold exactly the positions that are seen.
pub(super) fn attend(q: &[f32], keys: &[f32], values: &[f32], width: usize, scale: f32) -> Vec<f32> {
    let scores: Vec<f64> = keys
        .chunks(q.len())
        .map(|k| q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>() * f64::from(scale))
        .collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let column = |i: usize| {
        values.chunks(width).zip(&weights).map(|(v, weight)| weight / sum * f64::from(v[i])).sum::<f64>()
            as f32
    };
    (0..width).map(column).collect()
}
