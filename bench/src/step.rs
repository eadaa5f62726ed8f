//! The buffers of one decoding step, as sizes: a dense model of eight billion weights, one token, numbers of 32 bits.

/// Buffers of a step.
pub const BUFFERS: usize = 1750;

/// Bytes of each buffer in the order in which a step asks for them: 36 layers of width 4096, then the logits.
pub fn bytes() -> Vec<u64> {
    const LAYER: [u64; 16] =
        [4096, 4096, 1024, 1024, 4096, 128, 4096, 4096, 12288, 12288, 12288, 4096, 16384, 4096, 64, 4096];
    let layers = LAYER.iter().cycle().take(BUFFERS - 1);
    layers.chain(&[151_936]).map(|elements| elements * 4).collect()
}
