//! The part of Python's pickle format that a snapshot of PyTorch uses: numbers, texts, lists, tuples and dictionaries.
//!
//! Nothing is ever called: an opcode that would import, build or reduce is an error. What was read are nodes in a list
//! that name each other by number, so that no depth of nesting costs stack. Memory is bounded by a multiple of the
//! file's length. Next room: `snapshot`, which knows what the dictionaries mean.

use std::collections::HashMap;

/// Something that was read. Texts and containers are named by number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(u32),
    Node(u32),
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// A list or a tuple.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    nodes: Vec<Node>,
    texts: Vec<&'a str>,
    pub(super) root: Value,
}

/// Where something is wrong, and what.
pub(super) type Wrong = (u64, &'static str);

impl<'a> Pickle<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Wrong> {
        let mut machine = Machine { bytes, ..Machine::default() };
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, texts: machine.texts, root })
    }

    /// The elements of a list or a tuple.
    pub(super) fn list(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Node(node) => match &self.nodes[node as usize] {
                Node::List(values) => Some(values),
                Node::Dict(_) => None,
            },
            _ => None,
        }
    }

    /// The value of a key of a dictionary.
    pub(super) fn get(&self, dict: Value, key: &str) -> Option<Value> {
        let Value::Node(node) = dict else { return None };
        let Node::Dict(pairs) = &self.nodes[node as usize] else { return None };
        pairs.iter().rev().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
    }

    pub(super) fn is_dict(&self, value: Value) -> bool {
        matches!(value, Value::Node(node) if matches!(self.nodes[node as usize], Node::Dict(_)))
    }

    pub(super) fn text(&self, value: Value) -> Option<&'a str> {
        match value {
            Value::Text(text) => Some(self.texts[text as usize]),
            _ => None,
        }
    }

    pub(super) fn number(&self, value: Value) -> Option<u64> {
        match value {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
    texts: Vec<&'a str>,
}

/// Keys are looked for one after the other; a dictionary of a snapshot has a dozen.
const MOST_PAIRS: usize = 128;

const CUT_OFF: &str = "the pickle is cut off here";

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value, Wrong> {
        loop {
            let start = self.at;
            let wrong = |what| (start as u64, what);
            let op = self.take(1)?[0];
            match op {
                // PROTO, FRAME: what follows is the same in all protocols and frames.
                0x80 => {
                    if !(2..=5).contains(&self.take(1)?[0]) {
                        return Err(wrong("a snapshot is a pickle of protocol 2 to 5"));
                    }
                }
                0x95 => _ = self.take(8)?,
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,
                b'1' => _ = self.pop_to_mark()?,
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Bool(true)),
                0x89 => self.stack.push(Value::Bool(false)),
                b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' => {
                    let number = self.number(op)?;
                    self.stack.push(number);
                }
                0x8c | b'X' | 0x8d => {
                    let text = self.text(op)?;
                    self.stack.push(text);
                }
                b']' | b')' => self.push_node(Node::List(Vec::new()))?,
                b'}' => self.push_node(Node::Dict(Vec::new()))?,
                b'l' | b't' => {
                    let values = self.pop_to_mark()?;
                    self.push_node(Node::List(values))?;
                }
                0x85..=0x87 => {
                    let count = (op - 0x84) as usize;
                    let from = self.floor_checked(count)?;
                    let values = self.stack.split_off(from);
                    self.push_node(Node::List(values))?;
                }
                b'd' => {
                    let values = self.pop_to_mark()?;
                    self.push_node(Node::Dict(Vec::new()))?;
                    self.set_items(values).map_err(wrong)?;
                }
                b'a' => {
                    let value = self.pop()?;
                    self.append(vec![value]).map_err(wrong)?;
                }
                b'e' => {
                    let values = self.pop_to_mark()?;
                    self.append(values).map_err(wrong)?;
                }
                b's' => {
                    let from = self.floor_checked(2)?;
                    let pair = self.stack.split_off(from);
                    self.set_items(pair).map_err(wrong)?;
                }
                b'u' => {
                    let values = self.pop_to_mark()?;
                    self.set_items(values).map_err(wrong)?;
                }
                0x94 | b'q' | b'r' | b'h' | b'j' => self
                    .remember(op)
                    .map_err(|(at, what)| if what == CUT_OFF { (at, what) } else { wrong(what) })?,
                b'c' | 0x93 | b'R' | b'b' | b'i' | b'o' | 0x81 | 0x92 | b'P' | b'Q' | 0x82..=0x84 => {
                    return Err(wrong("the pickle wants to run code, which no snapshot needs"));
                }
                _ => return Err(wrong("no snapshot has this opcode")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let rest = &self.bytes[self.at..];
        if rest.len() < count {
            return Err((self.bytes.len() as u64, CUT_OFF));
        }
        self.at += count;
        Ok(&rest[..count])
    }

    /// A little-endian number of so many bytes.
    fn length(&mut self, bytes: usize) -> Result<u64, Wrong> {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(word))
    }

    fn number(&mut self, op: u8) -> Result<Value, Wrong> {
        Ok(match op {
            b'J' => Value::Int(i128::from(self.length(4)? as u32 as i32)),
            b'K' => Value::Int(i128::from(self.length(1)?)),
            b'M' => Value::Int(i128::from(self.length(2)?)),
            b'G' => {
                let mut word = [0; 8];
                word.copy_from_slice(self.take(8)?);
                Value::Float(f64::from_be_bytes(word))
            }
            _ => {
                let start = self.at as u64 - 1;
                let count = self.length(if op == 0x8a { 1 } else { 4 })?;
                if count > 15 {
                    return Err((start, "the number is longer than any in a snapshot"));
                }
                let bytes = self.take(count as usize)?;
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut word = [if negative { 0xFF } else { 0 }; 16];
                word[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i128::from_le_bytes(word))
            }
        })
    }

    fn text(&mut self, op: u8) -> Result<Value, Wrong> {
        let bytes = match op {
            0x8c => 1,
            b'X' => 4,
            _ => 8,
        };
        let len = self.length(bytes)?;
        let start = self.at as u64;
        let len = usize::try_from(len).map_err(|_| (self.bytes.len() as u64, CUT_OFF))?;
        let text = str::from_utf8(self.take(len)?).map_err(|_| (start, "the text is not UTF-8"))?;
        self.texts.push(text);
        Ok(Value::Text((self.texts.len() - 1) as u32))
    }

    fn remember(&mut self, op: u8) -> Result<(), Wrong> {
        let name = match op {
            0x94 => self.memo.len() as u32,
            b'q' | b'h' => self.length(1)? as u32,
            _ => self.length(4)? as u32,
        };
        if matches!(op, b'h' | b'j') {
            let known = *self.memo.get(&name).ok_or((0, "nothing was remembered by this number"))?;
            self.stack.push(known);
        } else {
            let top = *self.stack.last().ok_or((0, "there is nothing to remember"))?;
            self.memo.insert(name, top);
        }
        Ok(())
    }

    /// How far the stack may be taken down: to the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    /// Where the topmost `count` values start.
    fn floor_checked(&self, count: usize) -> Result<usize, Wrong> {
        let from = self.stack.len().checked_sub(count).filter(|from| *from >= self.floor());
        from.ok_or((self.at as u64 - 1, "the stack has too little on it"))
    }

    fn pop(&mut self) -> Result<Value, Wrong> {
        let from = self.floor_checked(1)?;
        self.stack.drain(from..).next().ok_or((self.at as u64, "the stack has too little on it"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, Wrong> {
        let mark = self.marks.pop().ok_or((self.at as u64 - 1, "there is no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn push_node(&mut self, node: Node) -> Result<(), Wrong> {
        let number =
            u32::try_from(self.nodes.len()).map_err(|_| (self.at as u64, "there is too much in it"))?;
        self.nodes.push(node);
        self.stack.push(Value::Node(number));
        Ok(())
    }

    fn top_node(&mut self) -> Option<&mut Node> {
        match self.stack.last() {
            Some(Value::Node(node)) => self.nodes.get_mut(*node as usize),
            _ => None,
        }
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), &'static str> {
        match self.top_node() {
            Some(Node::List(list)) => list.extend(values),
            _ => return Err("there is no list to add to"),
        }
        Ok(())
    }

    fn set_items(&mut self, values: Vec<Value>) -> Result<(), &'static str> {
        let (pairs, []) = values.as_chunks::<2>() else { return Err("a key has no value") };
        match self.top_node() {
            Some(Node::Dict(dict)) if dict.len() + pairs.len() <= MOST_PAIRS => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Some(Node::Dict(_)) => return Err("no dictionary of a snapshot has so many keys"),
            _ => return Err("there is no dictionary to add to"),
        }
        Ok(())
    }
}

/// Writes a pickle. Texts that come again are named by number.
#[derive(Debug, Default)]
pub(super) struct PickleWriter {
    pub(super) bytes: Vec<u8>,
    memo: HashMap<String, u32>,
}

impl PickleWriter {
    pub(super) fn start() -> Self {
        Self { bytes: vec![0x80, 2], memo: HashMap::new() }
    }

    /// The whole pickle.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0x88 } else { 0x89 });
    }

    pub(super) fn int(&mut self, value: u64) {
        match value {
            0..=0xFF => self.bytes.extend([b'K', value as u8]),
            0x100..=0x7FFF_FFFF => {
                self.bytes.push(b'J');
                self.bytes.extend((value as u32).to_le_bytes());
            }
            _ => {
                // One byte more than it has, so that the sign is that of a number that is not negative.
                self.bytes.extend([0x8a, 9]);
                self.bytes.extend(value.to_le_bytes());
                self.bytes.push(0);
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Some(&known) = self.memo.get(text) {
            self.bytes.push(b'j');
            self.bytes.extend(known.to_le_bytes());
            return;
        }
        let name = self.memo.len() as u32;
        self.memo.insert(text.to_owned(), name);
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.bytes.push(b'r');
        self.bytes.extend(name.to_le_bytes());
    }

    pub(super) fn tuple(&mut self, values: impl FnOnce(&mut Self)) {
        self.bytes.push(b'(');
        values(self);
        self.bytes.push(b't');
    }

    pub(super) fn list(&mut self, values: impl FnOnce(&mut Self)) {
        self.bytes.extend(b"](");
        values(self);
        self.bytes.push(b'e');
    }

    /// Keys and values in turn.
    pub(super) fn dict(&mut self, pairs: impl FnOnce(&mut Self)) {
        self.bytes.extend(b"}(");
        pairs(self);
        self.bytes.push(b'u');
    }
}

#[cfg(test)]
pub(super) mod tests;
