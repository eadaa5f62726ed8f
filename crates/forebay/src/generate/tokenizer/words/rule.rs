//! One rule of how words are cut: given a position, where the word ends that begins there.
//!
//! Rules look only inside the part they are given, and at each position they look at a run of characters at
//! most a fixed number of times, so no text makes them slow.

use std::ops::Range;

use super::class::{BREAK, Classes, LETTER, LOWER, MARK, NUMBER, SPACE, UPPER, WHITE};

/// A set of characters: has one of the classes `any` (if there are any), none of `none`, and passes `test`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Set {
    any: u16,
    none: u16,
    test: Option<fn(char) -> bool>,
}

/// A rule.
#[derive(Debug)]
pub(in super::super) enum Rule {
    /// An apostrophe and one of s, t, re, ve, m, ll, d.
    Contraction {
        any_case: bool,
    },
    Run(Run),
    /// White space up to its last line break.
    Breaks,
    /// White space, but for the last of it where something follows.
    SpacesBeforeSpace,
    /// So much white space, followed by more of it or by nothing.
    Blanks {
        least: usize,
        most: usize,
    },
    /// White space.
    Spaces,
    /// White space that nothing follows.
    SpacesAtEnd,
    /// A letter run that goes from capitals to small letters and no further, with a contraction behind it.
    Cased {
        letters: u16,
        contraction: bool,
    },
    /// A letter run, with a contraction behind it.
    Word(Set),
}

/// Characters of one kind, with others before and behind.
#[derive(Debug)]
pub(in super::super) struct Run {
    pub(super) lead: Lead,
    pub(super) body: Set,
    /// Characters of the body at least and at most.
    pub(super) least: usize,
    pub(super) most: usize,
    /// Any number of these may follow.
    pub(super) tail: Option<Set>,
}

/// What stands before a run.
#[derive(Debug)]
pub(in super::super) enum Lead {
    None,
    Maybe(Set),
    Must(Set),
}

impl Set {
    pub(super) const fn any(any: u16) -> Self {
        Self { any, none: 0, test: None }
    }

    pub(super) const fn none(none: u16) -> Self {
        Self { any: 0, none, test: None }
    }

    pub(super) const fn test(test: fn(char) -> bool) -> Self {
        Self { any: 0, none: 0, test: Some(test) }
    }

    pub(super) const fn but(self, none: u16) -> Self {
        Self { none: self.none | none, ..self }
    }

    fn has(&self, classes: &Classes<'_>, at: usize) -> bool {
        let class = classes.of(at);
        (self.any == 0 || class & self.any != 0)
            && class & self.none == 0
            && self.test.is_none_or(|test| test(classes.char(at)))
    }

    /// Where a run of at most `most` of these ends.
    fn run(&self, classes: &Classes<'_>, part: Range<usize>, most: usize) -> usize {
        let stop = part.start.saturating_add(most).min(part.end);
        (part.start..stop).find(|at| !self.has(classes, *at)).unwrap_or(stop)
    }
}

impl Rule {
    /// Where the word ends that begins at the start of the part, if this rule fits there.
    pub(super) fn end(&self, classes: &Classes<'_>, part: Range<usize>) -> Option<usize> {
        let (start, stop) = (part.start, part.end);
        let white = || Set::any(WHITE).run(classes, part.clone(), usize::MAX);
        match self {
            Self::Contraction { any_case } => contraction(classes, part, *any_case),
            Self::Run(run) => run.end(classes, part),
            Self::Breaks => (start..white()).rev().find(|at| classes.of(*at) & BREAK != 0).map(|at| at + 1),
            Self::SpacesBeforeSpace => {
                let end = white();
                let end = if end < stop { end.saturating_sub(1) } else { end };
                (end > start).then_some(end)
            }
            Self::Blanks { least, most } => {
                let end = Set::any(WHITE).run(classes, part, *most);
                // A blank before something else goes with that.
                let followed = end < stop && classes.of(end) & WHITE == 0;
                let end = if followed { end.saturating_sub(1) } else { end };
                (end >= start + least).then_some(end)
            }
            Self::Spaces => Some(white()).filter(|end| *end > start),
            Self::SpacesAtEnd => Some(white()).filter(|end| *end > start && *end == stop),
            Self::Cased { letters, contraction } => cased(classes, part, *letters, *contraction),
            Self::Word(letters) => word(classes, part, *letters),
        }
    }
}

