//! Several generations at once: the loop that has a batch take in a token of each text and asks their samplers for the next.
//!
//! Texts wait for a place, and take it when another one ends. Next room: [`batch`](crate::generate::batch).

use std::{collections::VecDeque, ops::ControlFlow};

use super::{Engine, Piece, outlet::Outlet};
use crate::{
    error::Result,
    generate::{
        batch::Batch,
        sampler::Sampler,
        stop::{Stop, StopRule},
    },
};

/// Texts that are generated at once: an iterator of whose turn it is and what follows, which ends when all of them have.
///
/// More can be added at any time. An error of one text ends that text; after one of the device nothing follows.
///
/// ```no_run
/// use forebay::{Engine, generate::{sampler::Greedy, stop::StopRule}};
///
/// let engine = Engine::open("model.gguf")?;
/// let mut several = engine.several(4)?;
/// for prompt in ["The sea is", "The moon is"] {
///     let ids = engine.tokenizer().encode(prompt, true)?;
///     several.add(&ids, StopRule::after(20), Box::new(Greedy))?;
/// }
/// for piece in &mut several {
///     let (which, piece) = piece?;
///     println!("{which}: {}", piece.text);
/// }
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct Several<'a> {
    engine: &'a Engine,
    batch: Batch,
    texts: Vec<One<'a>>,
    /// Those that wait for a place, and their prompts.
    waiting: VecDeque<(usize, Vec<u32>)>,
    /// Those that have a place, in the order in which they came.
    active: Vec<usize>,
    /// What was found and is to be given out.
    ready: VecDeque<(usize, Result<Piece>)>,
}

struct One<'a> {
    outlet: Outlet<'a>,
    sampler: Box<dyn Sampler + 'a>,
    cancelled: Box<dyn Fn() -> bool + Send + Sync>,
    place: usize,
    /// The token that was given out and not yet taken in.
    next: Option<u32>,
}

impl<'a> Several<'a> {
    pub(super) fn new(engine: &'a Engine, batch: Batch) -> Self {
        let (waiting, ready) = (VecDeque::new(), VecDeque::new());
        Self { engine, batch, texts: Vec::new(), waiting, active: Vec::new(), ready }
    }

    /// Adds what is to follow these tokens, and gives its number: 0 for the first one.
    ///
    /// # Errors
    /// As [`Batch::join`], for what cannot be a prompt.
    pub fn add(&mut self, prompt: &[u32], rule: StopRule, sampler: Box<dyn Sampler + 'a>) -> Result<usize> {
        self.batch.check(0, prompt)?;
        let (which, cancel) = (self.texts.len(), rule.cancel.clone());
        let outlet = Outlet::new(self.engine, prompt, rule);
        let cancelled = Box::new(move || cancel.is_cancelled());
        self.texts.push(One { outlet, sampler, cancelled, place: 0, next: None });
        self.waiting.push_back((which, prompt.to_vec()));
        Ok(which)
    }

    /// Why a text ended; none while it goes on, waits, or was never added.
    pub fn stop(&self, which: usize) -> Option<Stop> {
        self.texts.get(which).and_then(|one| one.outlet.stop)
    }

    /// Tokens that were generated of a text.
    pub fn generated(&self, which: usize) -> usize {
        self.texts.get(which).map_or(0, |one| one.outlet.given)
    }

    /// The texts that have a place now, in the order in which they came.
    pub fn active(&self) -> &[usize] {
        &self.active
    }

