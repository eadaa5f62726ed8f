//! What a recorded op comes to: its launches, and the bytes of memory that each has to move.
//!
//! What a launch may touch is what it declares. Where an op touches less than that, as a look into a table does, it says so
//! itself ([`Op::extents`](crate::Op::extents)). Next room: `registry`, whose recorder notes ops.

use std::sync::Arc;

use forebay_device::{Access, Buffer, Label, NotedLaunch, Stage, Tag, Touched};

use crate::Tensor;

/// An op as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The op; `copy or fill` where there is none.
    pub op: &'static str,
    /// The kernel; the first one, if several run one after another.
    pub kernel: String,
    /// What was recorded for it.
    pub launches: Vec<Launched>,
}

/// A launch of an op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// The kernel.
    pub kernel: Arc<str>,
    /// The names of the weights that it reads.
    pub weights: Vec<Label>,
    /// What it moves.
    pub traffic: Traffic,
}

/// Bytes that are read and written, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Of weights.
    pub weights: u64,
    /// Of what layers keep of positions.
    pub caches: u64,
    /// Of all else, which is rows of activations.
    pub rows: u64,
}

impl Traffic {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.weights + self.caches + self.rows
    }
}

/// What an op knows of a buffer that its launches do not say.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// All that launches may touch.
    pub(crate) buffer: &'a Buffer,
    /// The name of the weight that lies there.
    pub(crate) weight: Option<&'a Label>,
    /// How many bytes are moved of it, whichever way.
    pub(crate) bytes: u64,
}

impl<'a> Extent<'a> {
    /// A weight that is read as a whole.
    pub(crate) fn weight(buffer: &'a Buffer, name: &'a Label) -> Self {
        Self { buffer, weight: Some(name), bytes: buffer.len() }
    }

    /// A buffer of so many like parts, of which only some are touched.
    pub(crate) fn share(buffer: &'a Buffer, some: usize, all: usize) -> Self {
        let bytes = u128::from(buffer.len()) * some.min(all) as u128 / all.max(1) as u128;
        Self { buffer, weight: None, bytes: bytes as u64 }
    }

    /// So many rows of the last axis of a cache.
    pub(crate) fn slots(cache: &'a Tensor, some: usize) -> Self {
        let outer = cache.shape().split_last().map_or(&[][..], |(_, outer)| outer);
        Self::share(cache.buffer(), some, outer.iter().product())
    }

    /// The same of a weight.
    pub(crate) fn named(self, name: &'a Label) -> Self {
        Self { weight: Some(name), ..self }
    }
}

impl Note {
    /// What an op recorded, of which the stage has just noted these launches.
    pub(crate) fn new(
        op: &'static str,
        kernel: String,
        launches: Vec<NotedLaunch>,
        extents: &[Extent<'_>],
    ) -> Self {
        Self { op, kernel, launches: launches.into_iter().map(|launch| of(launch, extents)).collect() }
    }

    /// Notes what was recorded into a stage beside ops since the last note of it.
    pub fn rest(stage: &mut Stage<'_>, notes: &mut Vec<Self>) {
        for launch in stage.take_noted() {
            let kernel = launch.kernel.to_string();
            notes.push(Self::new("copy or fill", kernel, vec![launch], &[]));
        }
    }
}

fn of(launch: NotedLaunch, extents: &[Extent<'_>]) -> Launched {
    let (mut traffic, mut weights) = (Traffic::default(), Vec::new());
    for touched in &launch.touched {
        let extent = extents.iter().find(|extent| touched.is(extent.buffer));
        let name = extent.and_then(|extent| extent.weight);
        weights.extend(name.cloned());
        let bytes = extent.map_or(ways(touched) * touched.len(), |extent| extent.bytes);
        match touched.tag {
            _ if name.is_some() => traffic.weights += bytes,
            Tag::Weights => traffic.weights += bytes,
            Tag::Kv => traffic.caches += bytes,
            _ => traffic.rows += bytes,
        }
    }
    Launched { kernel: launch.kernel, weights, traffic }
}

/// How often bytes cross the bus.
fn ways(touched: &Touched) -> u64 {
    if touched.access == Access::ReadWrite { 2 } else { 1 }
}
