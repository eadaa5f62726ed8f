//! What `rope` means.

use super::Pairs;

/// One head at one position: pair `i` is turned as a point of the plane is.
pub(crate) fn rotate(head: &[f32], cosines: &[f32], sines: &[f32], pairs: Pairs) -> Vec<f32> {
    let mut out = head.to_vec();
    for i in 0..cosines.len() {
        let (a, b) = match pairs {
            Pairs::Interleaved => (2 * i, 2 * i + 1),
            Pairs::HalfSplit => (i, i + cosines.len()),
        };
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        let (cosine, sine) = (f64::from(cosines[i]), f64::from(sines[i]));
        out[a] = (x * cosine - y * sine) as f32;
        out[b] = (x * sine + y * cosine) as f32;
    }
    out
}
