//! What `causal_conv` means.

/// The output, and the state that is left.
pub(super) fn convolve(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    state: &[f32],
    [channels, taps]: [usize; 2],
) -> (Vec<f64>, Vec<f32>) {
    let input: Vec<f32> = state.iter().chain(x).copied().collect();
    let mut out = Vec::new();
    for time in 0..x.len().checked_div(channels).unwrap_or(0) {
        for channel in 0..channels {
            let tap = |j: usize| {
                f64::from(weight[channel * taps + j]) * f64::from(input[(time + j) * channels + channel])
            };
            out.push((0..taps).map(tap).sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[channel])));
        }
    }
    (out, input[input.len() - state.len()..].to_vec())
}
