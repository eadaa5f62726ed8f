//! A batch: several texts on one model, of which a step takes one token each, reading every weight once for all of them.
//!
//! A text has a place, with a cache of its own. It joins and leaves whenever it likes, and its prompt is taken in alone, in chunks; a
//! step goes over any of the texts. What a text gives does not depend on who else is there, but for how products of one row and
//! of several are summed.
//! Next rooms: `steps`, which replays; [`sampler`](super::sampler), which makes tokens of logits.

mod steps;

use std::{cmp::Reverse, ops::ControlFlow, sync::Arc};

use forebay_device::{Device, Fence, Read, Request, Session, StageProfile, Tag};
use forebay_tensor::{DType, Ops, Tensor, ops::Argmax};

use super::{
    step::{SequenceOptions, seen::Seen, shortlist::Shortlist},
    text::Text,
};
use crate::{
    error::{Error, Result},
    models::{Model, Pass, activations::Activations, cache::Cache},
};
use steps::{Over, Row, Steps};

/// The most texts.
const MOST: usize = 256;

/// Several texts on one model.
///
/// ```no_run
/// # fn example(engine: forebay::Engine) -> forebay::Result<()> {
/// use forebay::generate::text::Text;
///
/// let mut batch = engine.batch(2)?;
/// batch.join(&[1, 403])?;
/// batch.join(&[1, 407, 410])?;
/// for _ in 0..10 {
///     let next = [(0, batch.text(0)?.greedy()?), (1, batch.text(1)?.greedy()?)];
///     batch.step(&next)?;
/// }
/// println!("{:?}", batch.text(1)?.tokens());
/// # Ok(())
/// # }
/// ```
pub struct Batch {
    model: Arc<dyn Model>,
    ops: Arc<Ops>,
    session: Session,
    /// Those of all texts side by side.
    cache: Cache,
    texts: Vec<Own>,
    buffers: Activations,
    /// Tokens of a chunk and then their positions; chunks take turns, so that one is put here while the last one is computed.
    chunks: [Tensor; 2],
    seen: Seen,
    steps: Steps,
    /// The places of the rows of the latest step.
    rows: Vec<usize>,
    /// Whether another step of these rows is under way, with what the latest one found; it has written over logits.
    ahead: bool,
    /// The logits of rows of the latest step, row by row.
    logits: Vec<Tensor>,
    shortlist: Option<Shortlist>,
    apart: bool,
}

/// What one text has.
struct Own {
    cache: Cache,
    tokens: Vec<u32>,
    taken: bool,
    found: Found,
    /// The logits behind its prompt, and the largest of them.
    logits: Tensor,
    largest: Tensor,
}

/// Where it is found what follows the last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nowhere,
    /// Behind the prompt.
    Own,
    /// In this row of the latest step.
    Row(usize),
}

