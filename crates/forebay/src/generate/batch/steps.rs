//! Steps of a batch: stages that were recorded once for each number of rows and are replayed, fed by the host or by the step before.
//!
//! Which text a row is of lies in device memory beside its token and position, so that a recording serves any texts. A step
//! ends by putting what it found where the next one takes its tokens from, one position further each. Steps take turns in where they
//! tell what they found, so that the host reads it while the next one runs. Next room: [`batch`](super), which decides when.

use forebay_device::{Device, Fence, Recording, Request, Session, Tag};
use forebay_tensor::{
    DType, Ops, Tensor,
    ops::{Argmax, Follow},
};

use crate::{
    error::Result,
    generate::step::{seen::Seen, shortlist::Shortlist},
    models::{Model, Pass, activations::Activations, cache::Cache},
};

/// A token of a text in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u32,
    pub(super) position: usize,
    pub(super) place: usize,
}

/// What steps go over.
pub(super) struct Over<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) ops: &'a Ops,
    pub(super) cache: &'a Cache,
    pub(super) buffers: &'a Activations,
    pub(super) shortlist: Option<&'a Shortlist>,
}

/// The recorded steps of a batch, and what goes in and out of them.
#[derive(Debug)]
pub(super) struct Steps {
    most: usize,
    /// Tokens of rows, their positions and their places, in memory of the device.
    list: Tensor,
    /// The same as the host gives it, and what brings it there.
    given: Tensor,
    giving: Option<Recording>,
    /// What a step found, in memory of the device.
    found: Tensor,
    turns: [Turn; 2],
    /// The turn of the latest step that counts.
    latest: usize,
    /// Whether that step left the tokens it found, and their positions, in `list`.
    fed: bool,
}

#[derive(Debug)]
struct Turn {
    /// What the step of this turn found, where the host sees it.
    told: Tensor,
    /// By the number of rows, from one on.
    recordings: Vec<Option<Recording>>,
}

impl Steps {
    /// Steps of up to so many rows.
    pub(super) fn new(device: &Device, seen: &Seen, most: usize) -> Result<Self> {
        let words = |label: &'static str, count: usize| -> Result<Tensor> {
            let request = Request::elements::<u32>(count).tag(Tag::Activations).label(label);
            Ok(Tensor::of(DType::U32, &[count], device.alloc(request)?)?)
        };
        let turn = || -> Result<Turn> {
            let recordings = (0..most).map(|_| None).collect();
            Ok(Turn { told: seen.tensor(DType::U32, &[most], "told")?, recordings })
        };
        Ok(Self {
            most,
            list: words("rows", 3 * most)?,
            given: seen.tensor(DType::U32, &[3 * most], "given")?,
            giving: None,
            found: words("found", most)?,
            turns: [turn()?, turn()?],
            latest: 0,
            fed: false,
        })
    }

    /// What the latest step found of a row; waits for it, and for none after it.
    pub(super) fn found(&self, row: usize) -> Result<u32> {
        Ok(self.turns[self.latest].told.read::<u32>()?[row])
    }

    /// What the step before the latest one found of a row.
    pub(super) fn found_before(&self, row: usize) -> Result<u32> {
        Ok(self.turns[1 - self.latest].told.read::<u32>()?[row])
    }

    /// Whether the latest step has fed the next one.
    pub(super) fn is_fed(&self) -> bool {
        self.fed
    }

    /// The latest step does not count, and the one before it is the latest again.
    pub(super) fn take_back(&mut self) {
        (self.latest, self.fed) = (1 - self.latest, false);
    }

    /// Steps are to be recorded anew.
    pub(super) fn forget(&mut self) {
        self.turns.iter_mut().flat_map(|turn| &mut turn.recordings).for_each(|recording| *recording = None);
    }

    /// Feeds the next step.
    pub(super) fn feed(&mut self, session: &mut Session, rows: &[Row]) -> Result<()> {
        self.fed = false;
        let mut words = vec![0; 3 * self.most];
        for (i, row) in rows.iter().enumerate() {
            for (list, word) in [row.id, row.position as u32, row.place as u32].into_iter().enumerate() {
                words[list * self.most + i] = word;
            }
        }
        self.given.copy_from(&words)?;
        let giving = match self.giving.take() {
            Some(giving) => giving,
            None => {
                let mut stage = session.stage("give");
                stage.copy(self.given.buffer(), self.list.buffer())?;
                stage.record()?
            }
        };
        let fence = session.replay(&giving);
        self.giving = Some(giving);
        drop(fence?);
        Ok(())
    }

    /// Hands the next step over, of so many rows.
    pub(super) fn step(&mut self, session: &mut Session, over: &Over<'_>, rows: usize) -> Result<Fence> {
        let next = 1 - self.latest;
        let recording = match self.turns[next].recordings[rows - 1].take() {
            Some(recording) => recording,
            None => self.record(session, over, rows, next)?,
        };
        let fence = session.replay(&recording);
        self.turns[next].recordings[rows - 1] = Some(recording);
        // A step that was refused has left nothing behind, and one that is under way will have.
        self.fed = fence.is_ok();
        let fence = fence?;
        self.latest = next;
        Ok(fence)
    }

    fn record(&self, session: &mut Session, over: &Over<'_>, rows: usize, turn: usize) -> Result<Recording> {
        let of = |list: usize| self.list.narrow(0, list * self.most..list * self.most + rows);
        let (ids, positions, places) = (of(0)?, of(1)?, of(2)?);
        let (found, told) = (&self.found.narrow(0, 0..rows)?, &self.turns[turn].told.narrow(0, 0..rows)?);
        let buffers = &over.buffers.first(rows, rows)?;
        let (places, cache) = (Some(&places), over.cache);
        let mut stage = session.stage("tokens");
        let mut ops = over.ops.on(&mut stage);
        let pass = Pass { ids: &ids, positions: &positions, places, cache, buffers };
        over.model.forward(&mut ops, &pass)?;
        over.shortlist.map_or(Ok(()), |list| list.record(&mut ops, &buffers.logits))?;
        ops.record(&Argmax { x: &buffers.logits, out: found })?;
        ops.record(&Follow { found, ids: &ids, positions: &positions, told })?;
        Ok(stage.record()?)
    }
}
