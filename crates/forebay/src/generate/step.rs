//! A sequence: one text on one model, its cache, and the steps that take tokens in and leave logits.
//!
//! A prompt is taken in chunks, a stage each. A single token is taken by replaying a stage that was recorded once; what
//! changes from token to token lies in device memory, so nothing is allocated and nothing is patched. A sequence knows its
//! tokens, so that a text that begins like it is not computed again.
//! Next rooms: `replay`, for single tokens; `shortlist`, for what samplers look at; [`sampler`](super::sampler), which makes a token of logits.

mod replay;
pub(super) mod seen;
pub(super) mod shortlist;

use std::{ops::ControlFlow, sync::Arc};

use forebay_device::{Device, Fence, Read, Request, Session, StageProfile, Tag};
use forebay_tensor::{DType, Note, Ops, Tensor, ops::Argmax};

use replay::Replay;
use seen::Seen;
use shortlist::Shortlist;

use super::text::Text;
use crate::{
    error::{Error, Result},
    models::{
        Model, Pass,
        activations::Activations,
        cache::Cache,
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
    ops: Arc<Ops>,
    session: Session,
    cache: Cache,
    buffers: Activations,
    /// Tokens of a chunk and then their positions; chunks take turns, so that one is put here while the last one is computed.
    chunks: [Tensor; 2],
    seen: Seen,
    replay: Replay,
    shortlist: Option<Shortlist>,
    all_logits: bool,
    apart: bool,
    tokens: Vec<u32>,
    found: Found,
}

/// The longest shortlist: finding more is no less work than looking at all.
pub(super) const LONGEST: usize = 256;

/// What there is of the last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// What follows it if it is the largest logit; and perhaps the step for that is under way, which has written over logits.
    Largest {
        ahead: bool,
    },
    Logits,
}