impl Batch {
    /// So many free places. There are logits of the last token of each text only, whatever the options say.
    ///
    /// # Errors
    /// [`Error::Option`] for a value that cannot be, and for a model whose layers keep states or lie on several devices;
    /// [`Error::Device`] if there is no memory for the caches.
    pub fn new(
        device: &Device,
        model: Arc<dyn Model>,
        ops: Arc<Ops>,
        places: usize,
        options: &SequenceOptions,
    ) -> Result<Self> {
        options.check(model.as_ref())?;
        if !(1..=MOST).contains(&places) {
            return Err(Error::Option { name: "texts of a batch", wanted: format!("from 1 to {MOST}") });
        }
        if model.legs().len() > 1 {
            let wanted = "on one device; texts of a model on several run one by one".to_owned();
            return Err(Error::Option { name: "model of a batch", wanted });
        }
        let SequenceOptions { context, kv, chunk, apart, .. } = *options;
        let (chunk, sizes) = (chunk.min(context), *model.sizes());
        let list = || -> Result<Tensor> {
            let request = Request::elements::<u32>(2 * chunk).tag(Tag::Activations).label("chunk");
            Ok(Tensor::of(DType::U32, &[2 * chunk], device.alloc(request)?)?)
        };
        let seen = Seen::new(device)?;
        let cache = Cache::of_texts(device, &sizes, &model.keeps(), kv, context, chunk, places)?;
        let shape = [places, sizes.vocabulary];
        let request = Tensor::request(DType::F32, &shape)?.tag(Tag::Activations).label("logits");
        let logits = Tensor::of(DType::F32, &shape, device.alloc(request)?)?;
        let largest = seen.tensor(DType::U32, &[places], "told")?;
        let own = |place| -> Result<Own> {
            let of = |all: &Tensor| all.narrow(0, place..place + 1);
            let (logits, largest) = (of(&logits)?, of(&largest)?);
            let (cache, tokens) = (cache.of_text(place)?, Vec::with_capacity(context));
            Ok(Own { cache, tokens, taken: false, found: Found::Nowhere, logits, largest })
        };
        let buffers = Activations::new(device, &sizes, context, chunk.max(places), places)?;
        let buffers = buffers.of_texts(device, &sizes, context, places)?;
        let row = |row| Ok(buffers.logits.narrow(0, row..row + 1)?);
        Ok(Self {
            texts: (0..places).map(own).collect::<Result<_>>()?,
            logits: (0..places).map(row).collect::<Result<_>>()?,
            chunks: [list()?, list()?],
            steps: Steps::new(device, &seen, places)?,
            rows: Vec::with_capacity(places),
            session: device.session()?,
            apart: apart.unwrap_or(!device.caps().unified),
            ahead: false,
            shortlist: None,
            model,
            ops,
            cache,
            buffers,
            seen,
        })
    }

    /// How many texts there is room for.
    pub fn places(&self) -> usize {
        self.texts.len()
    }

    /// How many places are free.
    pub fn free(&self) -> usize {
        self.texts.iter().filter(|text| !text.taken).count()
    }

    /// Positions of each cache.
    pub fn context(&self) -> usize {
        self.cache.capacity()
    }

    /// Takes a free place with a text, and gives the place, if there is one. Of several it is that where the last text began most
    /// like this one, as what they begin with is not computed again.
    ///
    /// # Errors
    /// As [`become_text`](Self::become_text).
    pub fn join(&mut self, ids: &[u32]) -> Result<Option<usize>> {
        self.join_watched(ids, |_| ControlFlow::Continue(()))
    }

    /// The same, and `watch` is told how many tokens are handed to the device before each chunk and after the last one, and may
    /// break off; what was taken in by then is the text.
    ///
    /// # Errors
    /// As [`become_text`](Self::become_text).
    pub fn join_watched(
        &mut self,
        ids: &[u32],
        watch: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<usize>> {
        self.check(0, ids)?;
        let free = self.texts.iter().enumerate().filter(|(_, text)| !text.taken);
        let Some((place, _)) = free.min_by_key(|(_, text)| Reverse(alike(&text.tokens, ids))) else {
            return Ok(None);
        };
        self.texts[place].taken = true;
        self.become_text(place, ids, watch)?;
        Ok(Some(place))
    }

    /// Gives a place back. What its text begins with may serve the one that takes the place.
    ///
    /// # Errors
    /// [`Error::Option`] for a place that is not taken.
    pub fn leave(&mut self, place: usize) -> Result<()> {
        let text = self.own(place)?;
        (text.taken, text.found) = (false, Found::Nowhere);
        Ok(())
    }

    /// How many tokens the text of a place has.
    ///
    /// # Errors
    /// [`Error::Option`] for a place that is not taken.
    pub fn len(&self, place: usize) -> Result<usize> {
        Ok(self.text(place)?.text.tokens.len())
    }

    /// A text that has a place.
    ///
    /// # Errors
    /// [`Error::Option`] for a place that is not taken.
    pub fn text(&self, place: usize) -> Result<BatchText<'_>> {
        match self.texts.get(place).filter(|text| text.taken) {
            Some(text) => Ok(BatchText { batch: self, text }),
            None => Err(free_place()),
        }
    }

