//! What `sample` means.

use super::Draw;

/// The candidates of a row and their probabilities; none if there are none.
pub(super) fn chances(values: &[f32], draw: &Draw) -> Vec<f64> {
    let softmax = |values: &[f64]| {
        let sum: f64 = values.iter().map(|x| (x - values[0]).exp()).sum();
        values.iter().map(|x| (x - values[0]).exp() / sum).collect::<Vec<_>>()
    };
    let keep = if draw.keep == 0 { values.len() } else { draw.keep as usize };
    let kept = values.iter().take(keep).map(|&x| f64::from(x));
    let mut values: Vec<f64> = kept.take_while(|x| !x.is_nan() && *x != f64::NEG_INFINITY).collect();
    if values.is_empty() {
        return Vec::new();
    }
    if values[0].is_infinite() {
        let first = values[0];
        let count = values.iter().filter(|x| **x == first).count();
        values = vec![0.0; count];
    }
    let likely = softmax(&values);
    let mut keep = if draw.top_p < 1.0 { 1 } else { likely.len() };
    while keep < likely.len() && likely[..keep].iter().sum::<f64>() < f64::from(draw.top_p) {
        keep += 1;
    }
    values.truncate(keep);
    let likely = softmax(&values);
    let least = f64::from(draw.min_p) * likely[0];
    values.truncate(likely.iter().filter(|p| **p >= least && **p > 0.0).count().max(1));
    if draw.temperature == 0.0 {
        return vec![1.0];
    }
    softmax(&values.iter().map(|x| x / f64::from(draw.temperature)).collect::<Vec<_>>())
}

/// The candidates that a number may fall upon: one, or two where it lies between them.
pub(super) fn drawn(chances: &[f64], number: f64) -> Vec<usize> {
    let mut before = 0.0;
    let mut found = Vec::new();
    for (i, chance) in chances.iter().enumerate() {
        let (from, to) = (before - 1e-9, before + chance + 1e-9);
        if (from..to).contains(&number) {
            found.push(i);
        }
        before += chance;
    }
    found
}
