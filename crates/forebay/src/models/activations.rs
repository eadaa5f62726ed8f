//! The buffers between the ops of a pass: made once for the longest pass, used by every layer of every pass.
//!
//! What a layer leaves in them, the next one overwrites; the order follows from the ranges that ops declare.

use std::sync::Arc;

use forebay_device::{BackendKind, Device, Tag};
use forebay_tensor::{
    DType, Recorder, Tensor, Weight,
    ops::{Add, Attention, Copy, Matmul, Round, RoutedMatmul, matmul::Finish, project::Map, recall},
};

use super::{Sizes, delta::DeltaSizes, moe::ExpertSizes, witness::Witness};
use crate::error::{Error, Result};

/// Rows that weights multiply: floats, and room for their rounded form, which serves all weights that read them.
#[derive(Clone, Debug)]
pub struct Input {
    /// f32; the last axis is the width.
    pub floats: Tensor,
    /// Of the same shape, or of twice as many rows where they are rounded twice; none where no weight of this width can ask for it.
    rounded: Option<Tensor>,
    rooms: Rooms,
    /// Who wants to see what weights are multiplied with.
    witness: Option<Arc<Witness>>,
}

/// Room that products of all inputs share.
#[derive(Clone, Debug)]
struct Rooms {
    /// Where rows are rounded twice, for the products with both.
    products: Option<Tensor>,
    /// Where the device can make use of it, for the preparation of many rows and of their weight.
    prepared: Option<Tensor>,
}

impl Rooms {
    /// Elements of the room that products of so many rows can make use of.
    fn prepared(device: &Device, sizes: &Sizes, rows: usize) -> usize {
        let multiplied = if sizes.rounded_twice { 2 * rows } else { rows };
        sizes.matrices().map(|shape| Matmul::room(device, multiplied, shape)).into_iter().max().unwrap_or(0)
    }

    fn new(device: &Device, sizes: &Sizes, rows: usize, logit_rows: usize) -> Result<Self> {
        let most = (2 * rows * sizes.widest()).max(2 * logit_rows * sizes.vocabulary);
        let products =
            sizes.rounded_twice.then(|| buffer(device, DType::F32, "products", &[most])).transpose()?;
        let most = Self::prepared(device, sizes, rows);
        let prepared = (most > 0).then(|| buffer(device, DType::F16, "prepared", &[most]));
        Ok(Self { products, prepared: prepared.transpose()? })
    }
}

impl Input {
    fn new(device: &Device, label: &'static str, rows: usize, width: usize, rooms: &Rooms) -> Result<Self> {
        let times = if rooms.products.is_some() { 2 } else { 1 };
        Self::of_shapes(device, label, [&[rows, width], &[times * rows, width]], rooms)
    }

    /// Floats of one shape, and their rounded form of another.
    fn of_shapes(
        device: &Device,
        label: &'static str,
        [floats, rounded]: [&[usize]; 2],
        rooms: &Rooms,
    ) -> Result<Self> {
        let blocks = floats.last().is_some_and(|width| width.is_multiple_of(DType::Rounded.block_elements()));
        let rounded = match blocks {
            true => Some(buffer(device, DType::Rounded, label, rounded)?),
            false => None,
        };
        let floats = buffer(device, DType::F32, label, floats)?;
        Ok(Self { floats, rounded, rooms: rooms.clone(), witness: None })
    }

    /// The same, and whatever is multiplied with it is seen.
    fn witnessed(mut self, witness: &Arc<Witness>) -> Self {
        self.witness = Some(witness.clone());
        self
    }

    /// Whether what is around its products may be one op with them: rows are rounded once, and nobody looks at them.
    pub fn joins(&self) -> bool {
        self.rooms.products.is_none() && self.witness.is_none()
    }

    /// Room to prepare several rows in, where the device can make use of it.
    pub fn room(&self) -> Option<&Tensor> {
        self.rooms.prepared.as_ref().filter(|_| self.floats.shape()[0] > 1)
    }

