//! What of a text is given out: tokens until a rule ends it, and the text that is certain by then.
//!
//! It knows no model and no sampler. Next rooms: `generation`, for one text; `several`, for many.

use super::Engine;
use crate::{
    engine::Piece,
    error::Result,
    generate::{
        stop::{Stop, StopRule, StopTexts},
        tokenizer::Decoder,
    },
};

/// Where the tokens of one text come out.
pub(super) struct Outlet<'a> {
    /// Tokens that end a text, ascending.
    ends: &'a [u32],
    decoder: Decoder<'a>,
    rule: StopRule,
    texts: StopTexts,
    /// Tokens that were given out.
    pub(super) given: usize,
    pub(super) stop: Option<Stop>,
}

impl<'a> Outlet<'a> {
    /// For what follows a prompt.
    pub(super) fn new(engine: &'a Engine, prompt: &[u32], mut rule: StopRule) -> Self {
        let texts = StopTexts::new(std::mem::take(&mut rule.texts));
        let (decoder, ends) = (engine.tokenizer().decoder(prompt), &*engine.settings().ends);
        Self { ends, decoder, rule, texts, given: 0, stop: None }
    }

    /// Whether another token may be asked for, with so many positions left; if not, it has ended.
    pub(super) fn goes_on(&mut self, left: usize) -> bool {
        self.stop = self.rule.before(self.given, left);
        self.stop.is_none()
    }

    /// Whether one more may be asked for after the next one, of which there are so many positions left.
    pub(super) fn would_go_on(&self, left: usize) -> bool {
        self.rule.before(self.given + 1, left - 1).is_none()
    }

    /// Gives a token out, unless it ends the text.
    pub(super) fn give(&mut self, token: u32) -> Result<Option<Piece>> {
        self.stop = self.rule.at(token, self.ends);
        if self.stop.is_some() {
            return Ok(None);
        }
        let (text, ended) = self.texts.push(self.decoder.push(token)?);
        self.stop = ended.then_some(Stop::Text);
        self.given += 1;
        Ok(Some(Piece { token: Some(token), text: text.to_owned() }))
    }

    /// What was held back, once it has ended.
    pub(super) fn rest(&mut self) -> Option<Piece> {
        // A last character that is not whole may still complete a text to end at; what is held back follows it.
        let (certain, _) = self.texts.push(self.decoder.finish());
        let text = certain.to_owned() + self.texts.finish();
        (!text.is_empty()).then_some(Piece { token: None, text })
    }
}
