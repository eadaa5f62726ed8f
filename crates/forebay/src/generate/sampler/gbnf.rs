//! Grammars in the notation of GBNF, which llama.cpp reads, turned into that of Lark.
//!
//! Rules that do not lead back to themselves become terminals, and so do neighbours of which none does: inside of a
//! terminal every way to read a text is followed at once, from terminal to terminal only the longest. It never follows a
//! text. Next rooms: `reader` for the notation, `grammar`, which has texts followed.

mod reader;

use self::reader::{Draft, Reader, is_of_name};
use crate::error::{Error, Result};

/// The rule that a text is of.
const ROOT: &str = "root";

/// Whether a text is meant to be such a grammar, right or wrong: its first rule is written with `::=`.
pub(super) fn is_meant(source: &str) -> bool {
    let lines = source.lines().map(str::trim_start);
    let first = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with(['#', '/']));
    first.is_some_and(|line| line.trim_start_matches(is_of_name).trim_start().starts_with("::="))
}

/// The same grammar in the notation of Lark.
///
/// # Errors
/// [`Error::Grammar`] with line and column where it cannot be read.
pub(super) fn to_lark(source: &str) -> Result<String> {
    let mut reader = Reader::new(source);
    reader.grammar()?;
    let root = reader.ids.get(ROOT).copied();
    let Some(root) = root.filter(|root| reader.rules[*root].node.is_some()) else {
        return Err(Error::Grammar {
            detail: format!("there is no rule {ROOT:?}, which a text would be of"),
        });
    };
    let mut nodes = Vec::new();
    for (id, Draft { name, at: (line, column), node }) in reader.rules.into_iter().enumerate() {
        let missing =
            || Error::Grammar { detail: format!("line {line}, column {column}: there is no rule {name:?}") };
        let node = node.ok_or_else(missing)?;
        nodes.push(node.unrolled(id).unwrap_or(node));
    }
    Ok(Writer::new(&nodes).write(root))
}

/// What a rule is made of.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    /// One character of these ranges, or of none of them.
    Class {
        others: bool,
        ranges: Vec<[char; 2]>,
    },
    Rule(usize),
    /// One after another.
    Several(Vec<Node>),
    OneOf(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

impl Node {
    /// Whether every rule that is named in it is such.
    fn all(&self, such: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Text(_) | Self::Class { .. } => true,
            Self::Rule(id) => such(*id),
            Self::Several(nodes) | Self::OneOf(nodes) => nodes.iter().all(|node| node.all(such)),
            Self::Repeat(node, ..) => node.all(such),
        }
    }

    /// What it may be, each as one after another.
    fn choices(&self) -> Vec<Vec<Self>> {
        match self {
            Self::OneOf(nodes) => nodes.iter().flat_map(Self::choices).collect(),
            Self::Repeat(node, 0, Some(1)) => {
                let mut choices = node.choices();
                choices.push(Vec::new());
                choices
            }
            Self::Several(nodes) => match nodes.split_last() {
                None => vec![Vec::new()],
                // What may be left out at the end makes two of it.
                Some((last, before)) => {
                    let with = |choice| [before.to_vec(), choice].concat();
                    last.choices().into_iter().map(with).collect()
                }
            },
            node => vec![vec![node.clone()]],
        }
    }

    /// The same where a rule leads back to itself at its end only: a loop, and what may come behind it.
    fn unrolled(&self, own: usize) -> Option<Self> {
        if self.all(&|id| id != own) {
            return None;
        }
        let (mut loops, mut ends) = (Vec::new(), Vec::new());
        for mut choice in self.choices() {
            let again = choice.last() == Some(&Self::Rule(own));
            if again {
                choice.pop();
            }
            let choice = Self::Several(choice);
            if !choice.all(&|id| id != own) {
                return None;
            }
            if again { loops.push(choice) } else { ends.push(choice) }
        }
        Some(Self::Several(vec![Self::Repeat(Box::new(Self::OneOf(loops)), 0, None), Self::OneOf(ends)]))
    }
}

