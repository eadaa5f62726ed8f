//! When generation ends.

use super::tokenizer::Tokenizer;

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
    /// A step failed; its error was given out.
    Failure,
}

/// What generation ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRule {
    /// The most tokens to generate; none is as many as the context holds.
    pub limit: Option<usize>,
    /// Goes on after a token that ends the text.
    pub ignore_ends: bool,
}

impl StopRule {
    /// At so many tokens, or when the model ends the text.
    pub fn after(limit: usize) -> Self {
        Self { limit: Some(limit), ignore_ends: false }
    }

    /// Whether another token may be asked for, with so many generated and so many positions left.
    pub(crate) fn before(&self, generated: usize, left: usize) -> Option<Stop> {
        match self.limit {
            Some(limit) if generated >= limit => Some(Stop::Limit),
            _ if left == 0 => Some(Stop::Context),
            _ => None,
        }
    }

    /// Whether this token ends the text.
    pub(crate) fn at(&self, id: u32, tokenizer: &Tokenizer) -> Option<Stop> {
        (!self.ignore_ends && tokenizer.is_end(id)).then_some(Stop::End)
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
        assert_eq!(StopRule { limit: None, ignore_ends: true }.before(9, 1), None);
    }
}
