//! What `angles` means.

/// `positions` has one number for each pair.
pub(super) fn angles(positions: &[u32], frequencies: &[f32], magnitude: f32) -> Vec<f32> {
    let angle = |j: usize| f64::from(positions[j]) * f64::from(frequencies[j]);
    let cosines = (0..frequencies.len()).map(|j| (f64::from(magnitude) * angle(j).cos()) as f32);
    let sines = (0..frequencies.len()).map(|j| (f64::from(magnitude) * angle(j).sin()) as f32);
    cosines.chain(sines).collect()
}
