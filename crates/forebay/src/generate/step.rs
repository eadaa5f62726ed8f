//! A sequence: one text on one model, its cache, and the steps that take tokens in and leave logits.
//!
//! A prompt is taken in chunks, a stage each. A single token is taken by replaying a stage that was recorded once; what
//! changes from token to token lies in device memory, so nothing is allocated and nothing is patched. A sequence knows its
//! tokens, so that a text that begins like it is not computed again. Where its model is on several devices, all of this is
//! done leg by leg.
//! Next rooms: `leg`, for what there is on one device; `replay`, for single tokens; `choice`, for what follows them, and `shortlist`, for
//! what samplers look at; [`sampler`](super::sampler), which makes a token of logits.

mod choice;
pub(crate) mod leg;
mod replay;
pub(super) mod seen;
pub(super) mod shortlist;

use std::{ops::ControlFlow, sync::Arc};

use forebay_device::{Fence, Read, StageProfile};
use forebay_tensor::{DType, Note, Ops, Tensor, ops::Draw};

use choice::{Choice, Drawing};
use leg::{Front, Leg, Recorded, carry};
use replay::Replay;
use shortlist::Shortlist;

use super::text::Text;
use crate::{
    error::{Error, Result},
    models::{
        Model,
        witness::{Multiplied, Witness},
    },
};

/// How a sequence is set up.
#[derive(Clone, Copy, Debug)]
pub struct SequenceOptions {
    /// Positions of the cache.
    pub context: usize,
    /// Type of the cache: f32, f16, bf16, q8_0 or q4_0.
    pub kv: DType,
    /// Tokens of a prompt that are computed at a time.
    pub chunk: usize,
    /// Logits of every token of a chunk instead of the last one only.
    pub all_logits: bool,
    /// Whether the way between host and device is long. Then the device runs ahead of the host where it can
    /// ([`Sequence::run_ahead`]), and tells it no more than it looks at ([`Sequence::set_shortlist`]). If not given, where they do
    /// not share their memory.
    pub apart: Option<bool>,
}

impl Default for SequenceOptions {
    fn default() -> Self {
        Self { context: 4096, kv: DType::F16, chunk: 256, all_logits: false, apart: None }
    }
}

impl SequenceOptions {
    /// Whether they are for this model.
    pub(super) fn check(&self, model: &dyn Model) -> Result<()> {
        let (context, most) = (self.context, model.sizes().context);
        if !matches!(self.kv, DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 | DType::Q4_0) {
            return Err(Error::Option { name: "kv", wanted: "f32, f16, bf16, q8_0 or q4_0".to_owned() });
        }
        if context == 0 || self.chunk == 0 {
            return Err(Error::Option { name: "context and chunk", wanted: "at least 1".to_owned() });
        }
        if context > most {
            let wanted = format!("at most {most}, which this model was made for");
            return Err(Error::Option { name: "context", wanted });
        }
        Ok(())
    }
}

/// One text on one model.
///
/// ```no_run
/// # fn example(engine: forebay::Engine) -> forebay::Result<()> {
/// let mut sequence = engine.sequence()?;
/// sequence.feed(&[1, 403, 407])?;
/// let next = sequence.greedy()?;
/// sequence.feed(&[next])?;
/// println!("{} tokens, {} logits", sequence.len(), sequence.logits()?.len());
/// # Ok(())
/// # }
/// ```
pub struct Sequence {
    model: Arc<dyn Model>,
    fronts: Vec<Front>,
    /// The last leg, which gives logits.
    last: Leg,
    replay: Replay,
    choice: Choice,
    all_logits: bool,
    apart: bool,
    tokens: Vec<u32>,
    found: Found,
    /// Why one leg has taken in what another one has not.
    torn: Option<Error>,
}

/// What there is of the last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// What the device chose to follow it; and perhaps the step for that is under way, which has written over logits.
    Chosen {
        ahead: bool,
    },
    Logits,
}