    /// A token of each text that has a place.
    fn round(&mut self) -> Result<()> {
        self.end_those_at_their_end()?;
        let joined = self.join()?;
        let next: Vec<_> = self.having_places().filter_map(|one| Some((one.place, one.next?))).collect();
        if !next.is_empty() {
            let largest = self.having_places().all(|one| one.sampler.takes_largest());
            self.batch.set_shortlist(self.shortlist())?;
            self.batch.step(&next)?;
            if largest && !joined && self.all_would_go_on()? {
                self.batch.run_ahead()?;
            }
        }
        for which in self.active.clone() {
            let one = &mut self.texts[which];
            let picked = one.sampler.pick(&self.batch.text(one.place)?);
            match picked.and_then(|token| Ok((token, one.outlet.give(token)?))) {
                Ok((token, Some(piece))) => {
                    one.next = Some(token);
                    self.ready.push_back((which, Ok(piece)));
                    if one.outlet.stop.is_some() {
                        self.end(which)?;
                    }
                }
                Ok((_, None)) => self.end(which)?,
                Err(error) => {
                    one.outlet.stop = Some(Stop::Failure);
                    self.ready.push_back((which, Err(error)));
                    self.leave(which)?;
                }
            }
        }
        Ok(())
    }

    fn having_places(&self) -> impl Iterator<Item = &One<'a>> {
        self.active.iter().map(|which| &self.texts[*which])
    }

    /// The list that is long enough for all samplers, if all of them look at lists.
    fn shortlist(&self) -> Option<usize> {
        let looks_at =
            |one: &One<'_>| if one.sampler.takes_largest() { Some(0) } else { one.sampler.looks_at() };
        self.having_places().map(looks_at).try_fold(0, |most: usize, one| Some(most.max(one?)))
    }

    /// Whether another step follows the one that was handed over, for all of them.
    fn all_would_go_on(&self) -> Result<bool> {
        for one in self.having_places() {
            // The token that is found now is one more than the text has.
            let left = (self.batch.context() + 1).saturating_sub(self.batch.len(one.place)?);
            if left == 0 || !one.outlet.would_go_on(left) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends what was cancelled, has as many tokens as were asked for, or has no room for another one.
    fn end_those_at_their_end(&mut self) -> Result<()> {
        for which in self.active.clone() {
            let one = &mut self.texts[which];
            let left = self.batch.context() - self.batch.len(one.place)? + usize::from(one.next.is_none());
            if !one.outlet.goes_on(left) {
                self.end(which)?;
            }
        }
        Ok(())
    }

    /// Gives free places to those that wait, and takes their prompts in. Gives whether there were some.
    fn join(&mut self) -> Result<bool> {
        let before = self.active.len();
        while self.batch.free() > 0
            && let Some((which, prompt)) = self.waiting.pop_front()
        {
            let one = &mut self.texts[which];
            let watch =
                |_| if (one.cancelled)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let Some(place) = self.batch.join_watched(&prompt, watch)? else { break };
            one.place = place;
            self.active.push(which);
            let whole = self.batch.len(place)? == prompt.len();
            if !whole {
                one.outlet.stop = Some(Stop::Cancelled);
                self.end(which)?;
            } else if !one.outlet.goes_on(self.batch.context() - prompt.len() + 1) {
                self.end(which)?;
            }
        }
        Ok(self.active.len() > before)
    }

    /// Gives out what a text that has ended held back.
    fn end(&mut self, which: usize) -> Result<()> {
        if let Some(piece) = self.texts[which].outlet.rest() {
            self.ready.push_back((which, Ok(piece)));
        }
        self.leave(which)
    }

    fn leave(&mut self, which: usize) -> Result<()> {
        self.active.retain(|other| *other != which);
        self.batch.leave(self.texts[which].place)
    }
}

impl Iterator for Several<'_> {
    type Item = Result<(usize, Piece)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((which, piece)) = self.ready.pop_front() {
                return Some(piece.map(|piece| (which, piece)));
            }
            if self.active.is_empty() && self.waiting.is_empty() {
                return None;
            }
            if let Err(error) = self.round() {
                // Nothing can be trusted after it, so nothing follows.
                for one in self.texts.iter_mut().filter(|one| one.outlet.stop.is_none()) {
                    one.outlet.stop = Some(Stop::Failure);
                }
                self.active.clear();
                self.waiting.clear();
                self.ready.clear();
                return Some(Err(error));
            }
        }
    }
}

impl std::fmt::Debug for Several<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Several")
            .field("batch", &self.batch)
            .field("active", &self.active)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}
