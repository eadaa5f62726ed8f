//! Ids back to text, one at a time, never giving half a character.
//!
//! Bytes that may still become a character wait; bytes that cannot become one show as U+FFFD.

use super::Tokenizer;
use crate::error::Result;

/// Turns ids into text as they come.
///
/// It is made by [`Tokenizer::decoder`]; see there for an example of a tokenizer.
///
/// ```no_run
/// # fn generated() -> Vec<u32> { Vec::new() }
/// # fn example(tokenizer: forebay::generate::tokenizer::Tokenizer) -> forebay::Result<()> {
/// let prompt = tokenizer.encode("Once upon a time", true)?;
/// let mut decoder = tokenizer.decoder(&prompt);
/// for id in generated() {
///     print!("{}", decoder.push(id)?);
/// }
/// println!("{}", decoder.finish());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    special: bool,
    /// Whether the next text begins with a space that nobody wrote.
    strip: bool,
    /// Bytes that are not yet given out.
    waiting: Vec<u8>,
    text: String,
}

impl<'a> Decoder<'a> {
    pub(super) fn after(tokenizer: &'a Tokenizer, prompt: &[u32]) -> Self {
        let strip = tokenizer.adds_space() && prompt.iter().all(|id| tokenizer.is_control(*id));
        Self { tokenizer, special: false, strip, waiting: Vec::new(), text: String::new() }
    }

    /// Shows control tokens as they are written; without this they do not show.
    #[must_use]
    pub fn special(mut self, special: bool) -> Self {
        self.special = special;
        self
    }

    /// The text that is certain after this id; it may be empty.
    ///
    /// # Errors
    /// [`Error::TokenId`](crate::Error::TokenId) where the id is not in the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<&str> {
        self.text.clear();
        if self.tokenizer.is_control(id) {
            if self.special {
                self.flush();
                self.tokenizer.append_bytes(id, &mut self.waiting)?;
                self.flush();
            }
            return Ok(&self.text);
        }
        let start = self.waiting.len();
        self.tokenizer.append_bytes(id, &mut self.waiting)?;
        if self.strip && self.waiting.len() > start {
            if self.waiting[start] == b' ' {
                self.waiting.remove(start);
            }
            self.strip = false;
        }
        self.give();
        Ok(&self.text)
    }

    /// What is still waiting, whole or not; the decoder can go on from here.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        self.flush();
        &self.text
    }

    /// Gives out all but an unfinished character at the end.
    fn give(&mut self) {
        let mut done = 0;
        for chunk in self.waiting.utf8_chunks() {
            self.text.push_str(chunk.valid());
            done += chunk.valid().len();
            let rest = &self.waiting[done..];
            let broken = chunk.invalid();
            let unfinished = broken.len() == rest.len()
                && std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
            if !broken.is_empty() && !unfinished {
                self.text.push(char::REPLACEMENT_CHARACTER);
                done += broken.len();
            }
        }
        self.waiting.drain(..done);
    }

    fn flush(&mut self) {
        self.give();
        if !self.waiting.is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.waiting.clear();
        }
    }
}
