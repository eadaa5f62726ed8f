//! What `attention` means, for one head at one position.

/// What is the same for every head.
pub(in crate::ops) struct Numbers {
    pub(in crate::ops) scale: f32,
    pub(in crate::ops) softcap: Option<f32>,
}

/// `keys` and `values` are those of the positions that are seen, in any order.
pub(in crate::ops) fn attend(
    q: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    sink: Option<f32>,
    numbers: &Numbers,
) -> Vec<f32> {
    let score = |key: &[f32]| {
        let product: f64 = q.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
        let score = product * f64::from(numbers.scale);
        match numbers.softcap.map(f64::from) {
            Some(cap) => cap * (score / cap).tanh(),
            None => score,
        }
    };
    let scores: Vec<f64> = keys.iter().map(|key| score(key)).collect();
    // The sink takes part in the softmax and has a value of zero.
    let all = scores.iter().copied().chain(sink.map(f64::from));
    let most = all.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = all.map(|score| (score - most).exp()).sum();
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp() / sum).collect();
    let column =
        |i: usize| values.iter().zip(&weights).map(|(v, weight)| weight * f64::from(v[i])).sum::<f64>();
    (0..values.first().map_or(0, |value| value.len())).map(|i| column(i) as f32).collect()
}