impl Sequence {
    /// An empty text. There are ops for each leg of the model, on its device.
    ///
    /// # Errors
    /// [`Error::Option`] for a value that cannot be, [`Error::OtherModel`] for ops of another number of legs, [`Error::Device`]
    /// if there is no memory for the cache.
    pub fn new(model: Arc<dyn Model>, ops: &[Arc<Ops>], options: &SequenceOptions) -> Result<Self> {
        options.check(model.as_ref())?;
        let SequenceOptions { context, all_logits, apart, .. } = *options;
        let (Some((last, before)), true) = (ops.split_last(), ops.len() == model.legs().len()) else {
            return Err(Error::OtherModel { what: "ops" });
        };
        let leg = |(number, ops)| Leg::new(model.as_ref(), number, ops, options);
        let front = |of| Front::new(leg(of)?, model.as_ref());
        let fronts = before.iter().enumerate().map(front).collect::<Result<_>>()?;
        let last = leg((before.len(), last))?;
        let device = last.session.device();
        Ok(Self {
            replay: Replay::new(device, &last.seen)?,
            all_logits,
            choice: Choice::default(),
            apart: apart.unwrap_or(!device.caps().unified) && !all_logits,
            tokens: Vec::with_capacity(context),
            found: Found::Nothing,
            torn: None,
            model,
            fronts,
            last,
        })
    }

    /// How many tokens there are so far.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Positions of the cache.
    pub fn context(&self) -> usize {
        self.last.room.cache.capacity()
    }

    /// Takes tokens in; the logits of the last one are there afterwards.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::ContextFull`] or [`Error::TokenId`] before anything is computed, and those of the
    /// device.
    pub fn feed(&mut self, ids: &[u32]) -> Result<()> {
        self.feed_watched(ids, |_| ControlFlow::Continue(()))
    }

