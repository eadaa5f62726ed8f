//! A linear map: a matrix, and a bias where the file has one.

use std::ops::Range;

use forebay_tensor::{Recorder, Tensor, Weight, ops::Add};

use super::activations::Input;
use crate::{error::Result, formats::weights::Weights};

/// A matrix and perhaps a bias.
#[derive(Clone, Debug)]
pub struct Linear {
    pub(crate) weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes a matrix of `[rows, width]`, and its bias if there is one.
    ///
    /// # Errors
    /// Those of [`Weights::take_weight`].
    pub fn load(weights: &mut Weights, name: &str, shape: [usize; 2]) -> Result<Self> {
        Self::load_rows(weights, name, shape, 0..shape[0])
    }

    /// Takes some rows of a matrix that is several in one, and of its bias.
    ///
    /// # Errors
    /// Those of [`Weights::take_rows`].
    pub fn load_rows(
        weights: &mut Weights,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<Self> {
        let bias = format!("{name}.bias");
        let bias = match weights.has(&bias) {
            true => Some(weights.take_f32(&bias, &shape[..1])?.narrow(0, rows.clone())?),
            false => None,
        };
        Ok(Self { weight: weights.take_rows(&format!("{name}.weight"), shape, rows)?, bias })
    }

    /// Records the product of rows that were rounded for it, if it wants them rounded.
    ///
    /// # Errors
    /// Those of recording.
    pub fn forward(&self, ops: &mut Recorder<'_, '_>, x: &Input, out: &Tensor) -> Result<()> {
        x.product(ops, &self.weight, out)?;
        match &self.bias {
            Some(bias) => Ok(ops.record(&Add { x: out, y: bias })?),
            None => Ok(()),
        }
    }
}
