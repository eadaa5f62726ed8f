//! What each character of a text is: letter, digit, white space and so on, as sets of bits.
//!
//! The classes are worked out once for a text, so that rules look at numbers only.

use unicode_general_category::{GeneralCategory, get_general_category};

pub(super) const LETTER: u16 = 1;
pub(super) const MARK: u16 = 1 << 1;
pub(super) const NUMBER: u16 = 1 << 2;
pub(super) const PUNCTUATION: u16 = 1 << 3;
pub(super) const SYMBOL: u16 = 1 << 4;
pub(super) const WHITE: u16 = 1 << 5;
/// Carriage return and line feed.
pub(super) const BREAK: u16 = 1 << 6;
/// U+0020 alone.
pub(super) const SPACE: u16 = 1 << 7;
pub(super) const SLASH: u16 = 1 << 8;
/// `A` to `Z`.
pub(super) const UPPER: u16 = 1 << 9;
/// `a` to `z`.
pub(super) const LOWER: u16 = 1 << 10;
/// `0` to `9`.
pub(super) const DIGIT: u16 = 1 << 11;
/// Ideographs.
pub(super) const HAN: u16 = 1 << 12;

/// The characters of a text with their classes.
pub(super) struct Classes<'a> {
    text: &'a str,
    offsets: Vec<u32>,
    classes: Vec<u16>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let ascii: [u16; 128] = std::array::from_fn(|i| of(i as u8 as char));
        let mut offsets = Vec::with_capacity(text.len() + 1);
        let mut classes = Vec::with_capacity(text.len());
        for (offset, c) in text.char_indices() {
            offsets.push(offset as u32);
            classes.push(ascii.get(c as usize).copied().unwrap_or_else(|| of(c)));
        }
        offsets.push(text.len() as u32);
        Self { text, offsets, classes }
    }

    /// How many characters there are.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The classes of a character; none past the end.
    pub(super) fn of(&self, at: usize) -> u16 {
        self.classes.get(at).copied().unwrap_or_default()
    }

    /// A character; U+0000 past the end.
    pub(super) fn char(&self, at: usize) -> char {
        self.text[self.offset(at)..].chars().next().unwrap_or_default()
    }

    /// Where in the text a character begins.
    pub(super) fn offset(&self, at: usize) -> usize {
        self.offsets.get(at).map_or(self.text.len(), |offset| *offset as usize)
    }
}

/// Whether a letter comes as a capital and a small one.
pub(super) fn has_case(c: char) -> bool {
    use GeneralCategory::*;
    matches!(get_general_category(c), UppercaseLetter | LowercaseLetter | TitlecaseLetter)
}

/// The classes of one character.
pub(super) fn of(c: char) -> u16 {
    use GeneralCategory::*;
    let mut class = match get_general_category(c) {
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => LETTER,
        NonspacingMark | SpacingMark | EnclosingMark => MARK,
        DecimalNumber | LetterNumber | OtherNumber => NUMBER,
        ConnectorPunctuation | DashPunctuation | OpenPunctuation | ClosePunctuation | InitialPunctuation
        | FinalPunctuation | OtherPunctuation => PUNCTUATION,
        MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol => SYMBOL,
        _ => 0,
    };
    if c.is_whitespace() {
        class |= WHITE;
    }
    class
        | match c {
            '\r' | '\n' => BREAK,
            ' ' => SPACE,
            '/' => SLASH,
            'A'..='Z' => UPPER,
            'a'..='z' => LOWER,
            '0'..='9' => DIGIT,
            '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}' => HAN,
            '\u{2a700}'..='\u{2ebef}' | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}' => HAN,
            _ => 0,
        }
}
