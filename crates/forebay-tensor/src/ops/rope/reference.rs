//! What `rope` means.

use super::Pairs;

/// One head at one position.
pub(super) fn rotate(head: &[f32], position: u32, frequencies: &[f32], pairs: Pairs) -> Vec<f32> {
    let mut out = head.to_vec();
    for (i, &frequency) in frequencies.iter().enumerate() {
        let (a, b) = match pairs {
            Pairs::Interleaved => (2 * i, 2 * i + 1),
            Pairs::HalfSplit => (i, i + frequencies.len()),
        };
        let angle = f64::from(position) * f64::from(frequency);
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        out[a] = (x * angle.cos() - y * angle.sin()) as f32;
        out[b] = (x * angle.sin() + y * angle.cos()) as f32;
    }
    out
}