    /// Some of the rows.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there are not so many rows.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Result<Self> {
        let times = match &self.rounded {
            Some(rounded) => rounded.shape()[0] / self.floats.shape()[0].max(1),
            None => 1,
        };
        // Both roundings of a row are made anew for every use, so that any rows of the room do.
        let room = times * rows.start..times * rows.end;
        let rounded = self.rounded.as_ref().map(|rounded| rounded.narrow(0, room)).transpose()?;
        let floats = self.floats.narrow(0, rows)?;
        Ok(Self { floats, rounded, rooms: self.rooms.clone(), witness: self.witness.clone() })
    }

    /// Rounds the floats, if one of these weights wants them so.
    ///
    /// # Errors
    /// Those of recording.
    pub fn round(&self, ops: &mut Recorder<'_, '_>, weights: &[&Weight]) -> Result<()> {
        self.round_for(ops, weights.iter().map(|weight| weight.input()))
    }

    /// Rounds the floats, if one of these types is that of rounded rows.
    ///
    /// # Errors
    /// Those of recording.
    pub fn round_for(
        &self,
        ops: &mut Recorder<'_, '_>,
        inputs: impl IntoIterator<Item = DType>,
    ) -> Result<()> {
        match &self.rounded {
            Some(out) if inputs.into_iter().any(|input| input == DType::Rounded) => match self.rooms.products
            {
                Some(_) => Ok(ops.record(&Round { x: &self.flat()?, out })?),
                None => Ok(ops.record(&Round { x: &self.floats, out })?),
            },
            _ => Ok(()),
        }
    }

    /// Records the product with a weight, for which the floats were rounded if it wants them so.
    ///
    /// # Errors
    /// Those of recording.
    pub fn product(&self, ops: &mut Recorder<'_, '_>, weight: &Weight, out: &Tensor) -> Result<()> {
        self.see(ops, weight)?;
        let Some((x, products)) = self.rounded_twice(weight) else {
            return Ok(ops.record(&self.once(weight, out))?);
        };
        // One pass over the weight serves both roundings.
        let [count, rows] = [self.floats.shape()[0], weight.shape()[0]];
        let both = products.narrow(0, 0..2 * count * rows)?.reshape(&[2 * count, rows])?;
        ops.record(&Matmul { room: self.rooms.prepared.as_ref(), ..Matmul::new(weight, x, &both) })?;
        ops.record(&Copy { x: &both.narrow(0, 0..count)?, out })?;
        Ok(ops.record(&Add { x: out, y: &both.narrow(0, count..2 * count)? })?)
    }

    /// Records the product with a weight, the bias and what becomes of both as one op, and says whether the device has one.
    ///
    /// # Errors
    /// Those of recording.
    pub fn finished(
        &self,
        ops: &mut Recorder<'_, '_>,
        Map { weight, bias }: Map<'_>,
        finish: Finish<'_>,
        out: &Tensor,
    ) -> Result<bool> {
        let op = Matmul { bias, finish, ..self.once(weight, out) };
        if self.rounded_twice(weight).is_some() || !ops.serve(&op) {
            return Ok(false);
        }
        self.see(ops, weight)?;
        Ok(ops.record(&op).map(|()| true)?)
    }

    /// The product of rows that are rounded once at most.
    fn once<'a>(&'a self, weight: &'a Weight, out: &'a Tensor) -> Matmul<'a> {
        let rounded = self.rounded.as_ref().filter(|_| weight.input() == DType::Rounded);
        let x = rounded.unwrap_or(&self.floats);
        Matmul { room: self.rooms.prepared.as_ref(), ..Matmul::new(weight, x, out) }
    }

    /// Both roundings of the rows and the room for the products with them, where a weight is multiplied with both.
    fn rounded_twice(&self, weight: &Weight) -> Option<(&Tensor, &Tensor)> {
        let rounded = self.rounded.as_ref().filter(|_| weight.input() == DType::Rounded);
        rounded.zip(self.rooms.products.as_ref())
    }

    /// Shows what a weight is multiplied with to who wants to see it.
    fn see(&self, ops: &mut Recorder<'_, '_>, weight: &Weight) -> Result<()> {
        match &self.witness {
            Some(witness) => witness.see(ops, weight.name().as_str(), &self.floats, None),
            None => Ok(()),
        }
    }

    /// Records the products with the experts of each row, for which the floats were rounded if they want them so.
    ///
    /// # Errors
    /// Those of recording.
    pub fn routed_product(
        &self,
        ops: &mut Recorder<'_, '_>,
        weight: &Weight<3>,
        ids: &Tensor,
        bias: Option<&Tensor>,
        out: &Tensor,
    ) -> Result<()> {
        if let Some(witness) = &self.witness {
            let experts = Some((weight.shape()[0], ids));
            witness.see(ops, weight.name().as_str(), &self.floats, experts)?;
        }
        let rounded = self.rounded.as_ref().filter(|_| weight.input() == DType::Rounded);
        let (Some(both), Some(products)) = (rounded, &self.rooms.products) else {
            let x = rounded.unwrap_or(&self.floats);
            return Ok(ops.record(&RoutedMatmul { weight, x, ids, bias, out })?);
        };
        let count = both.shape()[0] / 2;
        let half = |rows| both.narrow(0, rows)?.reshape(self.floats.shape());
        let (first, second) = (half(0..count)?, half(count..2 * count)?);
        let rest = products.narrow(0, 0..out.elements())?.reshape(out.shape())?;
        ops.record(&RoutedMatmul { weight, x: &first, ids, bias, out })?;
        ops.record(&RoutedMatmul { weight, x: &second, ids, bias: None, out: &rest })?;
        Ok(ops.record(&Add { x: out, y: &rest })?)
    }

    /// All rows of all experts, one after another.
    fn flat(&self) -> Result<Tensor> {
        let width = self.floats.shape().last().copied().unwrap_or(1);
        Ok(self.floats.reshape(&[self.floats.elements() / width.max(1), width])?)
    }
}

