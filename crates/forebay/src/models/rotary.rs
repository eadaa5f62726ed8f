//! Rotary positions: how far each pair of columns turns with every position.
//!
//! A [`Rotation`] is numbers that a file says; a [`Rotary`] has them on a device, one for each leg of a model.

use forebay_tensor::{
    Recorder, Tensor,
    ops::{
        Angles, Rope,
        angles::{Frequencies, Scaling},
        rope::Pairs,
    },
};

use super::{Pass, Sizes, keys::Keys};
use crate::{error::Result, formats::weights::Weights};

/// A factor for each pair.
const FACTORS: &str = "rope_freqs.weight";
/// A factor for each pair, for texts no longer than the model was first made for.
const SHORT: &str = "rope_factors_short.weight";

/// The same for all layers that share a base.
#[derive(Clone, Debug)]
pub struct Rotation {
    radians: Vec<f32>,
    magnitude: f32,
    pairs: Pairs,
}

/// A rotation on a device.
#[derive(Debug)]
pub struct Rotary {
    frequencies: Tensor,
    magnitude: f32,
    pairs: Pairs,
}

impl Rotation {
    /// Positions of a base, stretched by no more than a scaling says.
    pub fn new(base: f32, rotated: usize, scaling: &Scaling, pairs: Pairs) -> Self {
        let Frequencies { radians, magnitude } = Frequencies::new(base, rotated, scaling);
        Self { radians, magnitude, pairs }
    }

    /// Positions as a file's metadata says: a base, and perhaps a way to stretch it. `pairs` are those of GGUF files; where
    /// the metadata comes from a folder, it may say otherwise.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a scaling that is not known.
    pub(crate) fn load(weights: &mut Weights, family: &str, sizes: &Sizes, pairs: Pairs) -> Result<Self> {
        let keys = Keys::new(weights.metadata(), family);
        let pairs = match keys.find("rope.half_split")? {
            Some(true) => Pairs::HalfSplit,
            _ => pairs,
        };
        let base = keys.find("rope.freq_base")?.unwrap_or(10_000.0);
        let magnitude: Option<f32> = keys.find("rope.scaling.attn_factor")?;
        let scaling = match keys.find::<&str>("rope.scaling.type")? {
            None | Some("none") => Scaling::None,
            Some("linear") => Scaling::Linear(keys.get("rope.scaling.factor")?),
            Some("yarn") => Scaling::Ramp {
                factor: keys.get("rope.scaling.factor")?,
                fast: keys.find("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                slow: keys.find("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                context: keys.size("rope.scaling.original_context_length")?,
                truncate: keys.find("rope.scaling.yarn_truncate")?.unwrap_or(true),
            },
            // Its factors are in a tensor of the file.
            Some("longrope") if weights.has(SHORT) => Scaling::None,
            Some(other) => return Err(keys.unsupported(format!("rope scaling {other:?}"))),
        };
        let scaling = match [FACTORS, SHORT].into_iter().find(|name| weights.has(name)) {
            Some(name) => Scaling::Factors(weights.take_numbers(name, &[sizes.rotated / 2])?),
            None => scaling,
        };
        let rotation = Self::new(base, sizes.rotated, &scaling, pairs);
        Ok(Self { magnitude: rotation.magnitude * magnitude.unwrap_or(1.0), ..rotation })
    }

    /// The same on the device that weights go to.
    ///
    /// # Errors
    /// What the device says.
    pub fn on(&self, weights: &Weights) -> Result<Rotary> {
        let Self { radians, magnitude, pairs } = self;
        Ok(Rotary { frequencies: weights.put(radians)?, magnitude: *magnitude, pairs: *pairs })
    }
}

impl Rotary {
    /// Records the angles of a pass, for all layers up to the next angles.
    ///
    /// # Errors
    /// Those of recording.
    pub fn angles(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>) -> Result<()> {
        let angles = Angles::new(pass.positions, &self.frequencies, &pass.buffers.angles);
        Ok(ops.record(&Angles { magnitude: self.magnitude, ..angles })?)
    }

    /// Which columns turn together.
    pub(crate) fn pairs(&self) -> Pairs {
        self.pairs
    }

    /// Records the turn of heads by the angles of the pass.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, pass: &Pass<'_>, x: &Tensor) -> Result<()> {
        Ok(ops.record(&Rope { x, angles: &pass.buffers.angles, pairs: self.pairs })?)
    }
}