impl Run {
    fn end(&self, classes: &Classes<'_>, part: Range<usize>) -> Option<usize> {
        let body = |start: usize| {
            let end = self.body.run(classes, start..part.end, self.most);
            (end >= start + self.least).then_some(end)
        };
        let led = |lead: &Set| {
            let fits = part.start < part.end && lead.has(classes, part.start);
            fits.then(|| body(part.start + 1)).flatten()
        };
        let end = match &self.lead {
            Lead::None => body(part.start),
            Lead::Maybe(lead) => led(lead).or_else(|| body(part.start)),
            Lead::Must(lead) => led(lead),
        }?;
        Some(self.tail.map_or(end, |tail| tail.run(classes, end..part.end, usize::MAX)))
    }
}

fn contraction(classes: &Classes<'_>, part: Range<usize>, any_case: bool) -> Option<usize> {
    if classes.char(part.start) != '\'' {
        return None;
    }
    let at = |i: usize| {
        let c = if part.start + i < part.end { classes.char(part.start + i) } else { '\0' };
        if any_case { c.to_ascii_lowercase() } else { c }
    };
    match (at(1), at(2)) {
        ('s' | 't' | 'm' | 'd', _) => Some(part.start + 2),
        ('r' | 'v', 'e') | ('l', 'l') => Some(part.start + 3),
        _ => None,
    }
}

/// What may stand before a letter run: no letter, no digit and no line break.
pub(super) const BEFORE_LETTERS: Set = Set::none(BREAK | LETTER | NUMBER);

/// Only ASCII has case here; any other letter counts as both.
fn cased(classes: &Classes<'_>, part: Range<usize>, letters: u16, with_contraction: bool) -> Option<usize> {
    let capital = Set::any(letters).but(LOWER);
    let small = Set::any(letters).but(UPPER);
    let capitals = |start: usize| capital.run(classes, start..part.end, usize::MAX);
    let to_small = |start: usize| {
        let stop = capitals(start);
        let end = small.run(classes, stop..part.end, usize::MAX);
        if end > stop {
            return Some(end);
        }
        // No small letter follows, so the last letter that can be taken for one ends the word.
        (start..stop).rev().find(|at| small.has(classes, *at)).map(|at| at + 1)
    };
    let all_capital = |start: usize| Some(capitals(start)).filter(|end| *end > start);
    let start = part.start;
    let led = BEFORE_LETTERS.has(classes, start).then_some(start + 1);
    let end = led.and_then(to_small).or_else(|| to_small(start));
    let end = end.or_else(|| led.and_then(all_capital)).or_else(|| all_capital(start))?;
    Some(if with_contraction { contraction(classes, end..part.end, true).unwrap_or(end) } else { end })
}

/// A run of letters, with one character before and a contraction behind.
fn word(classes: &Classes<'_>, part: Range<usize>, letters: Set) -> Option<usize> {
    let run =
        |start: usize| Some(letters.run(classes, start..part.end, usize::MAX)).filter(|end| *end > start);
    let led = BEFORE_LETTERS.has(classes, part.start).then_some(part.start + 1);
    let end = led.and_then(run).or_else(|| run(part.start))?;
    Some(contraction(classes, end..part.end, true).unwrap_or(end))
}

/// Letters, and marks on them.
pub(super) const MARKED: u16 = LETTER | MARK;
/// An optional U+0020.
pub(super) const A_SPACE: Lead = Lead::Maybe(Set::any(SPACE));