fn buffer(device: &Device, dtype: DType, label: &'static str, shape: &[usize]) -> Result<Tensor> {
    let request = Tensor::request(dtype, shape)?.tag(Tag::Activations).label(label);
    Ok(Tensor::of(dtype, shape, device.alloc(request)?)?)
}

/// Counts of those that share a past; none has arrived.
fn arrivals(device: &Device) -> Result<Tensor> {
    let arrivals = buffer(device, DType::U32, "arrivals", &[recall::Room::ARRIVALS])?;
    arrivals.buffer().copy_from(&[0u32; recall::Room::ARRIVALS])?;
    Ok(arrivals)
}

/// Queries and gates of attention that has gates.
#[derive(Clone, Debug)]
pub struct Gates {
    /// `[rows, heads, 2 * head width]`: the queries of each head, and its gates.
    pub joined: Tensor,
    /// `[rows, heads, head width]`: the gates alone.
    pub gate: Tensor,
}

/// Buffers of routed experts.
#[derive(Clone, Debug)]
pub struct Routed {
    /// `[rows, experts]`.
    pub logits: Tensor,
    /// u32, `[rows, used]`: the experts that were chosen.
    pub ids: Tensor,
    /// `[rows, used]`: how much each of them counts.
    pub weights: Tensor,
    /// `[rows, used, expert width]`.
    pub gate: Tensor,
    /// `[rows, used, expert width]`.
    pub up: Input,
    /// `[rows, used, width]`: what the experts give.
    pub out: Tensor,
    /// `[rows, width]`: what the shared expert gives.
    pub shared: Tensor,
    /// `[rows, 1]`: how much of it a row takes.
    pub share: Tensor,
}

