//! When generation ends: by the model's word, by a count, by a text, or because somebody wants it to.
//!
//! A text that ends generation is never shown, not even the beginning of one: what may become one is held back until it is certain.
//! Next room: `engine`, which asks these rules after each token.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The model said that the text ends.
    End,
    /// As many tokens as were asked for.
    Limit,
    /// The context is full.
    Context,
    /// One of the texts came that it was to end at.
    Text,
    /// Somebody cancelled it.
    Cancelled,
    /// A step failed; its error was given out.
    Failure,
}

/// What generation ends at.
///
/// ```
/// use forebay::generate::stop::StopRule;
///
/// let rule = StopRule { texts: vec!["\n\n".to_owned()], ..StopRule::after(100) };
/// assert_eq!((rule.limit, rule.ignore_ends), (Some(100), false));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopRule {
    /// The most tokens to generate; none is as many as the context holds.
    pub limit: Option<usize>,
    /// Goes on after a token that ends the text.
    pub ignore_ends: bool,
    /// Texts to end at; they are not given out.
    pub texts: Vec<String>,
    /// Ends it from elsewhere.
    pub cancel: Cancel,
}

/// Ends a generation from elsewhere: clones belong together, whatever thread they are on.
///
/// ```
/// use forebay::generate::stop::Cancel;
///
/// let cancel = Cancel::default();
/// let other = cancel.clone();
/// std::thread::spawn(move || other.cancel()).join().unwrap();
/// assert!(cancel.is_cancelled());
/// cancel.reset();
/// assert!(!cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends what goes on, before the next token, or between two parts of a prompt.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wants it to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Forgets it, so that the next generation runs.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl StopRule {
    /// At so many tokens, or when the model ends the text.
    pub fn after(limit: usize) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }

    /// Whether another token may be asked for, with so many generated and so many positions left.
    pub(crate) fn before(&self, generated: usize, left: usize) -> Option<Stop> {
        match self.limit {
            _ if self.cancel.is_cancelled() => Some(Stop::Cancelled),
            Some(limit) if generated >= limit => Some(Stop::Limit),
            _ if left == 0 => Some(Stop::Context),
            _ => None,
        }
    }

    /// Whether this token ends the text, where these do, ascending.
    pub(crate) fn at(&self, id: u32, ends: &[u32]) -> Option<Stop> {
        (!self.ignore_ends && ends.binary_search(&id).is_ok()).then_some(Stop::End)
    }
}

/// Looks for texts to end at in a text that comes in pieces. Where it is cut makes no difference: of several texts the one counts
/// that is complete first, of those the longest.
///
/// ```
/// use forebay::generate::stop::StopTexts;
///
/// let mut texts = StopTexts::new(vec!["END".to_owned()]);
/// assert_eq!(texts.push("the E"), ("the ", false));
/// assert_eq!(texts.push("N"), ("", false));
/// assert_eq!(texts.push("tropy. EN"), ("ENtropy. ", false));
/// assert_eq!(texts.push("D, of all"), ("", true));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopTexts {
    texts: Vec<String>,
    /// What may be the beginning of one of them.
    held: String,
    /// What was given out last.
    certain: String,
}

impl StopTexts {
    /// Looks for these texts; empty ones are never found.
    pub fn new(mut texts: Vec<String>) -> Self {
        texts.retain(|text| !text.is_empty());
        Self { texts, ..Self::default() }
    }

    /// The text that is certain after this piece, and whether one of the texts came behind it.
    pub fn push(&mut self, piece: &str) -> (&str, bool) {
        let before = self.held.len();
        self.held.push_str(piece);
        let complete = (before + 1..=self.held.len()).find_map(|end| self.complete_at(end));
        let certain = complete.unwrap_or_else(|| self.first_doubt());
        self.certain.clear();
        self.certain.push_str(&self.held[..certain]);
        match complete {
            Some(_) => self.held.clear(),
            None => drop(self.held.drain(..certain)),
        }
        (&self.certain, complete.is_some())
    }

    /// What is still held back, when nothing follows.
    pub fn finish(&mut self) -> &str {
        self.certain.clear();
        std::mem::swap(&mut self.certain, &mut self.held);
        &self.certain
    }

    /// Where the longest text begins that ends here.
    fn complete_at(&self, end: usize) -> Option<usize> {
        let ends = |text: &&String| self.held.as_bytes()[..end].ends_with(text.as_bytes());
        self.texts.iter().filter(ends).map(|text| end - text.len()).min()
    }

    /// Where the first beginning of a text is that ends with what there is.
    fn first_doubt(&self) -> usize {
        let longest = self.texts.iter().map(String::len).max().unwrap_or(0);
        let doubtful = |at: &usize| {
            self.held.is_char_boundary(*at)
                && self.texts.iter().any(|text| text.starts_with(&self.held[*at..]))
        };
        let len = self.held.len();
        (len.saturating_sub(longest)..len).find(doubtful).unwrap_or(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_comes_before_the_context() {
        let rule = StopRule::after(2);
        assert_eq!(rule.before(1, 5), None);
        assert_eq!(rule.before(2, 0), Some(Stop::Limit));
        assert_eq!(rule.before(1, 0), Some(Stop::Context));
        assert_eq!(StopRule::default().before(9, 1), None);
        rule.cancel.cancel();
        assert_eq!(rule.before(2, 0), Some(Stop::Cancelled));
    }

    /// What is given out of a text in these pieces, and whether it ended.
    fn given(texts: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = StopTexts::new(texts.iter().map(|text| (*text).to_owned()).collect());
        let mut all = String::new();
        for piece in pieces {
            let (certain, ended) = stop.push(piece);
            all.push_str(certain);
            if ended {
                assert_eq!(stop.finish(), "");
                return (all, true);
            }
        }
        all.push_str(stop.finish());
        (all, false)
    }

    #[test]
    fn texts_are_found_wherever_they_are_cut_and_nothing_else_is_lost() {
        for (texts, text, wanted, ends) in [
            (&["abab"][..], "xababy", "x", true),
            (&["abac"], "xabababac", "xabab", true),
            (&["b", "abc"], "xabc", "xa", true),
            (&["bc", "abc"], "xabc", "x", true),
            (&["aab"], "aaaab!", "aa", true),
            (&["</s>", "<|im_end|>"], "a < b <|im_x", "a < b <|im_x", false),
            (&["né!"], "L’été né né!x", "L’été né ", true),
            (&["日本"], "日日本本", "日", true),
            (&[], "a", "a", false),
            (&[""], "ab", "ab", false),
        ] {
            let cuts: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            for &first in &cuts {
                for &second in cuts.iter().filter(|second| **second >= first) {
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    assert_eq!(given(texts, &pieces), (wanted.to_owned(), ends), "{texts:?} in {pieces:?}");
                }
            }
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(given(texts, &letters), (wanted.to_owned(), ends), "{texts:?}");
        }
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let mut stop = StopTexts::new(vec!["stop".to_owned()]);
        assert_eq!(stop.push("go, st").0, "go, ");
        assert_eq!(stop.push("ay").0, "stay");
        assert_eq!(stop.push("st").0, "");
        assert_eq!(stop.push("sto").0, "st");
        assert_eq!(stop.finish(), "sto");
    }
}