    /// Makes these tokens the text of a place: what both begin with stays, what else there was is forgotten, and the rest is taken
    /// in chunk by chunk; `watch` is told how many tokens are handed to the device before each chunk and after the last one, and may
    /// break off. Gives how many tokens stayed; the last one is always computed, for its logits.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::ContextFull`], [`Error::TokenId`] or [`Error::Option`] before anything is forgotten; those
    /// of the device.
    pub fn become_text(
        &mut self,
        place: usize,
        ids: &[u32],
        mut watch: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize> {
        self.own(place)?;
        self.check(0, ids)?;
        let text = &mut self.texts[place];
        let same = alike(&text.tokens, &ids[..ids.len() - 1]);
        let kept = text.cache.reach(same);
        text.cache.roll_back(&mut self.session, kept)?;
        text.tokens.truncate(kept);
        text.found = Found::Nowhere;
        self.take_in(place, &ids[kept..], |done| watch(kept + done))?;
        Ok(kept)
    }

    /// Takes tokens of one text in, behind those that are there; the logits of the last one are there afterwards. What was found
    /// of other texts stays.
    ///
    /// # Errors
    /// As [`become_text`](Self::become_text).
    pub fn feed(&mut self, place: usize, ids: &[u32]) -> Result<()> {
        let len = self.own(place)?.tokens.len();
        self.check(len, ids)?;
        self.take_in(place, ids, |_| ControlFlow::Continue(()))
    }

    /// Takes a token of each of these texts in, all in one step. What was found of others in the step before is gone.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] for none, [`Error::ContextFull`], [`Error::TokenId`], and [`Error::Option`] for a place that is not
    /// taken or comes twice, before anything is computed; those of the device.
    pub fn step(&mut self, tokens: &[(usize, u32)]) -> Result<()> {
        self.check_step(tokens)?;
        let done = self.has_run_ahead_with(tokens)?;
        self.take_step(tokens, done).map(drop)
    }

    /// Takes a token of each of these texts in and tells how long each launch of that took. They run one by one then, with a look at
    /// the clock between them, which takes longer in all.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_profiled(&mut self, tokens: &[(usize, u32)]) -> Result<StageProfile> {
        self.check_step(tokens)?;
        self.session.set_profiling(true);
        let fence = self.take_step(tokens, false);
        self.session.set_profiling(false);
        let Some(fence) = fence? else { return Ok(StageProfile::default()) };
        fence.wait()?;
        Ok(fence.profile().unwrap_or_default())
    }

    /// A step that was checked; it may be done already.
    fn take_step(&mut self, tokens: &[(usize, u32)], done: bool) -> Result<Option<Fence>> {
        let rows = match done {
            true => tokens.iter().map(|(place, _)| (*place, self.texts[*place].found)).collect::<Vec<_>>(),
            false => (0..).zip(tokens).map(|(row, (place, _))| (*place, Found::Row(row))).collect(),
        };
        let given = |(place, id): &(usize, u32)| Row {
            id: *id,
            position: self.texts[*place].tokens.len(),
            place: *place,
        };
        let given: Vec<Row> = tokens.iter().map(given).collect();
        self.forget_rows();
        let mut fence = None;
        if !done {
            self.stay();
            self.rows.clear();
            self.steps.feed(&mut self.session, &given)?;
            self.rows.extend(tokens.iter().map(|(place, _)| *place));
            fence = Some(self.replay()?);
        }
        self.ahead = false;
        for ((place, found), (_, id)) in rows.into_iter().zip(tokens) {
            let text = &mut self.texts[place];
            text.cache.advance(1);
            text.tokens.push(*id);
            text.found = found;
        }
        Ok(fence)
    }

