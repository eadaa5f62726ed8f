//! A norm of rows by their root mean square, with a weight for each column.

use forebay_tensor::{
    Recorder, Tensor,
    ops::{RmsNorm, project::Scaling},
};

use crate::{error::Result, formats::weights::Weights};

/// The weight of a norm.
#[derive(Clone, Debug)]
pub struct Norm {
    weight: Tensor,
    epsilon: f32,
}

impl Norm {
    /// Takes the weight of so many columns.
    ///
    /// # Errors
    /// Those of [`Weights::take_f32`].
    pub fn load(weights: &mut Weights, name: &str, width: usize, epsilon: f32) -> Result<Self> {
        Ok(Self { weight: weights.take_f32(&format!("{name}.weight"), &[width])?, epsilon })
    }

    /// The same as part of another op.
    pub(crate) fn scaling(&self) -> Scaling<'_> {
        Scaling { weight: &self.weight, epsilon: self.epsilon }
    }

    /// Records the norm of `x` into `out`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, x: &Tensor, out: &Tensor) -> Result<()> {
        let Self { weight, epsilon } = self;
        Ok(ops.record(&RmsNorm { x, weight: Some(weight), epsilon: *epsilon, out: Some(out) })?)
    }

    /// Records the norm of `x` in place, of each head where it has heads.
    ///
    /// # Errors
    /// Those of recording.
    pub fn in_place(&self, ops: &mut Recorder<'_, '_>, x: &Tensor) -> Result<()> {
        let Self { weight, epsilon } = self;
        Ok(ops.record(&RmsNorm { x, weight: Some(weight), epsilon: *epsilon, out: None })?)
    }
}