/// Buffers of delta networks.
#[derive(Clone, Debug)]
pub struct DeltaBuffers {
    /// `[rows, channels]`: queries, keys and values before their convolutions.
    pub before: [Tensor; 3],
    /// `[rows, heads, width]`: queries, keys and values.
    pub heads: [Tensor; 3],
    /// `[rows, 2 * value heads]`: corrections and decays, where one matrix gives both.
    pub rates: Tensor,
    /// `[rows, value heads]`: how far values are corrected.
    pub corrections: Tensor,
    /// `[rows, value heads]`: logarithms of what is kept.
    pub decays: Tensor,
    /// `[rows, value channels]`.
    pub gate: Tensor,
    /// `[rows, value channels]`: what the matrices answer.
    pub answers: Input,
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
    /// Where attention has gates.
    pub gates: Option<Gates>,
    /// `[rows, heads * value width]`: what attention gives.
    pub attended: Input,
    /// Room for attention to work in parts where rows are few.
    pub parts: Tensor,
    /// On a card, counts of those that share a long past, all zero between launches.
    pub arrivals: Option<Tensor>,
    /// `[rows, width]`: what a block adds to the hidden state.
    pub change: Tensor,
    /// `[rows, ffn width]`.
    pub gate: Tensor,
    /// `[rows, ffn width]`.
    pub up: Input,
    /// `[logit rows, vocabulary]`: of the last rows.
    pub logits: Tensor,
    routed: Option<Routed>,
    delta: Option<DeltaBuffers>,
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
        let rooms = &Rooms::new(device, sizes, rows, logit_rows)?;
        let input = |label, width| Input::new(device, label, rows, width, rooms);
        let gates = || -> Result<Gates> {
            let joined = tensor("queries.gates", &[rows, heads, 2 * head_width])?;
            Ok(Gates { joined, gate: tensor("attention.gates", &[rows, heads, head_width])? })
        };
        Ok(Self {
            hidden: tensor("hidden", &[rows, width])?,
            normed: input("normed", width)?,
            angles: tensor("angles", &[rows, 2, sizes.rotated / 2])?,
            queries: tensor("queries", &[rows, heads, head_width])?,
            keys: tensor("keys", &[rows, kv_heads, head_width])?,
            values: tensor("values", &[rows, kv_heads, value_width])?,
            gates: sizes.gated.then(gates).transpose()?,
            attended: input("attended", heads * value_width)?,
            parts: tensor("parts", &[Attention::parts(rows, heads, value_width, context)])?,
            arrivals: (device.kind() == BackendKind::Cuda).then(|| arrivals(device)).transpose()?,
            change: tensor("change", &[rows, width])?,
            gate: tensor("gate", &[rows, ffn_width])?,
            up: input("up", ffn_width)?,
            logits: tensor("logits", &[logit_rows, vocabulary])?,
            routed: sizes
                .experts
                .map(|experts| Routed::new(device, sizes, &experts, rows, rooms))
                .transpose()?,
            delta: sizes.delta.map(|delta| DeltaBuffers::new(device, &delta, rows, rooms)).transpose()?,
        })
    }

    /// The same buffers, and attention may work in parts in passes over as many texts, each in a cache of `context` positions.
    ///
    /// # Errors
    /// What the device says.
    pub fn of_texts(mut self, device: &Device, sizes: &Sizes, context: usize, texts: usize) -> Result<Self> {
        let parts = Attention::parts_of_places(texts, sizes.heads, sizes.value_width, context);
        if parts > self.parts.elements() {
            self.parts = buffer(device, DType::F32, "parts", &[parts])?;
        }
        Ok(self)
    }

    /// Bytes that buffers for so many rows take on this device and on no other kind.
    pub(crate) fn extra(device: &Device, sizes: &Sizes, rows: usize) -> u64 {
        2 * Rooms::prepared(device, sizes, rows) as u64
    }

    /// The same buffers, and whatever weights are multiplied with is seen.
    pub(crate) fn witnessed(mut self, witness: &Arc<Witness>) -> Self {
        let see = |input: Input| input.witnessed(witness);
        (self.normed, self.attended, self.up) = (see(self.normed), see(self.attended), see(self.up));
        self.routed = self.routed.map(|routed| Routed { up: see(routed.up), ..routed });
        self.delta = self.delta.map(|delta| DeltaBuffers { answers: see(delta.answers), ..delta });
        self
    }

    /// Rows there are.
    pub fn rows(&self) -> usize {
        self.hidden.shape()[0]
    }

    /// Buffers of routed experts.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if there are none.
    pub fn routed(&self) -> Result<&Routed> {
        self.routed.as_ref().ok_or(Error::OtherModel { what: "buffers" })
    }

    /// Buffers of delta networks.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if there are none.
    pub fn delta(&self) -> Result<&DeltaBuffers> {
        self.delta.as_ref().ok_or(Error::OtherModel { what: "buffers" })
    }

    /// The same buffers for a shorter pass.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there are not so many rows.
    pub fn first(&self, rows: usize, logit_rows: usize) -> Result<Self> {
        let first = |tensor: &Tensor| tensor.narrow(0, 0..rows);
        let gates = |gates: &Gates| -> Result<Gates> {
            Ok(Gates { joined: first(&gates.joined)?, gate: first(&gates.gate)? })
        };
        Ok(Self {
            hidden: first(&self.hidden)?,
            normed: self.normed.rows(0..rows)?,
            angles: first(&self.angles)?,
            queries: first(&self.queries)?,
            keys: first(&self.keys)?,
            values: first(&self.values)?,
            gates: self.gates.as_ref().map(gates).transpose()?,
            attended: self.attended.rows(0..rows)?,
            parts: self.parts.clone(),
            arrivals: self.arrivals.clone(),
            change: first(&self.change)?,
            gate: first(&self.gate)?,
            up: self.up.rows(0..rows)?,
            logits: self.logits.narrow(0, 0..logit_rows)?,
            routed: self.routed.as_ref().map(|routed| routed.first(rows)).transpose()?,
            delta: self.delta.as_ref().map(|delta| delta.first(rows)).transpose()?,
        })
    }
}

