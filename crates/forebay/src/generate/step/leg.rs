//! What a sequence has on each device of its model: a session, the cache of the layers there, and the buffers between ops.
//!
//! The hidden state goes from one leg to the next through the host, which waits for the leg that it comes from. So legs work at
//! the same time on different chunks only. Next room: [`step`](super), which goes from leg to leg.

use std::sync::Arc;

use forebay_device::{Device, Fence, Recording, Request, Session, Stage, Tag};
use forebay_tensor::{DType, Note, Ops, Tensor};

use super::{SequenceOptions, seen::Seen};
use crate::{
    error::{Error, Result},
    models::{Model, Pass, activations::Activations, cache::Cache, witness::Witness},
};

/// What a sequence has on one device.
pub(super) struct Leg {
    pub(super) session: Session,
    pub(super) ops: Arc<Ops>,
    pub(super) seen: Seen,
    pub(super) room: Room,
    /// Tokens of a chunk and then their positions; chunks take turns, so that one is put here while the last one is computed.
    chunks: [Tensor; 2],
}

/// The memory of a leg.
pub(super) struct Room {
    pub(super) cache: Cache,
    pub(super) buffers: Activations,
    /// Where the host sees the hidden state; none where it sees it anyway, or where there is no other leg.
    door: Option<Tensor>,
    /// Whether it comes in from another leg, and whether it goes out to one.
    in_and_out: [bool; 2],
}

/// A leg in front of the last one.
pub(super) struct Front {
    pub(super) leg: Leg,
    /// The next token and its position as the host gives them, and where the step takes them from.
    given: Tensor,
    place: Tensor,
    step: Recording,
}

/// A chunk that is recorded and not yet handed over.
pub(super) struct Recorded<'s> {
    pub(super) stage: Stage<'s>,
    pub(super) ops: &'s Ops,
    /// The hidden state where the host sees it.
    pub(super) hidden: Tensor,
    /// `[rows, vocabulary]`; no rows unless the leg is the last one.
    pub(super) logits: Tensor,
    /// Where the last of them is.
    pub(super) position: Tensor,
}

/// The cache and the buffers of a leg, on a device that need not be the model's.
pub(crate) fn memory(
    device: &Device,
    model: &dyn Model,
    leg: usize,
    options: &SequenceOptions,
) -> Result<(Cache, Activations)> {
    let SequenceOptions { context, kv, chunk, all_logits, .. } = *options;
    let (rows, legs) = (chunk.min(context), model.legs());
    let layers = legs.get(leg).ok_or(Error::OtherModel { what: "legs" })?.layers.clone();
    let logit_rows = match (leg + 1 == legs.len(), all_logits) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => rows,
    };
    let cache = Cache::new(device, model.sizes(), &model.keeps(), layers, kv, context, rows)?;
    Ok((cache, Activations::new(device, model.sizes(), context, rows, logit_rows)?))
}

/// Brings a hidden state from where one leg leaves it to where the next one takes it from. Waits for both.
pub(super) fn carry(from: &Tensor, to: &Tensor) -> Result<()> {
    Ok(to.copy_from(&from.read::<f32>()?)?)
}

impl Leg {
    pub(super) fn new(
        model: &dyn Model,
        number: usize,
        ops: &Arc<Ops>,
        options: &SequenceOptions,
    ) -> Result<Self> {
        let legs = model.legs();
        let device = &legs.get(number).ok_or(Error::OtherModel { what: "legs" })?.device;
        let (cache, buffers) = memory(device, model, number, options)?;
        let seen = Seen::new(device)?;
        let in_and_out = [number > 0, number + 1 < legs.len()];
        let is_apart = options.apart.unwrap_or(!device.caps().unified);
        let has_door = in_and_out.contains(&true) && is_apart;
        let door = has_door.then(|| seen.tensor(DType::F32, buffers.hidden.shape(), "hidden"));
        let words = 2 * buffers.rows();
        let list = || words_on(device, words, "chunk");
        Ok(Self {
            session: device.session()?,
            ops: ops.clone(),
            chunks: [list()?, list()?],
            room: Room { cache, buffers, door: door.transpose()?, in_and_out },
            seen,
        })
    }

