//! One token at a time: a stage that was recorded once and is replayed, fed by the host or by the step before it.
//!
//! A step ends by putting what it found where the next one takes its token from, one position further. So the next step
//! can be handed over before the host knows the token. Steps take turns in where they tell what they found, so that
//! the host reads it while the next one runs. Next room: [`step`](super), which decides when.

use forebay_device::{Device, Fence, Recording, Request, Session, Stage, Tag};
use forebay_tensor::{DType, Note, Tensor, ops::Follow};

use super::{choice::Choice, leg::Leg, seen::Seen};
use crate::{error::Result, models::Model};

/// The recorded steps of a sequence, and what goes in and out of them.
#[derive(Debug)]
pub(super) struct Replay {
    /// The next token and its position.
    place: Tensor,
    /// The same as the host gives it, and what brings it to its place.
    given: Tensor,
    giving: Option<Recording>,
    /// What a step found, in memory of the device.
    found: Tensor,
    turns: [Turn; 2],
    /// The turn of the latest stage that counts.
    latest: usize,
    /// Whether that stage left the token it found, and its position, in `place`.
    fed: bool,
}

#[derive(Debug)]
struct Turn {
    /// What the stage of this turn found, where the host sees it.
    told: Tensor,
    recording: Option<Recording>,
}

impl Replay {
    pub(super) fn new(device: &Device, seen: &Seen) -> Result<Self> {
        let words = |label: &'static str, count: usize| -> Result<Tensor> {
            let request = Request::elements::<u32>(count).tag(Tag::Activations).label(label);
            Ok(Tensor::of(DType::U32, &[count], device.alloc(request)?)?)
        };
        let turn =
            || -> Result<Turn> { Ok(Turn { told: seen.tensor(DType::U32, &[1], "told")?, recording: None }) };
        Ok(Self {
            place: words("place", 2)?,
            given: seen.tensor(DType::U32, &[2], "given")?,
            giving: None,
            found: words("found", 1)?,
            turns: [turn()?, turn()?],
            latest: 0,
            fed: false,
        })
    }

    /// What the latest stage found; waits for it, and for none after it.
    pub(super) fn found(&self) -> Result<u32> {
        Ok(self.turns[self.latest].told.read::<u32>()?[0])
    }

    /// What the stage before the latest one found.
    pub(super) fn found_before(&self) -> Result<u32> {
        Ok(self.turns[1 - self.latest].told.read::<u32>()?[0])
    }

    /// Whether the latest step has fed the next one.
    pub(super) fn is_fed(&self) -> bool {
        self.fed
    }

    /// The text is another one than that of the latest step, so that the next one has to be fed by the host.
    pub(super) fn starve(&mut self) {
        self.fed = false;
    }

    /// The latest step does not count, and the one before it is the latest again.
    pub(super) fn take_back(&mut self) {
        (self.latest, self.fed) = (1 - self.latest, false);
    }

    /// Gives a turn to a stage that is no replay: it has to say what it found there.
    pub(super) fn give_turn(&mut self) -> &Tensor {
        (self.latest, self.fed) = (1 - self.latest, false);
        &self.turns[self.latest].told
    }

    /// Steps are to be recorded anew.
    pub(super) fn forget(&mut self) {
        self.turns.iter_mut().for_each(|turn| turn.recording = None);
    }

    /// Feeds the next step, unless the latest one did just that.
    pub(super) fn feed(&mut self, session: &mut Session, id: u32, position: usize) -> Result<()> {
        if self.fed && self.found()? == id {
            return Ok(());
        }
        self.fed = false;
        self.given.copy_from(&[id, position as u32])?;
        let giving = match self.giving.take() {
            Some(giving) => giving,
            None => {
                let mut stage = session.stage("give");
                stage.copy(self.given.buffer(), self.place.buffer())?;
                stage.record()?
            }
        };
        let fence = session.replay(&giving);
        self.giving = Some(giving);
        drop(fence?);
        Ok(())
    }

    /// Records the next step, unless it is recorded.
    pub(super) fn prepare(&mut self, leg: &mut Leg, model: &dyn Model, choice: &Choice) -> Result<()> {
        let recording = self.take_next(leg, model, choice)?;
        self.turns[1 - self.latest].recording = Some(recording);
        Ok(())
    }

    /// Hands the next step over.
    pub(super) fn step(&mut self, leg: &mut Leg, model: &dyn Model, choice: &Choice) -> Result<Fence> {
        let next = 1 - self.latest;
        let recording = self.take_next(leg, model, choice)?;
        let fence = leg.session.replay(&recording);
        self.turns[next].recording = Some(recording);
        // A step that was refused has left nothing behind, and one that is under way will have.
        self.fed = fence.is_ok();
        let fence = fence?;
        self.latest = next;
        Ok(fence)
    }

    /// The next step out of its turn, recorded now if it was not before.
    fn take_next(&mut self, leg: &mut Leg, model: &dyn Model, choice: &Choice) -> Result<Recording> {
        if let Some(recording) = self.turns[1 - self.latest].recording.take() {
            return Ok(recording);
        }
        Ok(self.token(leg, model, choice, None)?.record()?)
    }

    /// Notes what the next step records; nothing is computed.
    pub(super) fn explain(
        &self,
        leg: &mut Leg,
        model: &dyn Model,
        choice: &Choice,
        notes: &mut Vec<Note>,
    ) -> Result<()> {
        self.token(leg, model, choice, Some(notes)).map(drop)
    }

    /// Records the next step.
    fn token<'s>(
        &self,
        leg: &'s mut Leg,
        model: &dyn Model,
        choice: &Choice,
        mut notes: Option<&mut Vec<Note>>,
    ) -> Result<Stage<'s>> {
        let (ids, positions) = (self.place.narrow(0, 0..1)?, self.place.narrow(0, 1..2)?);
        let (found, told) = (&self.found, &self.turns[1 - self.latest].told);
        let Leg { session, ops, room, .. } = leg;
        let buffers = &room.buffers.first(1, 1)?;
        let mut stage = session.stage("token");
        room.pass(&mut stage, ops, model, [&ids, &positions], buffers, notes.as_deref_mut())?;
        let mut ops = ops.on(&mut stage);
        if let Some(notes) = notes {
            ops = ops.noting(notes, room.cache.len() + 1);
        }
        choice.record(&mut ops, &buffers.logits, &positions, found)?;
        ops.record(&Follow { found, ids: &ids, positions: &positions, told })?;
        Ok(stage)
    }
}
