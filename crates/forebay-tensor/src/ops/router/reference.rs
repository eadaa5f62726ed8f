//! What `router` means.

use super::Score;

/// The experts of one row and their weights.
pub(super) fn route(
    logits: &[f32],
    bias: Option<&[f32]>,
    k: usize,
    (score, renormalise, scale): (Score, bool, f32),
) -> (Vec<u32>, Vec<f32>) {
    let logits: Vec<f64> = logits.iter().map(|&x| x.into()).collect();
    let scores = match score {
        Score::Softmax => softmax(&logits),
        Score::Sigmoid => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
        Score::SoftmaxOfChosen => logits.clone(),
    };
    let choice = |i: usize| scores[i] + bias.map_or(0.0, |bias| f64::from(bias[i]));
    let mut order: Vec<usize> = (0..logits.len()).filter(|&i| !choice(i).is_nan()).collect();
    // A stable sort leaves equal ones in the order of their numbers.
    order.sort_by(|&a, &b| choice(b).total_cmp(&choice(a)));
    order.extend((0..logits.len()).filter(|&i| choice(i).is_nan()));
    order.truncate(k);
    let mut weights: Vec<f64> = order.iter().map(|&i| scores[i]).collect();
    if score == Score::SoftmaxOfChosen {
        weights = softmax(&weights);
    }
    let sum: f64 = if renormalise { weights.iter().sum() } else { 1.0 };
    let weights = weights.iter().map(|x| (x / sum * f64::from(scale)) as f32).collect();
    (order.iter().map(|&i| i as u32).collect(), weights)
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - most).exp()).sum();
    x.iter().map(|x| (x - most).exp() / sum).collect()
}
