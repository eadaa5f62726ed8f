//! What `sample` means.

/// The candidates of a row and their probabilities.
pub(super) fn chances(values: &[f32], temperature: f32, top_p: f32, min_p: f32) -> Vec<f64> {
    let softmax = |values: &[f64]| {
        let sum: f64 = values.iter().map(|x| (x - values[0]).exp()).sum();
        values.iter().map(|x| (x - values[0]).exp() / sum).collect::<Vec<_>>()
    };
    let mut values: Vec<f64> = values.iter().map(|&x| x.into()).filter(|x: &f64| !x.is_nan()).collect();
    if values.is_empty() {
        return vec![1.0];
    }
    if values[0].is_infinite() {
        let first = values[0];
        let count = values.iter().filter(|x| **x == first).count();
        values = vec![0.0; count];
    }
    let likely = softmax(&values);
    let mut keep = if top_p == 1.0 { likely.len() } else { 1 };
    while keep < likely.len() && likely[..keep].iter().sum::<f64>() < f64::from(top_p) {
        keep += 1;
    }
    values.truncate(keep);
    let likely = softmax(&values);
    let least = f64::from(min_p) * likely[0];
    values.truncate(likely.iter().filter(|p| **p >= least && **p > 0.0).count().max(1));
    if temperature == 0.0 {
        return vec![1.0];
    }
    softmax(&values.iter().map(|x| x / f64::from(temperature)).collect::<Vec<_>>())
}
