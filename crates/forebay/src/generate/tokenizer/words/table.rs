//! The rules by the names that model files have for them.
//!
//! A name stands for the passes over the text and for what else such vocabularies have in common.

use super::Pass;
use super::class::{
    BREAK, DIGIT, HAN, LETTER, LOWER, MARK, NUMBER, PUNCTUATION, SLASH, SYMBOL, UPPER, WHITE,
};
use super::rule::{A_SPACE, BEFORE_LETTERS, Lead, MARKED, Rule, Run, Set};

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Scheme {
    pub(in super::super) passes: &'static [Pass],
    /// A word that is a token is not merged.
    pub(in super::super) whole_words: bool,
    /// A text begins with a token of its own where the file does not say.
    pub(in super::super) add_bos: bool,
    /// Tokens are written as the text is, with spaces as U+2581, and not byte by byte.
    pub(in super::super) plain: bool,
}

const fn run(lead: Lead, body: Set) -> Rule {
    Rule::Run(Run { lead, body, least: 1, most: usize::MAX, tail: None })
}

const fn at_most(most: usize, body: Set) -> Rule {
    Rule::Run(Run { lead: Lead::None, body, least: 1, most, tail: None })
}

const fn tailed(lead: Lead, body: Set, tail: Set) -> Rule {
    Rule::Run(Run { lead, body, least: 1, most: usize::MAX, tail: Some(tail) })
}

const LETTERS: Set = Set::any(LETTER);
const NUMBERS: Set = Set::any(NUMBER);
const BREAKS: Set = Set::any(BREAK);
/// Neither white space nor letters nor digits.
const OTHERS: Set = Set::none(WHITE | LETTER | NUMBER);
const SIGNS: Set = Set::any(PUNCTUATION | SYMBOL);
const A_WHITE: Lead = Lead::Maybe(Set::any(WHITE));
const MAYBE_ONE_BEFORE: Lead = Lead::Maybe(BEFORE_LETTERS);

const CONTRACTION: Rule = Rule::Contraction { any_case: true };
const LETTER_RUN: Rule = run(MAYBE_ONE_BEFORE, LETTERS);
const OTHER_RUN: Rule = tailed(A_SPACE, OTHERS, BREAKS);
const ONE_DIGIT: Rule = at_most(1, NUMBERS);
const THREE_DIGITS: Rule = at_most(3, NUMBERS);

