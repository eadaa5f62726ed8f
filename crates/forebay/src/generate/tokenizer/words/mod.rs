//! Cutting text into words, inside of which byte pairs may merge.
//!
//! Each model brings the name of its rules; a set of rules is one or more passes, each cutting what the pass
//! before it left. Every pass goes over the text once, whatever the text is.
//! Next rooms: `class` for what a character is, `rule` for one rule, `table` for the rules by name.

mod class;
mod rule;
mod table;

use std::ops::Range;

use class::Classes;
use rule::Rule;

pub(super) use table::{Scheme, names, scheme};

/// One way to cut a part of a text.
#[derive(Debug)]
pub(super) enum Pass {
    /// At each position the first rule that fits takes its part; what no rule takes stays together.
    Rules(&'static [Rule]),
    /// Runs of line feeds, and what lies between.
    Lines,
    /// Runs of digits in groups of three, counted from the right; the rest stays together.
    Thousands,
}

/// The words of a text, each a range of its bytes.
pub(super) fn cut(passes: &[Pass], text: &str) -> Vec<Range<usize>> {
    let classes = Classes::new(text);
    let mut parts: Vec<Range<usize>> = std::iter::once(0..classes.len()).collect();
    for pass in passes {
        let mut cut = Vec::with_capacity(parts.len());
        for part in parts {
            match pass {
                Pass::Rules(rules) => by_rules(rules, &classes, part, &mut cut),
                Pass::Lines => by_lines(&classes, part, &mut cut),
                Pass::Thousands => by_thousands(&classes, part, &mut cut),
            }
        }
        parts = cut;
    }
    parts.retain(|part| !part.is_empty());
    for part in &mut parts {
        *part = classes.offset(part.start)..classes.offset(part.end);
    }
    parts
}

fn by_rules(rules: &[Rule], classes: &Classes<'_>, part: Range<usize>, cut: &mut Vec<Range<usize>>) {
    let (mut at, mut loose) = (part.start, part.start);
    while at < part.end {
        let taken = rules.iter().find_map(|rule| rule.end(classes, at..part.end));
        let Some(end) = taken else {
            at += 1;
            continue;
        };
        cut.extend([loose..at, at..end].into_iter().filter(|range| !range.is_empty()));
        (at, loose) = (end, end);
    }
    cut.extend(Some(loose..at).filter(|range| !range.is_empty()));
}

fn by_lines(classes: &Classes<'_>, part: Range<usize>, cut: &mut Vec<Range<usize>>) {
    let mut start = part.start;
    for at in part.clone() {
        if at > start && (classes.char(at) == '\n') != (classes.char(start) == '\n') {
            cut.push(start..at);
            start = at;
        }
    }
    cut.push(start..part.end);
}

fn by_thousands(classes: &Classes<'_>, part: Range<usize>, cut: &mut Vec<Range<usize>>) {
    let (mut at, mut loose) = (part.start, part.start);
    while at < part.end {
        let digits = (at..part.end).take_while(|i| classes.of(*i) & class::NUMBER != 0).count();
        if digits == 0 {
            at += 1;
            continue;
        }
        // What stands before the digits goes with the first group of them, unless the groups come out even.
        let first = digits % 3;
        if first == 0 {
            cut.extend(Some(loose..at + 3));
            loose = at + 3;
        } else {
            cut.push(loose..at + first);
            loose = at + first;
        }
        while loose < at + digits {
            cut.push(loose..loose + 3);
            loose += 3;
        }
        at += digits;
    }
    cut.extend(Some(loose..part.end).filter(|range| !range.is_empty()));
}

#[cfg(test)]
mod tests;