    /// Has the device take in the tokens of the largest logits of the texts of the latest step before the host knows which they are,
    /// as [`Sequence::run_ahead`](super::step::Sequence::run_ahead) does. The [`step`](Self::step) that follows is done already
    /// if it takes these tokens, of all of these texts or of some of them.
    ///
    /// Gives whether it did so. It does not where the options say so, where a text of the latest step has left, was fed or is at the
    /// end of its context.
    ///
    /// # Errors
    /// What the device says.
    pub fn run_ahead(&mut self) -> Result<bool> {
        let context = self.context();
        let goes_on = |(row, place): (usize, &usize)| {
            let text = &self.texts[*place];
            text.found == Found::Row(row) && text.tokens.len() < context && text.cache.may_overshoot()
        };
        let known = self.apart && !self.ahead && self.steps.is_fed() && !self.rows.is_empty();
        if !known || !self.rows.iter().enumerate().all(goes_on) {
            return Ok(false);
        }
        drop(self.replay()?);
        for place in &self.rows {
            self.texts[*place].cache.overshoot();
        }
        self.ahead = true;
        Ok(true)
    }

    /// Has every step find so many of the largest logits of each text as well, for samplers that look at no others, as
    /// [`Sequence::set_shortlist`](super::step::Sequence::set_shortlist) does; behind prompts there is none. What was found in
    /// the latest step is gone, if that changes anything.
    ///
    /// # Errors
    /// What the device says.
    pub fn set_shortlist(&mut self, count: Option<usize>) -> Result<()> {
        let count = Shortlist::worth(count, self.apart, self.model.sizes().vocabulary);
        if count != self.shortlist.as_ref().map(Shortlist::len) {
            self.stay();
            self.forget_rows();
            self.rows.clear();
            self.steps.forget();
            let list = |count| Shortlist::new(&self.seen, self.places(), count);
            self.shortlist = count.map(list).transpose()?;
        }
        Ok(())
    }

    /// Waits until everything that was taken in is computed.
    ///
    /// # Errors
    /// Those of the device.
    pub fn wait(&self) -> Result<()> {
        if !self.rows.is_empty() {
            self.steps.found(0)?;
        }
        // Every chunk writes what it found.
        for text in self.texts.iter().filter(|text| text.found == Found::Own) {
            drop(text.largest.read::<u32>()?);
        }
        Ok(())
    }

    fn own(&mut self, place: usize) -> Result<&mut Own> {
        self.texts.get_mut(place).filter(|text| text.taken).ok_or_else(free_place)
    }

    /// Whether these tokens can follow so many.
    pub(crate) fn check(&self, len: usize, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let (tokens, context) = (len.saturating_add(ids.len()), self.context());
        if tokens > context {
            return Err(Error::ContextFull { tokens, context });
        }
        let size = self.model.sizes().vocabulary;
        match ids.iter().find(|&&id| id as usize >= size) {
            Some(&id) => Err(Error::TokenId { id, size }),
            None => Ok(()),
        }
    }

    fn check_step(&mut self, tokens: &[(usize, u32)]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        for (i, (place, id)) in tokens.iter().enumerate() {
            let len = self.own(*place)?.tokens.len();
            self.check(len, &[*id])?;
            if tokens[..i].iter().any(|(other, _)| other == place) {
                return Err(Error::Option { name: "place", wanted: "in a step only once".to_owned() });
            }
        }
        Ok(())
    }

    /// Takes tokens that were checked.
    fn take_in(
        &mut self,
        place: usize,
        ids: &[u32],
        mut watch: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        let most = self.chunks[0].elements() / 2;
        let mut done = 0;
        for chunk in ids.chunks(most) {
            if watch(done).is_break() {
                return Ok(());
            }
            self.chunk(place, chunk)?;
            done += chunk.len();
        }
        // There is nothing left to break off.
        let _ = watch(done);
        Ok(())
    }