const GPT2: Pass = Pass::Rules(&[
    Rule::Contraction { any_case: false },
    run(A_SPACE, LETTERS),
    run(A_SPACE, NUMBERS),
    run(A_SPACE, OTHERS),
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const LLAMA3: Pass = Pass::Rules(&[
    CONTRACTION,
    LETTER_RUN,
    THREE_DIGITS,
    OTHER_RUN,
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const QWEN2: Pass = Pass::Rules(&[
    CONTRACTION,
    LETTER_RUN,
    ONE_DIGIT,
    OTHER_RUN,
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const QWEN35: Pass = Pass::Rules(&[
    CONTRACTION,
    run(MAYBE_ONE_BEFORE, Set::any(MARKED)),
    ONE_DIGIT,
    tailed(A_SPACE, Set::none(WHITE | LETTER | MARK | NUMBER), BREAKS),
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const fn gpt4o_with(word: Rule, digits: Rule) -> [Rule; 6] {
    let others = tailed(A_SPACE, OTHERS, Set::any(BREAK | SLASH));
    [word, digits, others, Rule::Breaks, Rule::SpacesBeforeSpace, Rule::Spaces]
}

const GPT4O: Pass =
    Pass::Rules(&gpt4o_with(Rule::Cased { letters: LETTER, contraction: true }, THREE_DIGITS));
const TEKKEN: Pass = Pass::Rules(&gpt4o_with(Rule::Cased { letters: LETTER, contraction: false }, ONE_DIGIT));
const GRANITE: Pass =
    Pass::Rules(&gpt4o_with(Rule::Cased { letters: MARKED, contraction: true }, THREE_DIGITS));

const DIGIT_PASS: Pass = Pass::Rules(&[ONE_DIGIT]);
const DIGITS_PASS: Pass = Pass::Rules(&[THREE_DIGITS]);

/// A sign of ASCII and letters, words, signs, then white space.
const DEEPSEEK_WORDS: Pass = Pass::Rules(&[
    run(Lead::Must(Set::test(|c| c.is_ascii_punctuation())), Set::any(UPPER | LOWER)),
    run(Lead::Maybe(Set::none(BREAK | LETTER | PUNCTUATION | SYMBOL)), Set::any(MARKED)),
    tailed(A_SPACE, SIGNS, BREAKS),
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

/// As above, but line breaks stand alone.
const SPARK_WORDS: Pass = Pass::Rules(&[
    run(Lead::Must(Set::test(|c| c.is_ascii_punctuation())), Set::any(UPPER | LOWER)),
    run(Lead::Maybe(Set::none(BREAK | LETTER | PUNCTUATION | SYMBOL)), Set::any(MARKED)),
    run(A_SPACE, SIGNS),
    at_most(1, BREAKS),
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

/// Letters with case, of the scripts that had it when these rules were made; then signs and ASCII letters.
const CASED_PASS: Pass = Pass::Rules(&[run(A_WHITE, Set::test(is_cased))]);
const CASED_SIGNS: Pass = Pass::Rules(&[run(
    A_WHITE,
    Set::test(|c| {
        matches!(c,
            '!'..='/' | ':'..='~' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff5e}'
            | '\u{2018}'..='\u{201f}' | '\u{3001}' | '\u{3002}')
    }),
)]);

const SEED_CODER: Pass = Pass::Rules(&[
    CONTRACTION,
    LETTER_RUN,
    ONE_DIGIT,
    run(A_SPACE, Set::none(WHITE | LETTER | NUMBER | BREAK)),
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const JAIS2: Pass = Pass::Rules(&[
    CONTRACTION,
    LETTER_RUN,
    THREE_DIGITS,
    OTHER_RUN,
    Rule::Breaks,
    Rule::Blanks { least: 512, most: 512 },
    Rule::Blanks { least: 256, most: 256 },
    Rule::Blanks { least: 128, most: 128 },
    Rule::Blanks { least: 64, most: 64 },
    Rule::Blanks { least: 32, most: 32 },
    Rule::Blanks { least: 16, most: 16 },
    Rule::Blanks { least: 8, most: 8 },
    Rule::Blanks { least: 4, most: 4 },
    Rule::Blanks { least: 1, most: 2 },
    at_most(1, Set::any(WHITE)),
]);

const KIMI: Pass = Pass::Rules(&[
    run(Lead::None, Set::any(HAN)),
    Rule::Word(LETTERS.but(HAN)),
    THREE_DIGITS,
    OTHER_RUN,
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const MINICPM5: Pass = Pass::Rules(&[
    CONTRACTION,
    LETTER_RUN,
    run(Lead::None, NUMBERS),
    OTHER_RUN,
    Rule::Breaks,
    Rule::SpacesBeforeSpace,
    Rule::Spaces,
]);

const UFAKZEKA: Pass =
    Pass::Rules(&[LETTER_RUN, ONE_DIGIT, OTHER_RUN, Rule::Breaks, Rule::SpacesBeforeSpace, Rule::Spaces]);

const CJK_PASS: Pass = Pass::Rules(&[run(Lead::None, Set::test(is_chinese_or_kana))]);

/// From ideographs down to the Samaritan block, and Hangul.
const WIDE_PASS: Pass = Pass::Rules(&[run(
    Lead::None,
    Set::test(|c| matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}')).but(WHITE),
)]);

const ASIAN_PASS: Pass = Pass::Rules(&[run(Lead::None, Set::test(is_asian))]);

const THREE_OF_ASCII: Pass =
    Pass::Rules(&[Rule::Run(Run { lead: Lead::None, body: Set::any(DIGIT), least: 3, most: 3, tail: None })]);

const SIGNS_PASS: Pass = Pass::Rules(&[run(Lead::None, Set::test(|c| is_sign(c) && c != '`'))]);
const SIGNS_AND_QUOTES: Pass = Pass::Rules(&[run(Lead::None, Set::test(is_sign))]);
const BREAK_PASS: Pass = Pass::Rules(&[at_most(1, BREAKS)]);
const NUMBER_PASS: Pass = Pass::Rules(&[run(Lead::None, NUMBERS)]);

const AYA: Pass = Pass::Rules(&gpt4o_with(Rule::Word(Set::any(MARKED)), THREE_DIGITS));
const YOUTU: Pass = Pass::Rules(&gpt4o_with(Rule::Word(Set::any(MARKED)), ONE_DIGIT));

/// Hangul, signs of East Asia, Bopomofo, and Chinese with Japanese, each apart.
const SCRIPTS: Pass = Pass::Rules(&[
    run(Lead::None, Set::test(|c| matches!(c, '\u{ac00}'..='\u{d7a3}' | '\u{3131}'..='\u{318e}'))),
    run(
        Lead::None,
        Set::test(|c| {
            matches!(c,
                '！' | '…' | '“' | '”' | '‘' | '’' | '—' | '：' | '；' | '，'
                | '\u{3001}'..='\u{303f}' | '\u{fe30}'..='\u{fe4f}')
        }),
    ),
    run(Lead::None, Set::test(|c| matches!(c, '\u{3105}'..='\u{312f}'))),
    run(Lead::None, Set::test(is_chinese_or_kana)),
]);

/// Sentences apart: everything but white space and the marks that end or divide one.
const SENTENCES: Pass = Pass::Rules(&[run(
    A_SPACE,
    Set::test(|c| {
        !matches!(c, '(' | ')' | '|' | '.' | ',' | '!' | '?' | '…' | '。' | '，' | '、' | '।' | '۔' | '،')
    })
    .but(WHITE),
)]);

fn is_chinese_or_kana(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}' | '\u{3040}'..='\u{30ff}')
}

/// Punctuation of any script and the other signs of ASCII.
fn is_sign(c: char) -> bool {
    c.is_ascii_punctuation() || super::class::of(c) & PUNCTUATION != 0
}

fn is_cased(c: char) -> bool {
    let later = matches!(c,
        '\u{560}'..='\u{588}' | '\u{10c6}'..='\u{10ff}' | '\u{1c80}'..='\u{1c8f}'
        | '\u{2d00}'..='\u{2d2f}' | '\u{a790}'..='\u{a7ff}' | '\u{ab30}'..='\u{ab6f}'
        | '\u{10570}'..='\u{105bf}' | '\u{10d50}'..='\u{10d8f}' | '\u{16e40}'..='\u{16e7f}'
        | '\u{1d400}'..='\u{1dfff}');
    !later && super::class::has_case(c)
}

fn is_asian(c: char) -> bool {
    matches!(c,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{f900}'..='\u{faff}'
        | '\u{3040}'..='\u{309f}' | '\u{30a0}'..='\u{30ff}' | '\u{ff65}'..='\u{ff9f}'
        | '\u{2f00}'..='\u{2fdf}' | '\u{e00}'..='\u{e7f}' | '\u{e80}'..='\u{eff}'
        | '\u{1780}'..='\u{17ff}' | '\u{1000}'..='\u{109f}' | '\u{aa60}'..='\u{aa7f}'
        | '\u{a9e0}'..='\u{a9ff}' | '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}')
}

const fn bytes(passes: &'static [Pass]) -> Scheme {
    Scheme { passes, whole_words: false, add_bos: false, plain: false }
}

const fn whole(passes: &'static [Pass]) -> Scheme {
    Scheme { whole_words: true, ..bytes(passes) }
}

const fn whole_after_bos(passes: &'static [Pass]) -> Scheme {
    Scheme { add_bos: true, ..whole(passes) }
}

const fn plain() -> Scheme {
    Scheme { plain: true, ..bytes(&[Pass::Lines]) }
}

/// Names with what they stand for; the first of a row is the one that messages name.
const SCHEMES: &[(&[&str], Scheme)] = &[
    (&["default"], bytes(&[SIGNS_PASS, GPT2, NUMBER_PASS, THREE_OF_ASCII])),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        whole_after_bos(&[LLAMA3]),
    ),
    (&["jina-v5-nano"], whole_after_bos(&[LLAMA3])),
    (&["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2"], bytes(&[QWEN2])),
    (&["hunyuan", "solar-open", "grok-2"], bytes(&[QWEN2])),
    (&["qwen35"], bytes(&[QWEN35])),
    (
        &["gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0"],
        bytes(&[GPT2]),
    ),
    (&["mellum", "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe"], bytes(&[GPT2])),
    (&["mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"], bytes(&[GPT2])),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], bytes(&[GPT4O])),
    (&["tekken"], whole_after_bos(&[TEKKEN])),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        bytes(&[DIGIT_PASS, GPT2]),
    ),
    (
        &["deepseek-coder"],
        bytes(&[
            BREAK_PASS,
            Pass::Rules(&[run(A_WHITE, LETTERS)]),
            Pass::Rules(&[run(A_WHITE, Set::any(PUNCTUATION))]),
            WIDE_PASS,
            DIGIT_PASS,
        ]),
    ),
    (
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        bytes(&[DIGITS_PASS, CJK_PASS, DEEPSEEK_WORDS]),
    ),
    (&["spark2_5"], bytes(&[DIGITS_PASS, CJK_PASS, SPARK_WORDS, DIGIT_PASS])),
    (
        &["deepseek-llm"],
        bytes(&[
            BREAK_PASS,
            CASED_PASS,
            CASED_SIGNS,
            Pass::Rules(&[Rule::SpacesAtEnd]),
            WIDE_PASS,
            NUMBER_PASS,
        ]),
    ),
    (&["falcon"], bytes(&[SIGNS_AND_QUOTES, GPT2, THREE_OF_ASCII])),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], bytes(&[LLAMA3])),
    (&["glm4", "glm5"], whole(&[LLAMA3])),
    (&["gemma4", "granite-embed-multi-311m"], Scheme { add_bos: true, ..plain() }),
    (&["sarvam-moe"], plain()),
    (&["granite-embed-multi-97m"], whole(&[GRANITE])),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], bytes(&[QWEN2])),
    (&["seed-coder"], bytes(&[SEED_CODER])),
    (&["poro-chat", "bloom", "gpt3-finnish"], bytes(&[SENTENCES])),
    (&["viking"], bytes(&[SENTENCES, DIGIT_PASS])),
    (&["kimi-k2"], bytes(&[KIMI])),
    (&["tiny_aya", "cohere2moe"], bytes(&[Pass::Thousands, AYA])),
    (&["youtu"], whole(&[SCRIPTS, YOUTU])),
    (&["afmoe"], bytes(&[Pass::Thousands, ASIAN_PASS, DEEPSEEK_WORDS])),
    (&["laguna"], bytes(&[Pass::Lines, QWEN2])),
    (&["minicpm5"], whole(&[DIGITS_PASS, MINICPM5])),
    (&["ufakzeka"], bytes(&[UFAKZEKA])),
    (&["jais-2"], bytes(&[JAIS2])),
];

/// What a name stands for, if it is known.
pub(in super::super) fn scheme(name: &str) -> Option<Scheme> {
    SCHEMES.iter().find(|(names, _)| names.contains(&name)).map(|(_, scheme)| *scheme)
}

/// The known names.
pub(in super::super) fn names() -> String {
    let names: Vec<&str> = SCHEMES.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    names.join(", ")
}
