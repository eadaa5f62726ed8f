//! What `matmul` means.

use crate::ops::gate::{self, Gating};

pub(super) fn matmul(weight: &[f32], x: &[f32], width: usize) -> Vec<f32> {
    let product = |w: &[f32], x: &[f32]| {
        w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>() as f32
    };
    x.chunks(width).flat_map(|x| weight.chunks(width).map(move |w| product(w, x))).collect()
}

/// Products with a bias for each row of the weight.
pub(super) fn biased(products: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    match bias {
        Some(bias) => products.iter().zip(bias.iter().cycle()).map(|(x, bias)| x + bias).collect(),
        None => products.to_vec(),
    }
}

/// Products that are added to what is there.
pub(super) fn added(products: &[f32], before: &[f32]) -> Vec<f32> {
    products.iter().zip(before).map(|(x, before)| x + before).collect()
}

/// Products that have a gate.
pub(super) fn gated(products: &[f32], gates: &[f32], gating: Gating) -> Vec<f32> {
    gates.iter().zip(products).map(|(gate, up)| gate::reference::gate(*gate, *up, gating)).collect()
}