impl Routed {
    fn new(
        device: &Device,
        sizes: &Sizes,
        experts: &ExpertSizes,
        rows: usize,
        rooms: &Rooms,
    ) -> Result<Self> {
        let tensor = |label, shape: &[usize]| buffer(device, DType::F32, label, shape);
        let ExpertSizes { count, used, width } = *experts;
        Ok(Self {
            logits: tensor("experts.logits", &[rows, count])?,
            ids: buffer(device, DType::U32, "experts.ids", &[rows, used])?,
            weights: tensor("experts.weights", &[rows, used])?,
            gate: tensor("experts.gate", &[rows, used, width])?,
            up: match rooms.products {
                Some(_) => {
                    let shapes: [&[usize]; 2] = [&[rows, used, width], &[2 * rows * used, width]];
                    Input::of_shapes(device, "experts.up", shapes, rooms)?
                }
                None => Input::of_shapes(device, "experts.up", [&[rows, used, width]; 2], rooms)?,
            },
            out: tensor("experts.out", &[rows, used, sizes.width])?,
            shared: tensor("experts.shared", &[rows, sizes.width])?,
            share: tensor("experts.share", &[rows, 1])?,
        })
    }

    fn first(&self, rows: usize) -> Result<Self> {
        let first = |tensor: &Tensor| tensor.narrow(0, 0..rows);
        Ok(Self {
            logits: first(&self.logits)?,
            ids: first(&self.ids)?,
            weights: first(&self.weights)?,
            gate: first(&self.gate)?,
            up: self.up.rows(0..rows)?,
            out: first(&self.out)?,
            shared: first(&self.shared)?,
            share: first(&self.share)?,
        })
    }
}

impl DeltaBuffers {
    fn new(device: &Device, delta: &DeltaSizes, rows: usize, rooms: &Rooms) -> Result<Self> {
        let tensor = |label, shape: &[usize]| buffer(device, DType::F32, label, shape);
        let DeltaSizes { key_heads, value_heads, key_width, value_width, .. } = *delta;
        let [queries, keys, values] = delta.channels();
        let before = |channels| tensor("delta.before", &[rows, channels]);
        let heads = |heads, width| tensor("delta.heads", &[rows, heads, width]);
        let rate = |count| tensor("delta.rates", &[rows, count]);
        Ok(Self {
            before: [before(queries)?, before(keys)?, before(values)?],
            heads: [
                heads(key_heads, key_width)?,
                heads(key_heads, key_width)?,
                heads(value_heads, value_width)?,
            ],
            rates: rate(2 * value_heads)?,
            corrections: rate(value_heads)?,
            decays: rate(value_heads)?,
            gate: tensor("delta.gate", &[rows, values])?,
            answers: Input::new(device, "delta.answers", rows, values, rooms)?,
        })
    }

    fn first(&self, rows: usize) -> Result<Self> {
        let first = |tensor: &Tensor| tensor.narrow(0, 0..rows);
        let ([a, b, c], [q, k, v]) = (&self.before, &self.heads);
        Ok(Self {
            before: [first(a)?, first(b)?, first(c)?],
            heads: [first(q)?, first(k)?, first(v)?],
            rates: first(&self.rates)?,
            corrections: first(&self.corrections)?,
            decays: first(&self.decays)?,
            gate: first(&self.gate)?,
            answers: self.answers.rows(0..rows)?,
        })
    }
}
