//! What `softcap` means.

pub(super) fn softcap(x: &[f32], cap: f32) -> Vec<f32> {
    let cap = f64::from(cap);
    x.iter().map(|&x| (cap * (f64::from(x) / cap).tanh()) as f32).collect()
}