    /// Records a pass over tokens from a position on, of which so many rows of logits are wanted. Somebody may want to see
    /// what weights are multiplied with, or what is recorded.
    pub(super) fn chunk(
        &mut self,
        model: &dyn Model,
        (ids, first): (&[u32], usize),
        logit_rows: usize,
        witness: Option<&Arc<Witness>>,
        notes: Option<&mut Vec<Note>>,
    ) -> Result<Recorded<'_>> {
        let [list, positions] = self.place(ids, first)?;
        let Self { session, ops, room, .. } = self;
        let logit_rows = if room.in_and_out[1] { 0 } else { logit_rows };
        let buffers = room.buffers.first(ids.len(), logit_rows)?;
        let buffers = match witness {
            Some(witness) => buffers.witnessed(witness),
            None => buffers,
        };
        let mut stage = session.stage("prompt");
        room.pass(&mut stage, ops, model, [&list, &positions], &buffers, notes)?;
        let position = positions.narrow(0, ids.len() - 1..ids.len())?;
        Ok(Recorded { stage, ops, hidden: room.hidden(ids.len())?, logits: buffers.logits, position })
    }

    /// Puts tokens and their positions into device memory, which the chunk before the last one has left.
    fn place(&mut self, ids: &[u32], first: usize) -> Result<[Tensor; 2]> {
        self.chunks.swap(0, 1);
        let rows = ids.len();
        let list = self.chunks[0].narrow(0, 0..2 * rows)?;
        let words = ids.iter().copied().chain(first as u32..).take(2 * rows);
        list.copy_from(&words.collect::<Vec<u32>>())?;
        Ok([list.narrow(0, 0..rows)?, list.narrow(0, rows..2 * rows)?])
    }
}

impl Room {
    /// Records a pass, and how the hidden state comes in and goes out.
    pub(super) fn pass(
        &self,
        stage: &mut Stage<'_>,
        ops: &Ops,
        model: &dyn Model,
        [ids, positions]: [&Tensor; 2],
        buffers: &Activations,
        mut notes: Option<&mut Vec<Note>>,
    ) -> Result<()> {
        notes.iter().for_each(|_| stage.note());
        let (inside, outside) = (&buffers.hidden, self.hidden(buffers.rows())?);
        let [comes_in, goes_out] = self.in_and_out.map(|passes| passes && self.door.is_some());
        if comes_in {
            stage.copy(outside.buffer(), inside.buffer())?;
        }
        let mut recorder = ops.on(stage);
        if let Some(notes) = notes.as_deref_mut() {
            recorder = recorder.noting(notes, self.cache.len() + buffers.rows());
        }
        model.forward(&mut recorder, &Pass { ids, positions, places: None, cache: &self.cache, buffers })?;
        if goes_out {
            stage.copy(inside.buffer(), outside.buffer())?;
        }
        notes.into_iter().for_each(|notes| Note::rest(stage, notes));
        Ok(())
    }

    /// The first rows of the hidden state, where the host sees them.
    pub(super) fn hidden(&self, rows: usize) -> Result<Tensor> {
        Ok(self.door.as_ref().unwrap_or(&self.buffers.hidden).narrow(0, 0..rows)?)
    }
}

impl Front {
    pub(super) fn new(mut leg: Leg, model: &dyn Model) -> Result<Self> {
        let place = words_on(leg.session.device(), 2, "place")?;
        let given = leg.seen.tensor(DType::U32, &[2], "given")?;
        let step = token(&mut leg, model, [&given, &place], None)?.record()?;
        Ok(Self { leg, given, place, step })
    }

    /// Notes what the step of a token records; nothing is computed.
    pub(super) fn explain(&mut self, model: &dyn Model, notes: &mut Vec<Note>) -> Result<()> {
        token(&mut self.leg, model, [&self.given, &self.place], Some(notes)).map(drop)
    }

    /// Hands the step of a token over; its hidden state is [there](Room::hidden) when the step is done.
    pub(super) fn step(&mut self, id: u32, position: usize) -> Result<Fence> {
        self.given.copy_from(&[id, position as u32])?;
        Ok(self.leg.session.replay(&self.step)?)
    }
}

/// Records the step of a token in front of the last leg.
fn token<'s>(
    leg: &'s mut Leg,
    model: &dyn Model,
    [given, place]: [&Tensor; 2],
    notes: Option<&mut Vec<Note>>,
) -> Result<Stage<'s>> {
    let Leg { session, ops, room, .. } = leg;
    let buffers = room.buffers.first(1, 0)?;
    let mut stage = session.stage("token");
    notes.iter().for_each(|_| stage.note());
    stage.copy(given.buffer(), place.buffer())?;
    let (id, position) = (place.narrow(0, 0..1)?, place.narrow(0, 1..2)?);
    room.pass(&mut stage, ops, model, [&id, &position], &buffers, notes)?;
    Ok(stage)
}

fn words_on(device: &Device, count: usize, label: &'static str) -> Result<Tensor> {
    let request = Request::elements::<u32>(count).tag(Tag::Activations).label(label);
    Ok(Tensor::of(DType::U32, &[count], device.alloc(request)?)?)
}
