//! Tokens that models are known to end with, by their texts.
//!
//! Files name one or two ids at which generation stops; models use more. These lists are the texts that stand
//! for the others, gathered from what models write. Next room: `vocabulary`, which marks the tokens found.

use super::Specials;

/// Ends a turn of a conversation.
const TURN: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Ends a reply, beside what ends a turn.
const REPLY: [&str; 11] = [
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

/// Parts of a text with a gap; of each row a model has one.
const GAP: [&[&str]; 3] = [
    &[
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ],
    &[
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ],
    &[
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ],
];

/// Ends what fills a gap; of each row a model has one.
const FILLED: [&[&str]; 3] = [
    &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    &["<|file_sep|>"],
];

/// Marks the channels of a reply, and is shown also where the file calls it control.
const CHANNELS: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// What the texts of a vocabulary say about its tokens.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Steers the model.
    pub(super) control: Vec<u32>,
    /// Is found in any text and shown.
    pub(super) shown: Vec<u32>,
    /// Is a word like others.
    pub(super) normal: Vec<u32>,
}

/// Completes the special ids by what the texts say; `find` gives the token of a text.
pub(super) fn complete(specials: &mut Specials, find: impl Fn(&str) -> Option<u32>) -> Known {
    let mut known = Known::default();
    let first = |texts: &[&str]| texts.iter().filter_map(|text| find(text)).min();
    specials.eot = specials.eot.or_else(|| first(&TURN));
    known.control.extend(GAP.iter().filter_map(|texts| first(texts)));
    let filled = FILLED.iter().filter_map(|texts| first(texts));
    let ends: Vec<u32> = TURN.iter().chain(&REPLY).filter_map(|text| find(text)).chain(filled).collect();
    known.control.extend(&ends);
    specials.ends.extend(ends);
    specials.ends.extend(specials.eos);
    specials.ends.extend(specials.eot);
    known.shown.extend(CHANNELS.iter().filter_map(|text| find(text)));

    let ends = specials.ends.clone();
    let end = |text: &str| find(text).filter(|id| ends.contains(id));
    // Where a model ends its replies otherwise, "<|end|>" only ends a part of one.
    let calls = end("<|call|>").or_else(|| end("<|calls|>")).is_some();
    if calls && end("<|return|>").or_else(|| end("<|flush|>")).is_some() {
        known.shown.extend(end("<|end|>"));
        specials.ends.retain(|id| Some(*id) != end("<|end|>"));
    }
    if end("<|tool_response>").or_else(|| end("<|plamo:eos|>")).is_some() {
        known.normal.extend(end("</s>"));
        specials.ends.retain(|id| Some(*id) != end("</s>"));
    }
    specials.ends.sort_unstable();
    specials.ends.dedup();
    known
}
