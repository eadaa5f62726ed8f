//! What `project` means.

use super::{Finish, Gating};
use crate::ops::{gate, rms_norm};

/// The row as it is multiplied, before it is rounded.
pub(super) fn row(x: &[f32], norm: Option<(&[f32], f32)>) -> Vec<f32> {
    match norm {
        Some((weight, epsilon)) => rms_norm::reference::rms_norm(x, x.len(), Some(weight), epsilon),
        None => x.to_vec(),
    }
}

/// The product of a row with a weight, and a bias.
pub(super) fn product(weight: &[f32], x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let rows = weight.chunks(x.len()).enumerate();
    rows.map(|(row, weight)| {
        let sum: f64 = weight.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        (sum + bias.map_or(0.0, |bias| f64::from(bias[row]))) as f32
    })
    .collect()
}

/// What becomes of the products.
pub(super) fn finish(products: &[Vec<f32>], before: &[Vec<f32>], finish: Finish) -> Vec<Vec<f32>> {
    let add = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    match (finish, products) {
        (Finish::Add, _) => products.iter().zip(before).map(add).collect(),
        (Finish::Gate(gating), [first, second]) => vec![gated(first, second, gating)],
        _ => products.to_vec(),
    }
}

fn gated(gate: &[f32], up: &[f32], gating: Gating) -> Vec<f32> {
    gate.iter().zip(up).map(|(gate, up)| gate::reference::gate(*gate, *up, gating)).collect()
}
