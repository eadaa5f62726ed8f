//! The buffers between the ops of a pass: made once for the longest pass, used by every layer of every pass.
//!
//! What a layer leaves in them, the next one overwrites; the order follows from the ranges that ops declare.

use forebay_device::{Device, Tag};
use forebay_tensor::{DType, Tensor, ops::Attention};

use super::Sizes;
use crate::error::Result;

/// Buffers for a number of rows.
#[derive(Clone, Debug)]
pub struct Activations {
    /// `[rows, width]`: the hidden state.
    pub hidden: Tensor,
    /// `[rows, width]`: the hidden state after a norm.
    pub normed: Tensor,
    /// `[rows, heads, head width]`.
    pub queries: Tensor,
    /// `[rows, kv heads, head width]`.
    pub keys: Tensor,
    /// `[rows, kv heads, value width]`.
    pub values: Tensor,
    /// `[rows, heads, value width]`: what attention gives.
    pub attended: Tensor,
    /// Room for attention to work in parts where rows are few.
    pub parts: Tensor,
    /// `[rows, width]`: what a block adds to the hidden state.
    pub change: Tensor,
    /// `[rows, ffn width]`.
    pub gate: Tensor,
    /// `[rows, ffn width]`.
    pub up: Tensor,
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
        let buffer = |label: &'static str, shape: &[usize]| -> Result<Tensor> {
            let request = Tensor::request(DType::F32, shape)?.tag(Tag::Activations).label(label);
            Ok(Tensor::of(DType::F32, shape, device.alloc(request)?)?)
        };
        Ok(Self {
            hidden: buffer("hidden", &[rows, sizes.width])?,
            normed: buffer("normed", &[rows, sizes.width])?,
            queries: buffer("queries", &[rows, sizes.heads, sizes.head_width])?,
            keys: buffer("keys", &[rows, sizes.kv_heads, sizes.head_width])?,
            values: buffer("values", &[rows, sizes.kv_heads, sizes.value_width])?,
            attended: buffer("attended", &[rows, sizes.heads, sizes.value_width])?,
            parts: buffer("parts", &[Attention::parts(rows, sizes.heads, sizes.value_width, context)])?,
            change: buffer("change", &[rows, sizes.width])?,
            gate: buffer("gate", &[rows, sizes.ffn_width])?,
            up: buffer("up", &[rows, sizes.ffn_width])?,
            logits: buffer("logits", &[logit_rows, sizes.vocabulary])?,
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
            normed: first(&self.normed)?,
            queries: first(&self.queries)?,
            keys: first(&self.keys)?,
            values: first(&self.values)?,
            attended: first(&self.attended)?,
            parts: self.parts.clone(),
            change: first(&self.change)?,
            gate: first(&self.gate)?,
            up: first(&self.up)?,
            logits: self.logits.narrow(0, 0..logit_rows)?,
        })
    }
}
