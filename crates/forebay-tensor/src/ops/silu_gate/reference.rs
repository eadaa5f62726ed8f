//! What `silu_gate` means.

pub(super) fn silu_gate(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    gate.iter().zip(up).map(|(&gate, &up)| (silu(gate.into()) * f64::from(up)) as f32).collect()
}
