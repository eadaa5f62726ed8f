//! The buffers between the ops of a pass: made once for the longest pass, used by every layer of every pass.
//!
//! What a layer leaves in them, the next one overwrites; the order follows from the ranges that ops declare.

use forebay_device::{Device, Tag};
use forebay_tensor::{
    DType, Recorder, Tensor, Weight,
    ops::{Attention, Round},
};

use super::Sizes;
use crate::error::Result;

/// Rows that weights multiply: floats, and room for their rounded form, which serves all weights that read them.
#[derive(Clone, Debug)]
pub struct Input {
    /// f32, `[rows, width]`.
    pub floats: Tensor,
    /// `[rows, width]`; none where no weight of this width can ask for it.
    rounded: Option<Tensor>,
}

impl Input {
    fn new(device: &Device, label: &'static str, rows: usize, width: usize) -> Result<Self> {
        let tensor = |dtype| buffer(device, dtype, label, &[rows, width]);
        let blocks = width.is_multiple_of(DType::Rounded.block_elements());
        let rounded = if blocks { Some(tensor(DType::Rounded)?) } else { None };
        Ok(Self { floats: tensor(DType::F32)?, rounded })
    }

    /// Some of the rows.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if there are not so many rows.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Result<Self> {
        let rounded = self.rounded.as_ref().map(|rounded| rounded.narrow(0, rows.clone())).transpose()?;
        Ok(Self { floats: self.floats.narrow(0, rows)?, rounded })
    }

    /// Rounds the floats, if one of these weights wants them so.
    ///
    /// # Errors
    /// Those of recording.
    pub fn round(&self, ops: &mut Recorder<'_, '_>, weights: &[&Weight]) -> Result<()> {
        match &self.rounded {
            Some(out) if weights.iter().any(|weight| weight.input() == DType::Rounded) => {
                Ok(ops.record(&Round { x: &self.floats, out })?)
            }
            _ => Ok(()),
        }
    }

    /// The form that a weight multiplies.
    pub fn of(&self, weight: &Weight) -> &Tensor {
        match &self.rounded {
            Some(rounded) if weight.input() == DType::Rounded => rounded,
            _ => &self.floats,
        }
    }
}

fn buffer(device: &Device, dtype: DType, label: &'static str, shape: &[usize]) -> Result<Tensor> {
    let request = Tensor::request(dtype, shape)?.tag(Tag::Activations).label(label);
    Ok(Tensor::of(dtype, shape, device.alloc(request)?)?)
}

/// Buffers for a number of rows.
#[derive(Clone, Debug)]
pub struct Activations {
    /// `[rows, width]`: the hidden state.
    pub hidden: Tensor,
    /// `[rows, width]`: the hidden state after a norm.
    pub normed: Input,
    /// `[rows, 2, pairs]`: by how much positions turn.
    pub angles: Tensor,
    /// `[rows, heads, head width]`.
    pub queries: Tensor,
    /// `[rows, kv heads, head width]`.
    pub keys: Tensor,
    /// `[rows, kv heads, value width]`.
    pub values: Tensor,
    /// `[rows, heads * value width]`: what attention gives.
    pub attended: Input,
    /// Room for attention to work in parts where rows are few.
    pub parts: Tensor,
    /// `[rows, width]`: what a block adds to the hidden state.
    pub change: Tensor,
    /// `[rows, ffn width]`.
    pub gate: Tensor,
    /// `[rows, ffn width]`.
    pub up: Input,
    /// `[logit rows, vocabulary]`: of the last rows.
    pub logits: Tensor,
}

impl Activations {
    /// Buffers for passes of at most so many rows over a cache of `context` positions; the last rows give logits.
    ///
    /// # Errors
    /// What the device says.
    pub fn new(
        device: &Device,
        sizes: &Sizes,
        context: usize,
        rows: usize,
        logit_rows: usize,
    ) -> Result<Self> {
        let Sizes { width, heads, kv_heads, head_width, value_width, ffn_width, vocabulary, .. } = *sizes;
        let tensor = |label, shape: &[usize]| buffer(device, DType::F32, label, shape);
        let input = |label, width| Input::new(device, label, rows, width);
        Ok(Self {
            hidden: tensor("hidden", &[rows, width])?,
            normed: input("normed", width)?,
            angles: tensor("angles", &[rows, 2, sizes.rotated / 2])?,
            queries: tensor("queries", &[rows, heads, head_width])?,
            keys: tensor("keys", &[rows, kv_heads, head_width])?,
            values: tensor("values", &[rows, kv_heads, value_width])?,
            attended: input("attended", heads * value_width)?,
            parts: tensor("parts", &[Attention::parts(rows, heads, value_width, context)])?,
            change: tensor("change", &[rows, width])?,
            gate: tensor("gate", &[rows, ffn_width])?,
            up: input("up", ffn_width)?,
            logits: tensor("logits", &[logit_rows, vocabulary])?,
        })
    }

    /// Rows there are.
    pub fn rows(&self) -> usize {
        self.hidden.shape()[0]
    }

    /// The same buffers for a shorter pass.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if there are not so many rows.
    pub fn first(&self, rows: usize, logit_rows: usize) -> Result<Self> {
        let first = |tensor: &Tensor| tensor.narrow(0, 0..rows);
        Ok(Self {
            hidden: first(&self.hidden)?,
            normed: self.normed.rows(0..rows)?,
            angles: first(&self.angles)?,
            queries: first(&self.queries)?,
            keys: first(&self.keys)?,
            values: first(&self.values)?,
            attended: self.attended.rows(0..rows)?,
            parts: self.parts.clone(),
            change: first(&self.change)?,
            gate: first(&self.gate)?,
            up: self.up.rows(0..rows)?,
            logits: self.logits.narrow(0, 0..logit_rows)?,
        })
    }
}