    /// Several tokens of one text, in a stage of their own.
    fn chunk(&mut self, place: usize, ids: &[u32]) -> Result<()> {
        self.chunks.swap(0, 1);
        let (rows, text) = (ids.len(), &mut self.texts[place]);
        text.found = Found::Nowhere;
        let list = self.chunks[0].narrow(0, 0..2 * rows)?;
        let words = ids.iter().copied().chain(text.tokens.len() as u32..).take(2 * rows);
        list.copy_from(&words.collect::<Vec<u32>>())?;
        let (list, positions) = (list.narrow(0, 0..rows)?, list.narrow(0, rows..2 * rows)?);
        let mut buffers = self.buffers.first(rows, 1)?;
        buffers.logits = text.logits.clone();
        let pass =
            Pass { ids: &list, positions: &positions, places: None, cache: &text.cache, buffers: &buffers };
        let mut stage = self.session.stage("prompt");
        let mut ops = self.ops.on(&mut stage);
        self.model.forward(&mut ops, &pass)?;
        ops.record(&Argmax { x: &buffers.logits, out: &text.largest })?;
        drop(stage.fence()?);
        text.cache.advance(rows);
        text.tokens.extend_from_slice(ids);
        text.found = Found::Own;
        Ok(())
    }

    /// Whether the step that ran ahead took just these tokens, and perhaps others.
    fn has_run_ahead_with(&self, tokens: &[(usize, u32)]) -> Result<bool> {
        for (place, id) in tokens {
            match self.texts[*place].found {
                Found::Row(row) if self.ahead && self.steps.found_before(row)? == *id => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// What was found in the latest step is no longer asked for.
    fn forget_rows(&mut self) {
        for text in &mut self.texts {
            if matches!(text.found, Found::Row(_)) {
                text.found = Found::Nowhere;
            }
        }
    }

    /// Makes nothing of a step that ran ahead.
    fn stay(&mut self) {
        if self.ahead {
            self.steps.take_back();
            self.ahead = false;
        }
    }

    fn replay(&mut self) -> Result<Fence> {
        let over = Over {
            model: self.model.as_ref(),
            ops: &self.ops,
            cache: &self.cache,
            buffers: &self.buffers,
            shortlist: self.shortlist.as_ref(),
        };
        self.steps.step(&mut self.session, &over, self.rows.len())
    }
}

/// One text of a batch.
#[derive(Clone, Copy)]
pub struct BatchText<'a> {
    batch: &'a Batch,
    text: &'a Own,
}

impl Text for BatchText<'_> {
    fn tokens(&self) -> &[u32] {
        &self.text.tokens
    }

    fn greedy(&self) -> Result<u32> {
        match self.text.found {
            Found::Nowhere => Err(Error::NoLogits),
            Found::Own => Ok(self.text.largest.read::<u32>()?[0]),
            Found::Row(row) if self.batch.ahead => self.batch.steps.found_before(row),
            Found::Row(row) => self.batch.steps.found(row),
        }
    }

    fn read_logits(&self) -> Result<Read<'_, f32>> {
        match self.text.found {
            Found::Own => Ok(self.text.logits.read()?),
            Found::Row(row) if !self.batch.ahead => Ok(self.batch.logits[row].read()?),
            _ => Err(Error::NoLogits),
        }
    }

    fn shortlist(&self) -> Result<Option<(Read<'_, u32>, Read<'_, f32>)>> {
        match (&self.batch.shortlist, self.text.found) {
            (None, _) | (_, Found::Own) => Ok(None),
            (Some(list), Found::Row(row)) if !self.batch.ahead => list.read(row).map(Some),
            _ => Err(Error::NoLogits),
        }
    }
}

/// How many tokens both begin with.
fn alike(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn free_place() -> Error {
    Error::Option { name: "place", wanted: "one that a text has taken".to_owned() }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (places, free) = (self.places(), self.free());
        f.debug_struct("Batch").field("places", &places).field("free", &free).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BatchText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchText").field("len", &self.text.tokens.len()).finish_non_exhaustive()
    }
}