impl Sequence {
    /// An empty text.
    ///
    /// # Errors
    /// [`Error::Option`] for a value that cannot be, [`Error::Device`] if there is no memory for the cache.
    pub fn new(
        device: &Device,
        model: Arc<dyn Model>,
        ops: Arc<Ops>,
        options: &SequenceOptions,
    ) -> Result<Self> {
        options.check(model.as_ref())?;
        let SequenceOptions { context, kv, chunk, all_logits, apart } = *options;
        let rows = chunk.min(context);
        let list = || -> Result<Tensor> {
            let request = Request::elements::<u32>(2 * rows).tag(Tag::Activations).label("chunk");
            Ok(Tensor::of(DType::U32, &[2 * rows], device.alloc(request)?)?)
        };
        let seen = Seen::new(device)?;
        Ok(Self {
            cache: Cache::new(
                device,
                model.sizes(),
                &model.keeps(),
                0..model.sizes().layers,
                kv,
                context,
                rows,
            )?,
            buffers: Activations::new(
                device,
                model.sizes(),
                context,
                rows,
                if all_logits { rows } else { 1 },
            )?,
            chunks: [list()?, list()?],
            replay: Replay::new(device, &seen)?,
            seen,
            session: device.session()?,
            model,
            ops,
            all_logits,
            shortlist: None,
            apart: apart.unwrap_or(!device.caps().unified) && !all_logits,
            tokens: Vec::with_capacity(context),
            found: Found::Nothing,
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
        self.cache.capacity()
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
        for chunk in ids.chunks(self.buffers.rows()) {
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
        for chunk in ids.chunks(self.buffers.rows()) {
            self.take_in(chunk)?;
            let rows = if self.all_logits { chunk.len() } else { 1 };
            each(&self.buffers.logits.narrow(0, 0..rows)?.read::<f32>()?)?;
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
        for chunk in ids.chunks(self.buffers.rows()) {
            self.take_in(chunk)?;
            let first = if self.all_logits { 0 } else { chunk.len() - 1 };
            each(&self.buffers.normed.floats.narrow(0, first..chunk.len())?.read::<f32>()?)?;
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
        for ids in ids.chunks(self.buffers.rows()) {
            let witness = Arc::new(Witness::new(self.session.device()));
            self.chunk(ids, Some(&witness))?;
            self.took_in(ids);
            witness.tell(&mut each)?;
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
            true => Ok(self.buffers.logits.read()?),
            false => Err(Error::NoLogits),
        }
    }

    /// The token of the largest logit, found on the device.
    ///
    /// # Errors
    /// [`Error::NoLogits`] before the first token and after a way back, and those of the device.
    pub fn greedy(&self) -> Result<u32> {
        match self.found {
            _ if self.all_logits => Err(Error::NoLogits),
            Found::Nothing => Err(Error::NoLogits),
            Found::Largest { ahead: true } => self.replay.found_before(),
            Found::Largest { ahead: false } | Found::Logits => self.replay.found(),
        }
    }

    /// Has the device take in the token of the largest logit before the host knows which it is, so that neither waits for the
    /// other. The text is no longer by that: the token that is [fed](Self::feed) next decides. If it is that one, all is done
    /// already; if not, the step counts for nothing. Logits of the last token are gone.
    ///
    /// Gives whether it did so. It does not where the options say so, where the context ends, behind a chunk, which does not feed a
    /// step, and where layers keep states, as there is no way back.
    ///
    /// # Errors
    /// What the device says.
    pub fn run_ahead(&mut self) -> Result<bool> {
        let known = self.found == Found::Logits && self.replay.is_fed();
        let room = self.len() < self.context() && self.cache.may_overshoot();
        if !(self.apart && known && room) {
            return Ok(false);
        }
        self.found = Found::Largest { ahead: false };
        drop(self.replay_step()?);
        self.cache.overshoot();
        self.found = Found::Largest { ahead: true };
        Ok(true)
    }

    /// Has every step find so many of the largest logits as well, for a sampler that looks at no others; none does not. Where host
    /// and device are not apart, or the list would be long, it finds none, as the host looks at all of them. What was found of
    /// the last token is gone, if that changes anything.
    ///
    /// # Errors
    /// What the device says.
    pub fn set_shortlist(&mut self, count: Option<usize>) -> Result<()> {
        let most = LONGEST.min(self.model.sizes().vocabulary - 1);
        let count = count.filter(|count| self.apart && (1..=most).contains(count));
        if count != self.shortlist.as_ref().map(Shortlist::len) {
            self.stay();
            self.replay.starve();
            self.replay.forget();
            self.found = Found::Nothing;
            self.shortlist = count.map(|count| Shortlist::new(&self.seen, 1, count)).transpose()?;
        }
        Ok(())
    }

    /// The largest logits of the last token and whose they are, the largest first and of equal ones the lower id; none where no
    /// [`shortlist`](Self::set_shortlist) is made.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn shortlist(&self) -> Result<Option<(Read<'_, u32>, Read<'_, f32>)>> {
        match (&self.shortlist, self.found) {
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
        self.cache.checkpoint(&mut self.session)
    }

    /// The latest length up to `len` that the text can be taken back to.
    pub fn reach(&self, len: usize) -> usize {
        self.cache.reach(len)
    }

    /// Forgets all tokens from a length on, as if they had never been taken in. There are no logits until the next token.
    ///
    /// # Errors
    /// [`Error::NoWayBack`] unless [`reach`](Self::reach) gives this length, and those of the device; the text stays as
    /// it was.
    pub fn roll_back(&mut self, len: usize) -> Result<()> {
        let gone = len < self.len();
        self.cache.roll_back(&mut self.session, len)?;
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
        let most = self.buffers.rows();
        if rows == 0 || rows > most {
            let wanted = format!("from 1 to {most}, which are computed at a time");
            return Err(Error::Option { name: "rows", wanted });
        }
        let [ids, positions] = self.place(&vec![0; rows])?;
        let buffers = self.buffers.first(rows, if self.all_logits { rows } else { 1 })?;
        let mut notes = Vec::new();
        // A stage that is dropped leaves nothing behind.
        let mut stage = self.session.stage("explain");
        let pass =
            Pass { ids: &ids, positions: &positions, places: None, cache: &self.cache, buffers: &buffers };
        self.model.forward(&mut self.ops.on(&mut stage).noting(&mut notes), &pass)?;
        Ok(notes)
    }

    /// Takes a token in and tells how long each launch of that took. They run one by one then, with a look at the clock between
    /// them, which takes longer in all.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_profiled(&mut self, id: u32) -> Result<StageProfile> {
        self.check(&[id])?;
        self.session.set_profiling(true);
        let fence = self.fed_step(id);
        self.session.set_profiling(false);
        let fence = fence?;
        self.took_in(&[id]);
        fence.wait()?;
        Ok(fence.profile().unwrap_or_default())
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
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
            ids => self.chunk(ids, None)?,
        }
        self.took_in(ids);
        Ok(())
    }

    fn took_in(&mut self, ids: &[u32]) {
        self.cache.advance(ids.len());
        self.tokens.extend_from_slice(ids);
        self.found = Found::Logits;
    }

    /// Several tokens in a stage of their own, which somebody may want to see.
    fn chunk(&mut self, ids: &[u32], witness: Option<&Arc<Witness>>) -> Result<()> {
        self.stay();
        self.found = Found::Nothing;
        let rows = ids.len();
        let [list, positions] = self.place(ids)?;
        let buffers = self.buffers.first(rows, if self.all_logits { rows } else { 1 })?;
        let buffers = match witness {
            Some(witness) => buffers.witnessed(witness),
            None => buffers,
        };
        let pass =
            Pass { ids: &list, positions: &positions, places: None, cache: &self.cache, buffers: &buffers };
        let mut stage = self.session.stage("prompt");
        let mut ops = self.ops.on(&mut stage);
        self.model.forward(&mut ops, &pass)?;
        let rows = buffers.logits.shape()[0];
        let last = buffers.logits.narrow(0, rows - 1..rows)?;
        self.shortlist.as_ref().map_or(Ok(()), |list| list.record(&mut ops, &last))?;
        ops.record(&Argmax { x: &last, out: self.replay.give_turn() })?;
        drop(stage.fence()?);
        Ok(())
    }

    /// One token by the recorded stage, unless that has run ahead with just this token.
    fn step(&mut self, id: u32) -> Result<()> {
        if self.found == (Found::Largest { ahead: true }) && self.replay.found_before()? == id {
            return Ok(());
        }
        self.fed_step(id).map(drop)
    }

    fn fed_step(&mut self, id: u32) -> Result<Fence> {
        self.stay();
        self.found = Found::Nothing;
        self.replay.feed(&mut self.session, id, self.tokens.len())?;
        self.replay_step()
    }

    /// Makes nothing of a step that ran ahead.
    fn stay(&mut self) {
        if self.found == (Found::Largest { ahead: true }) {
            self.replay.take_back();
            self.found = Found::Largest { ahead: false };
        }
    }

    fn replay_step(&mut self) -> Result<Fence> {
        let (model, cache, list) = (self.model.as_ref(), &self.cache, self.shortlist.as_ref());
        self.replay.step(&mut self.session, model, &self.ops, cache, &self.buffers, list)
    }

    /// Puts tokens and their positions into device memory, which the chunk before the last one has left.
    fn place(&mut self, ids: &[u32]) -> Result<[Tensor; 2]> {
        self.chunks.swap(0, 1);
        let rows = ids.len();
        let list = self.chunks[0].narrow(0, 0..2 * rows)?;
        let words = ids.iter().copied().chain(self.len() as u32..).take(2 * rows);
        list.copy_from(&words.collect::<Vec<u32>>())?;
        Ok([list.narrow(0, 0..rows)?, list.narrow(0, rows..2 * rows)?])
    }
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
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, context) = (self.len(), self.context());
        f.debug_struct("Sequence").field("len", &len).field("context", &context).finish_non_exhaustive()
    }
}