    /// Takes tokens in, chunk by chunk, and tells how many are handed to the device before each chunk and after the last one.
    /// Whoever is told may break off; what was taken in by then stays.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_watched(
        &mut self,
        ids: &[u32],
        mut watch: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check(ids)?;
        let mut done = 0;
        for chunk in ids.chunks(self.rows()) {
            if watch(done).is_break() {
                return Ok(());
            }
            self.take_in(chunk)?;
            done += chunk.len();
        }
        // There is nothing left to break off.
        let _ = watch(done);
        Ok(())
    }

    /// Takes tokens in and gives the logits of all of them, chunk by chunk; of the last one of each chunk only, unless
    /// the sequence was made for all.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and those of `each`.
    pub fn feed_each(&mut self, ids: &[u32], mut each: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        self.check(ids)?;
        for chunk in ids.chunks(self.rows()) {
            self.take_in(chunk)?;
            let rows = if self.all_logits { chunk.len() } else { 1 };
            each(&self.last.room.buffers.logits.narrow(0, 0..rows)?.read::<f32>()?)?;
        }
        Ok(())
    }

    /// Takes tokens in and gives the hidden states that their logits are made of, `[tokens, width]`, chunk by chunk; of the
    /// last one of each chunk only, unless the sequence was made for the logits of all.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and those of `each`.
    pub fn feed_hidden(&mut self, ids: &[u32], mut each: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        self.check(ids)?;
        for chunk in ids.chunks(self.rows()) {
            self.take_in(chunk)?;
            let first = if self.all_logits { 0 } else { chunk.len() - 1 };
            each(&self.last.room.buffers.normed.floats.narrow(0, first..chunk.len())?.read::<f32>()?)?;
        }
        Ok(())
    }

    /// Takes tokens in and shows what every weight of the model was multiplied with, weight by weight after each chunk. Only the
    /// output sees no more rows than there are logits.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and those of `each`.
    pub fn feed_witnessed(
        &mut self,
        ids: &[u32],
        mut each: impl FnMut(Multiplied<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check(ids)?;
        for ids in ids.chunks(self.rows()) {
            let witness = |leg: &Leg| Arc::new(Witness::new(leg.session.device()));
            let witnesses: Vec<_> = self.legs().map(witness).collect();
            self.chunk(ids, &witnesses)?;
            self.took_in(ids);
            witnesses.iter().try_for_each(|witness| witness.tell(&mut each))?;
        }
        Ok(())
    }

    /// Makes these tokens the text: what both begin with stays, what else there was is forgotten, and the rest is taken in as
    /// [`feed_watched`](Self::feed_watched) does. Gives how many tokens stayed; the last one is always computed, for its logits.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), before anything is forgotten; those of the device.
    pub fn become_text(
        &mut self,
        ids: &[u32],
        mut watch: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize> {
        let (Some(last), context) = (ids.len().checked_sub(1), self.context()) else {
            return Err(Error::EmptyPrompt);
        };
        if ids.len() > context {
            return Err(Error::ContextFull { tokens: ids.len(), context });
        }
        self.check_ids(ids)?;
        let same = self.tokens.iter().zip(&ids[..last]).take_while(|(a, b)| a == b).count();
        let kept = self.reach(same);
        self.roll_back(kept)?;
        self.feed_watched(&ids[kept..], |done| watch(kept + done))?;
        Ok(kept)
    }

    /// The logits of the last token.
    ///
    /// # Errors
    /// [`Error::NoLogits`] before the first token, after a way back and after [`run_ahead`](Self::run_ahead), and those of the
    /// device.
    pub fn logits(&self) -> Result<Vec<f32>> {
        Ok(self.read_logits()?.to_vec())
    }

    /// The logits of the last token, where they lie.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn read_logits(&self) -> Result<Read<'_, f32>> {
        match self.found == Found::Logits && !self.all_logits {
            true => Ok(self.last.room.buffers.logits.read()?),
            false => Err(Error::NoLogits),
        }
    }

    /// The token of the largest logit, found on the device.
    ///
    /// # Errors
    /// [`Error::NoLogits`] before the first token and after a way back, and those of the device.
    pub fn greedy(&self) -> Result<u32> {
        match (&self.choice.drawing, self.found) {
            (None, _) => self.chosen(),
            (Some(drawing), Found::Logits) => Ok(drawing.list.read(0)?.0[0]),
            (Some(_), _) => Err(Error::NoLogits),
        }
    }

    /// What the device chose to follow the last token.
    fn chosen(&self) -> Result<u32> {
        match self.found {
            _ if self.all_logits => Err(Error::NoLogits),
            Found::Nothing => Err(Error::NoLogits),
            Found::Chosen { ahead: true } => self.replay.found_before(),
            Found::Chosen { ahead: false } | Found::Logits => self.replay.found(),
        }
    }

    /// Has the device take in the token of the largest logit, or that which it [draws](Self::set_draw), before the host knows which it
    /// is, so that neither waits for the other. The text is no longer by that: the token that is [fed](Self::feed) next decides. If it is that one, all is done
    /// already; if not, the step counts for nothing. Logits of the last token are gone.
    ///
    /// Gives whether it did so. It does not where the options say so, where the context ends, behind a chunk, which does not feed a
    /// step, where layers keep states, as there is no way back, and where the model is on several devices, of which the first one
    /// has to be told the token by the host.
    ///
    /// # Errors
    /// What the device says.
    pub fn run_ahead(&mut self) -> Result<bool> {
        let known = self.found == Found::Logits && self.replay.is_fed();
        let room = self.len() < self.context() && self.last.room.cache.may_overshoot();
        if !(self.apart && self.fronts.is_empty() && known && room) {
            return Ok(false);
        }
        self.found = Found::Chosen { ahead: false };
        drop(self.replay_step()?);
        self.last.room.cache.overshoot();
        self.found = Found::Chosen { ahead: true };
        Ok(true)
    }

    /// Has every step draw what follows, where a sampler would draw in this way and look at nothing else; none takes the largest
    /// logit. Gives whether it does: not where host and device are not apart, nor from more candidates than are found there. What was
    /// found of the last token is gone, if that changes anything.
    ///
    /// # Errors
    /// What the device says.
    pub fn set_draw(&mut self, how: Option<Draw>) -> Result<bool> {
        let fits = |how: &Draw| {
            let count = Shortlist::worth(Some(how.keep as usize), self.apart, self.model.sizes().vocabulary);
            count.is_some()
        };
        let how = how.filter(fits);
        let before = self.choice.drawing.as_ref().map(|drawing| drawing.how);
        if before != how {
            self.stay();
            self.replay.starve();
            self.found = Found::Nothing;
            match (&mut self.choice.drawing, how) {
                (Some(drawing), Some(how)) if drawing.how.keep == how.keep => drawing.change(how)?,
                (drawing, how) => {
                    self.replay.forget();
                    let device = self.last.session.device();
                    *drawing = how.map(|how| Drawing::new(device, how)).transpose()?;
                }
            }
        }
        Ok(how.is_some())
    }

    /// Has every step find so many of the largest logits as well, for a sampler that looks at no others; none does not. Where host
    /// and device are not apart, or the list would be long, it finds none, as the host looks at all of them. What was found of
    /// the last token is gone, if that changes anything.
    ///
    /// # Errors
    /// What the device says.
    pub fn set_shortlist(&mut self, count: Option<usize>) -> Result<()> {
        let count = Shortlist::worth(count, self.apart, self.model.sizes().vocabulary);
        if count != self.choice.shortlist.as_ref().map(Shortlist::len) {
            self.stay();
            self.replay.starve();
            self.replay.forget();
            self.found = Found::Nothing;
            let list = |count| Shortlist::new(&self.last.seen, 1, count);
            self.choice.shortlist = count.map(list).transpose()?;
        }
        Ok(())
    }

    /// The largest logits of the last token and whose they are, the largest first and of equal ones the lower id; none where no
    /// [`shortlist`](Self::set_shortlist) is made.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn shortlist(&self) -> Result<Option<(Read<'_, u32>, Read<'_, f32>)>> {
        match (&self.choice.shortlist, self.found) {
            (None, _) => Ok(None),
            (Some(list), Found::Logits) => list.read(0).map(Some),
            (Some(_), _) => Err(Error::NoLogits),
        }
    }

    /// Waits until everything that was taken in is computed.
    ///
    /// # Errors
    /// Those of the device.
    pub fn wait(&self) -> Result<()> {
        // Every stage writes what it found.
        self.replay.found().map(drop)
    }

    /// Keeps a way back to here, for [`roll_back`](Self::roll_back). Only models with windows or states need one; a few are
    /// kept, the oldest goes first.
    ///
    /// # Errors
    /// What the device says.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.check_whole()?;
        self.legs_mut().try_for_each(|leg| leg.room.cache.checkpoint(&mut leg.session))
    }

    /// The latest length up to `len` that the text can be taken back to.
    pub fn reach(&self, len: usize) -> usize {
        // A way back is one for all legs.
        let mut to = len;
        loop {
            let near = self.legs().fold(to, |to, leg| leg.room.cache.reach(to));
            if near == to {
                return to;
            }
            to = near;
        }
    }

    /// Forgets all tokens from a length on, as if they had never been taken in. There are no logits until the next token.
    ///
    /// # Errors
    /// [`Error::NoWayBack`] unless [`reach`](Self::reach) gives this length, and those of the device; the text stays as
    /// it was.
    pub fn roll_back(&mut self, len: usize) -> Result<()> {
        self.check_whole()?;
        let (gone, nearest) = (len < self.len(), self.reach(len));
        if nearest != len {
            return Err(Error::NoWayBack { to: len, len: self.len(), nearest });
        }
        let back = self.legs_mut().try_for_each(|leg| leg.room.cache.roll_back(&mut leg.session, len));
        self.tear(back)?;
        if gone {
            self.stay();
            self.replay.starve();
            self.tokens.truncate(len);
            self.found = Found::Nothing;
        }
        Ok(())
    }

    /// Which kernel serves each op of a pass of so many tokens, in order; nothing is computed.
    ///
    /// # Errors
    /// [`Error::Option`] for more tokens than are computed at a time, and those of recording.
    pub fn explain(&mut self, rows: usize) -> Result<Vec<Note>> {
        let most = self.rows();
        if rows == 0 || rows > most {
            let wanted = format!("from 1 to {most}, which are computed at a time");
            return Err(Error::Option { name: "rows", wanted });
        }
        let (ids, first, logit_rows) = (vec![0; rows], self.len(), self.logit_rows(rows));
        let (model, mut notes) = (self.model.clone(), Vec::new());
        for leg in self.legs_mut() {
            // A stage that is dropped leaves nothing behind.
            drop(leg.chunk(model.as_ref(), (&ids, first), logit_rows, None, Some(&mut notes))?);
        }
        Ok(notes)
    }

    /// What the step of a token records, in the order in which [`feed_profiled`](Self::feed_profiled) tells how long it took;
    /// nothing is computed.
    ///
    /// # Errors
    /// Those of recording.
    pub fn explain_step(&mut self) -> Result<Vec<Note>> {
        let (model, mut notes) = (self.model.as_ref(), Vec::new());
        self.fronts.iter_mut().try_for_each(|front| front.explain(model, &mut notes))?;
        self.replay.explain(&mut self.last, model, &self.choice, &mut notes)?;
        Ok(notes)
    }

    /// Takes a token in and tells how long each launch of that took. They run one by one then, with a look at the clock between
    /// them, which takes longer in all.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_profiled(&mut self, id: u32) -> Result<StageProfile> {
        self.check(&[id])?;
        self.legs_mut().for_each(|leg| leg.session.set_profiling(true));
        let fences = self.fed_step(id);
        self.legs_mut().for_each(|leg| leg.session.set_profiling(false));
        let fences = fences?;
        self.took_in(&[id]);
        let mut all = StageProfile::default();
        for fence in fences {
            fence.wait()?;
            all.launches.extend(fence.profile().unwrap_or_default().launches);
        }
        Ok(all)
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        self.check_whole()?;
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let (tokens, context) = (self.len().saturating_add(ids.len()), self.context());
        if tokens > context {
            return Err(Error::ContextFull { tokens, context });
        }
        self.check_ids(ids)
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let size = self.model.sizes().vocabulary;
        match ids.iter().find(|&&id| id as usize >= size) {
            Some(&id) => Err(Error::TokenId { id, size }),
            None => Ok(()),
        }
    }

    /// Hands tokens to the device: one by the recorded stage, several by one of their own.
    fn take_in(&mut self, ids: &[u32]) -> Result<()> {
        match ids {
            [id] if !self.all_logits => self.step(*id)?,
            ids => self.chunk(ids, &[])?,
        }
        self.took_in(ids);
        Ok(())
    }

    fn took_in(&mut self, ids: &[u32]) {
        self.legs_mut().for_each(|leg| leg.room.cache.advance(ids.len()));
        self.tokens.extend_from_slice(ids);
        self.found = Found::Logits;
    }

    /// Several tokens in a stage of their own on each leg, which somebody may want to see: there are as many witnesses as legs, or
    /// none.
    fn chunk(&mut self, ids: &[u32], witnesses: &[Arc<Witness>]) -> Result<()> {
        self.stay();
        self.found = Found::Nothing;
        let (tokens, logit_rows) = ((ids, self.len()), self.logit_rows(ids.len()));
        let (model, last) = (self.model.as_ref(), self.fronts.len());
        let handed = {
            // All is recorded before any of it is handed over, so that what cannot be recorded leaves nothing behind.
            let mut fronts = Vec::with_capacity(last);
            for (number, front) in self.fronts.iter_mut().enumerate() {
                fronts.push(front.leg.chunk(model, tokens, logit_rows, witnesses.get(number), None)?);
            }
            let end = self.last.chunk(model, tokens, logit_rows, witnesses.get(last), None)?;
            let Recorded { mut stage, ops, hidden, logits, position } = end;
            let row = logits.narrow(0, logit_rows - 1..logit_rows)?;
            self.choice.record(&mut ops.on(&mut stage), &row, &position, self.replay.give_turn())?;
            hand_over(fronts, &hidden).and_then(|()| Ok(stage.fence()?))
        };
        self.tear(handed).map(drop)
    }

    /// One token by the recorded stages, unless the last one has run ahead with just this token.
    fn step(&mut self, id: u32) -> Result<()> {
        if self.found == (Found::Chosen { ahead: true }) && self.replay.found_before()? == id {
            return Ok(());
        }
        self.fed_step(id).map(drop)
    }

    /// Feeds a token to the step of each leg.
    fn fed_step(&mut self, id: u32) -> Result<Vec<Fence>> {
        self.stay();
        self.found = Found::Nothing;
        let (position, model) = (self.tokens.len(), self.model.as_ref());
        self.replay.prepare(&mut self.last, model, &self.choice)?;
        let stepped = self.step_by_step(id, position);
        self.tear(stepped)
    }

    fn step_by_step(&mut self, id: u32, position: usize) -> Result<Vec<Fence>> {
        let mut fences = Vec::new();
        let mut coming: Option<Tensor> = None;
        for front in &mut self.fronts {
            let hidden = front.leg.room.hidden(1)?;
            coming.as_ref().map_or(Ok(()), |coming| carry(coming, &hidden))?;
            fences.push(front.step(id, position)?);
            coming = Some(hidden);
        }
        if let Some(coming) = coming {
            carry(&coming, &self.last.room.hidden(1)?)?;
        }
        self.replay.feed(&mut self.last.session, id, position)?;
        fences.push(self.replay_step()?);
        Ok(fences)
    }

    /// Makes nothing of a step that ran ahead.
    fn stay(&mut self) {
        if self.found == (Found::Chosen { ahead: true }) {
            self.replay.take_back();
            self.found = Found::Chosen { ahead: false };
        }
    }

    fn replay_step(&mut self) -> Result<Fence> {
        self.replay.step(&mut self.last, self.model.as_ref(), &self.choice)
    }

    /// Where legs may have done different things, nothing can follow.
    fn tear<T>(&mut self, done: Result<T>) -> Result<T> {
        if let (Err(error), false) = (&done, self.fronts.is_empty()) {
            self.torn = Some(error.clone());
        }
        done
    }

    fn check_whole(&self) -> Result<()> {
        self.torn.clone().map_or(Ok(()), Err)
    }

    /// Tokens that are computed at a time.
    fn rows(&self) -> usize {
        self.last.room.buffers.rows()
    }

    fn logit_rows(&self, rows: usize) -> usize {
        if self.all_logits { rows } else { 1 }
    }

    fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.fronts.iter().map(|front| &front.leg).chain([&self.last])
    }

    fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.fronts.iter_mut().map(|front| &mut front.leg).chain([&mut self.last])
    }
}

