//! What `gate` means.

use super::Gating;
use crate::ops::activate;

pub(crate) fn gate(gate: f32, up: f32, gating: Gating) -> f32 {
    let (gate, up) = (f64::from(gate), f64::from(up));
    let product = match gating {
        Gating::Curve(curve) => activate::reference::curve(curve, gate) * up,
        _ if gate.is_nan() || up.is_nan() => f64::NAN,
        Gating::Clamped { .. } if gate == f64::NEG_INFINITY => 0.0,
        Gating::Clamped { alpha, limit } => {
            let limit = f64::from(limit);
            let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
            gate / (1.0 + (-f64::from(alpha) * gate).exp()) * (up + 1.0)
        }
    };
    product as f32
}
