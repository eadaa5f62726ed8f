//! Linear maps: a matrix, and a bias where the file has one; and several of one input, with what is around them.
//!
//! Where a card serves it, a norm, products, and what follows them are one op, `project`; on the CPU products
//! and what follows them are one, `matmul`. Elsewhere each is an op. Blocks do not know which.

use std::ops::Range;

use forebay_tensor::{
    Recorder, Tensor, Weight,
    ops::{
        Add, Gate, Project,
        gate::Gating,
        matmul,
        project::{Finish, Map},
    },
};

use super::{
    activations::{Activations, Input},
    norm::Norm,
};
use crate::{error::Result, formats::weights::Weights};

/// A matrix and perhaps a bias.
#[derive(Clone, Debug)]
pub struct Linear {
    pub(crate) weight: Weight,
    bias: Option<Tensor>,
}

impl From<Weight> for Linear {
    fn from(weight: Weight) -> Self {
        Self { weight, bias: None }
    }
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
        if x.finished(ops, self.part(), matmul::Finish::Store, out)? {
            return Ok(());
        }
        x.product(ops, &self.weight, out)?;
        match &self.bias {
            Some(bias) => Ok(ops.record(&Add { x: out, y: bias })?),
            None => Ok(()),
        }
    }
}

/// What maps are taken of.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// The hidden state, after a norm.
    Hidden(&'a Norm),
    /// `normed`, which was rounded for those maps that want it so.
    Normed,
}

/// Where the rows of a map go.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// They are added to the hidden state.
    Hidden,
    /// They are put there.
    Out(&'a Tensor),
}

impl Of<'_> {
    /// Records several maps of the same rows.
    ///
    /// # Errors
    /// Those of recording.
    pub fn maps(
        self,
        ops: &mut Recorder<'_, '_>,
        b: &Activations,
        maps: &[&Linear],
        out: &[&Tensor],
    ) -> Result<()> {
        let form = |map: &&&Linear| map.weight.dtype();
        let same = match b.normed.room() {
            Some(_) => maps.len(),
            None => maps.iter().take_while(|map| form(map) == form(&&maps[0])).count(),
        };
        let ((maps, others), (out, rest)) = (maps.split_at(same), out.split_at(same));
        if self.at_once(ops, b, maps, Finish::Store, out)? {
            // One launch of one row is of one format.
            return if others.is_empty() { Ok(()) } else { self.maps(ops, b, others, rest) };
        }
        let (maps, out) = (maps.iter().chain(others), out.iter().chain(rest));
        self.prepare(ops, b, maps.clone())?;
        maps.zip(out).try_for_each(|(map, out)| map.forward(ops, &b.normed, out))
    }

    /// Records two maps, of which one becomes the gate of the other: from there to `up`.
    ///
    /// # Errors
    /// Those of recording.
    pub fn gated(
        self,
        ops: &mut Recorder<'_, '_>,
        b: &Activations,
        [gate, up]: [&Linear; 2],
        gating: Gating,
    ) -> Result<()> {
        if self.at_once(ops, b, &[gate, up], Finish::Gate(gating), &[&b.up.floats])? {
            return Ok(());
        }
        if !self.at_once(ops, b, &[gate, up], Finish::Store, &[&b.gate, &b.up.floats])? {
            self.prepare(ops, b, [&gate, &up].into_iter())?;
            gate.forward(ops, &b.normed, &b.gate)?;
            if b.normed.finished(ops, up.part(), matmul::Finish::Gate(&b.gate, gating), &b.up.floats)? {
                return Ok(());
            }
            up.forward(ops, &b.normed, &b.up.floats)?;
        }
        Ok(ops.record(&Gate { gate: &b.gate, up: &b.up.floats, gating })?)
    }

    /// Makes `normed` what these maps want.
    fn prepare<'a>(
        self,
        ops: &mut Recorder<'_, '_>,
        b: &Activations,
        maps: impl Iterator<Item = &'a &'a Linear>,
    ) -> Result<()> {
        let Self::Hidden(norm) = self else { return Ok(()) };
        norm.forward(ops, &b.hidden, &b.normed.floats)?;
        b.normed.round_for(ops, maps.map(|map| map.weight.input()))
    }

    /// Records all as one op, if there is one.
    fn at_once(
        self,
        ops: &mut Recorder<'_, '_>,
        b: &Activations,
        maps: &[&Linear],
        finish: Finish,
        out: &[&Tensor],
    ) -> Result<bool> {
        let (x, norm) = match self {
            Self::Hidden(norm) => (&b.hidden, Some(norm.scaling())),
            Self::Normed => (&b.normed.floats, None),
        };
        let room = b.normed.room();
        if !b.normed.joins() || !Project::serves(x, room, maps.iter().map(|map| &map.weight)) {
            return Ok(false);
        }
        let maps: Vec<_> = maps.iter().map(|map| map.part()).collect();
        let op = Project { x, norm, maps: &maps, finish, out, room };
        Ok(ops.serve(&op) && ops.record(&op).map(|()| true)?)
    }
}

impl Linear {
    fn part(&self) -> Map<'_> {
        Map { weight: &self.weight, bias: self.bias.as_ref() }
    }

    /// Whether the product of what a block made is a launch of its own, without any before it.
    pub fn is_one_launch(&self, x: &Input) -> bool {
        x.joins() && x.room().is_none() && Project::serves(&x.floats, None, [&self.weight])
    }

    /// Records the product of what a block made, which is rounded for it if it wants it so.
    ///
    /// # Errors
    /// Those of recording.
    pub fn take(&self, ops: &mut Recorder<'_, '_>, b: &Activations, x: &Input, to: To<'_>) -> Result<()> {
        let (finish, out) = match to {
            To::Hidden => (Finish::Add, &b.hidden),
            To::Out(out) => (Finish::Store, out),
        };
        if x.joins() && Project::serves(&x.floats, x.room(), [&self.weight]) {
            let maps = [self.part()];
            let op = Project { x: &x.floats, norm: None, maps: &maps, finish, out: &[out], room: x.room() };
            if ops.serve(&op) {
                return Ok(ops.record(&op)?);
            }
        }
        x.round(ops, &[&self.weight])?;
        match to {
            To::Hidden if x.finished(ops, self.part(), matmul::Finish::Add, &b.hidden)? => Ok(()),
            To::Hidden => {
                self.forward(ops, x, &b.change)?;
                Ok(ops.record(&Add { x: &b.hidden, y: &b.change })?)
            }
            To::Out(out) => self.forward(ops, x, out),
        }
    }
}