/// Writes rules and terminals as they are asked for.
struct Writer<'a> {
    nodes: &'a [Node],
    /// Which rules are terminals.
    regular: Vec<bool>,
    /// Which were asked for already.
    asked: Vec<bool>,
    waiting: Vec<usize>,
    /// Terminals that stand for parts of rules.
    parts: usize,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        let mut regular = vec![false; nodes.len()];
        // Each round finds those that name none but the ones found before.
        loop {
            let found = |id: usize| !regular[id] && nodes[id].all(&|other| regular[other]);
            let found: Vec<usize> = (0..nodes.len()).filter(|id| found(*id)).collect();
            if found.is_empty() {
                break;
            }
            found.into_iter().for_each(|id| regular[id] = true);
        }
        let asked = vec![false; nodes.len()];
        Self { nodes, regular, asked, waiting: Vec::new(), parts: 0, out: String::new() }
    }

    fn write(mut self, root: usize) -> String {
        let name = self.name(root);
        self.line("start", &name);
        while let Some(id) = self.waiting.pop() {
            let nodes = self.nodes;
            let text = if self.regular[id] { self.terminal(&nodes[id]) } else { self.rule(&nodes[id]) };
            let name = self.name(id);
            self.line(&name, &text);
        }
        self.out
    }

    fn line(&mut self, name: &str, text: &str) {
        self.out += &format!("{name}: {text}\n");
    }

    fn is_regular(&self, node: &Node) -> bool {
        node.all(&|id| self.regular[id])
    }

    /// What a rule is called, which is written when its turn comes.
    fn name(&mut self, id: usize) -> String {
        if !std::mem::replace(&mut self.asked[id], true) {
            self.waiting.push(id);
        }
        format!("{}{id}", if self.regular[id] { 'T' } else { 'r' })
    }

    fn rule(&mut self, node: &Node) -> String {
        if self.is_regular(node) {
            return self.part(node);
        }
        match node {
            Node::Rule(id) => self.name(*id),
            Node::Repeat(node, least, most) => {
                let inner = self.rule(node);
                repeat(&inner, *least, *most)
            }
            Node::Several(nodes) => {
                let mut texts = Vec::new();
                for run in nodes.chunk_by(|a, b| self.is_regular(a) && self.is_regular(b)) {
                    texts.push((run.to_vec(), self.is_regular(&run[0])));
                }
                let write = |(run, regular): (Vec<Node>, bool)| match regular {
                    true => self.part(&Node::Several(run)),
                    false => self.rule(&run[0]),
                };
                texts.into_iter().map(write).collect::<Vec<_>>().join(" ")
            }
            Node::OneOf(nodes) => {
                let (regular, others): (Vec<&Node>, Vec<&Node>) =
                    nodes.iter().partition(|node| self.is_regular(node));
                let mut texts: Vec<String> = others.into_iter().map(|node| self.rule(node)).collect();
                if !regular.is_empty() {
                    texts.push(self.part(&Node::OneOf(regular.into_iter().cloned().collect())));
                }
                format!("({})", texts.join(" | "))
            }
            Node::Text(_) | Node::Class { .. } => self.part(node),
        }
    }

    /// A terminal of its own for a part of a rule.
    fn part(&mut self, node: &Node) -> String {
        if let Node::Rule(id) = node {
            return self.name(*id);
        }
        let text = self.terminal(node);
        let name = format!("P{}", self.parts);
        self.parts += 1;
        self.line(&name, &text);
        name
    }

    fn terminal(&mut self, node: &Node) -> String {
        match node {
            Node::Text(text) if text.is_empty() => "\"\"".to_owned(),
            Node::Text(text) => format!("/{}/", text.chars().map(written).collect::<String>()),
            Node::Class { ranges, .. } if ranges.is_empty() => "/(?s:.)/".to_owned(),
            Node::Class { others, ranges } => {
                let range = |[first, last]: &[char; 2]| match first == last {
                    true => written(*first),
                    false => format!("{}-{}", written(*first), written(*last)),
                };
                let ranges = ranges.iter().map(range);
                format!("/[{}{}]/", if *others { "^" } else { "" }, ranges.collect::<String>())
            }
            Node::Rule(id) => self.name(*id),
            Node::Several(nodes) if nodes.is_empty() => "\"\"".to_owned(),
            Node::Several(nodes) => {
                let texts: Vec<String> = nodes.iter().map(|node| self.terminal(node)).collect();
                format!("({})", texts.join(" "))
            }
            Node::OneOf(nodes) => {
                let texts: Vec<String> = nodes.iter().map(|node| self.terminal(node)).collect();
                format!("({})", texts.join(" | "))
            }
            Node::Repeat(node, least, most) => {
                let inner = self.terminal(node);
                repeat(&inner, *least, *most)
            }
        }
    }
}

fn repeat(inner: &str, least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => format!("({inner})*"),
        (1, None) => format!("({inner})+"),
        (0, Some(1)) => format!("({inner})?"),
        (_, Some(0)) => "\"\"".to_owned(),
        (least, None) => format!("({inner}){{{least},}}"),
        (least, Some(most)) => format!("({inner}){{{least},{most}}}"),
    }
}

/// A character as patterns have it.
fn written(c: char) -> String {
    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:x}}}", u32::from(c)) }
}

#[cfg(test)]
mod tests;
