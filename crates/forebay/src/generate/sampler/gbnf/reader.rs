//! Rules in the notation of GBNF, read with an eye on line and column.

use std::collections::HashMap;

use super::Node;
use crate::error::{Error, Result};

/// Groups may lie so deep in each other.
const MOST_NESTED: usize = 24;
/// The most often that anything is repeated by number.
const MOST_TIMES: u32 = 10_000;
/// A rule, and where it is named first.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) at: (usize, usize),
    pub(super) node: Option<Node>,
}

/// A text on the way to rules.
pub(super) struct Reader<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
    depth: usize,
    pub(super) rules: Vec<Draft>,
    pub(super) ids: HashMap<String, usize>,
}

pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a str) -> Self {
        Self { rest, line: 1, column: 1, depth: 0, rules: Vec::new(), ids: HashMap::new() }
    }

    fn fault<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        let detail = format!("line {}, column {}: {what}", self.line, self.column);
        Err(Error::Grammar { detail })
    }

    /// Something else is wanted than what comes.
    fn wanted<T>(&self, what: &str) -> Result<T> {
        match self.peek() {
            None => self.fault(format_args!("{what} is wanted, and the file ends")),
            Some('\n' | '\r') => self.fault(format_args!("{what} is wanted, and the line ends")),
            Some(c) => self.fault(format_args!("{what} is wanted, and there is {c:?}")),
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        Some(c)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            self.skip(text.chars().count());
        }
        found
    }

    /// Skips spaces and comments, and the ends of lines where a rule goes on behind them.
    fn space(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                ' ' | '\t' => self.skip(1),
                '\r' | '\n' if lines => self.skip(1),
                _ => break,
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        let len = self.rest.find(|c| !is_of_name(c)).unwrap_or(self.rest.len());
        let name = self.rest[..len].to_owned();
        (len > 0).then(|| {
            self.take(&name);
            name
        })
    }

    /// The number of the rule of a name, which may still come.
    fn rule(&mut self, name: String, at: (usize, usize)) -> usize {
        let Self { rules, ids, .. } = self;
        *ids.entry(name.clone()).or_insert_with(|| {
            rules.push(Draft { name, at, node: None });
            rules.len() - 1
        })
    }

    /// Reads all rules.
    pub(super) fn grammar(&mut self) -> Result<()> {
        self.space(true);
        while self.peek().is_some() {
            let at = (self.line, self.column);
            let Some(name) = self.name() else { return self.wanted("the name of a rule") };
            self.space(false);
            if !self.take("::=") {
                return self.wanted("::=");
            }
            self.space(true);
            let id = self.rule(name.clone(), at);
            if self.rules[id].node.is_some() {
                return self.fault(format_args!("there is a rule {name:?} already"));
            }
            let node = self.choices()?;
            self.rules[id].node = Some(node);
            if !matches!(self.peek(), None | Some('\r' | '\n')) {
                return self.wanted("the end of the line");
            }
            self.space(true);
        }
        Ok(())
    }

    fn choices(&mut self) -> Result<Node> {
        let mut choices = vec![self.sequence()?];
        while self.take("|") {
            self.space(true);
            choices.push(self.sequence()?);
        }
        Ok(if choices.len() == 1 { choices.remove(0) } else { Node::OneOf(choices) })
    }

    fn sequence(&mut self) -> Result<Node> {
        let mut nodes = Vec::new();
        loop {
            let at = (self.line, self.column);
            let node = match self.peek() {
                Some('"') => self.text()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.next();
                    Node::Class { others: true, ranges: Vec::new() }
                }
                Some('(') => self.group()?,
                Some('<' | '!') => {
                    return self.fault("tokens by id or name cannot be followed here; write their text");
                }
                _ => match self.name() {
                    Some(name) => Node::Rule(self.rule(name, at)),
                    None => break,
                },
            };
            self.space(self.depth > 0);
            nodes.push(self.repeated(node)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Several(nodes) })
    }

    fn group(&mut self) -> Result<Node> {
        if self.depth == MOST_NESTED {
            return self.fault(format_args!("groups lie deeper than {MOST_NESTED} in each other"));
        }
        self.next();
        self.depth += 1;
        self.space(true);
        let node = self.choices()?;
        if !self.take(")") {
            return self.wanted("\")\"");
        }
        self.depth -= 1;
        Ok(node)
    }

    /// How often something comes.
    fn repeated(&mut self, mut node: Node) -> Result<Node> {
        loop {
            let (least, most) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.next();
                    let times = self.times()?;
                    if self.peek() != Some('}') {
                        return self.wanted("\"}\"");
                    }
                    times
                }
                _ => return Ok(node),
            };
            self.next();
            self.space(self.depth > 0);
            node = Node::Repeat(Box::new(node), least, most);
        }
    }

    /// What stands between braces: a number, or two of which the second may be missing.
    fn times(&mut self) -> Result<(u32, Option<u32>)> {
        self.space(false);
        let Some(least) = self.number()? else { return self.wanted("a number") };
        self.space(false);
        if !self.take(",") {
            return Ok((least, Some(least)));
        }
        self.space(false);
        let most = self.number()?;
        self.space(false);
        match most.filter(|most| *most < least) {
            Some(most) => self.fault(format_args!("at least {least} and at most {most} cannot be")),
            None => Ok((least, most)),
        }
    }

    fn number(&mut self) -> Result<Option<u32>> {
        let len = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if len == 0 {
            return Ok(None);
        }
        match self.rest[..len].parse().ok().filter(|number| *number <= MOST_TIMES) {
            Some(number) => {
                self.skip(len);
                Ok(Some(number))
            }
            None => self.fault(format_args!("nothing is repeated more than {MOST_TIMES} times")),
        }
    }

    fn text(&mut self) -> Result<Node> {
        self.next();
        let mut text = String::new();
        while self.peek() != Some('"') {
            text.push(self.character("the end of the text, a quote,")?);
        }
        self.next();
        Ok(Node::Text(text))
    }

    fn class(&mut self) -> Result<Node> {
        self.next();
        let others = self.take("^");
        let mut ranges = Vec::new();
        while self.peek() != Some(']') {
            let first = self.character("\"]\"")?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = match is_range {
                true => {
                    self.next();
                    self.character("the end of the range")?
                }
                false => first,
            };
            if last < first {
                return self.fault(format_args!("no character lies from {first:?} to {last:?}"));
            }
            ranges.push([first, last]);
        }
        if ranges.is_empty() {
            return self.fault("a class has no character");
        }
        self.next();
        Ok(Node::Class { others, ranges })
    }

    /// A character, which may be written by what it is or by number.
    fn character(&mut self, wanted: &str) -> Result<char> {
        let Some(c) = self.peek() else { return self.wanted(wanted) };
        if c != '\\' {
            self.next();
            return Ok(c);
        }
        let escaped = self.rest.chars().nth(1);
        let (digits, plain) = match escaped {
            Some('x') => (2, None),
            Some('u') => (4, None),
            Some('U') => (8, None),
            Some('t') => (0, Some('\t')),
            Some('r') => (0, Some('\r')),
            Some('n') => (0, Some('\n')),
            Some(c @ ('\\' | '"' | '[' | ']')) => (0, Some(c)),
            Some(c) => return self.fault(format_args!("\\{c} stands for no character")),
            None => return self.wanted("a character behind \\"),
        };
        let number = || u32::from_str_radix(self.rest.get(2..2 + digits)?, 16).ok();
        let Some(c) = plain.or_else(|| char::from_u32(number()?)) else {
            let kind = escaped.unwrap_or_default();
            return self.fault(format_args!("\\{kind} wants {digits} digits, those of a character"));
        };
        self.skip(2 + digits);
        Ok(c)
    }
}