/// Hands over what the legs in front compute of a chunk, one after another, and brings what comes out to the last one.
fn hand_over(fronts: Vec<Recorded<'_>>, to: &Tensor) -> Result<()> {
    let mut coming: Option<Tensor> = None;
    for Recorded { stage, hidden, .. } in fronts {
        coming.as_ref().map_or(Ok(()), |coming| carry(coming, &hidden))?;
        drop(stage.fence()?);
        coming = Some(hidden);
    }
    coming.map_or(Ok(()), |coming| carry(&coming, to))
}

impl Text for Sequence {
    fn tokens(&self) -> &[u32] {
        self.tokens()
    }

    fn greedy(&self) -> Result<u32> {
        self.greedy()
    }

    fn read_logits(&self) -> Result<Read<'_, f32>> {
        self.read_logits()
    }

    fn shortlist(&self) -> Result<Option<(Read<'_, u32>, Read<'_, f32>)>> {
        self.shortlist()
    }

    fn drawn(&self, how: &Draw) -> Result<Option<u32>> {
        match &self.choice.drawing {
            Some(drawing) if drawing.how == *how => self.chosen().map(Some),
            _ => Ok(None),
        }
    }
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, context) = (self.len(), self.context());
        f.debug_struct("Sequence").field("len", &len).field("context", &context).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
