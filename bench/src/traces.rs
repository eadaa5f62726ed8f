//! Allocation traces: what programs that run or train a language model ask of a memory pool, in order.
//!
//! Only sizes and lifetimes, drawn from a seed; nothing is allocated and no kernel is known. The shapes are
//! those of a dense model of eight billion weights in 16-bit numbers. Next room: `frag`, which plays them
//! against policies.

use forebay_device::{Tag, history::Demand};

/// A program as its pool sees it.
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) demand: Demand,
}

/// The four programs.
pub(crate) fn all() -> Vec<Trace> {
    vec![
        serving("serving, flash attention", 7, Attention::Flash),
        serving("serving, scores kept", 11, Attention::Scores),
        training("training, varying length", 3),
        random("random, 1 KiB to 32 MiB", 5),
    ]
}

const LAYERS: usize = 36;
const HIDDEN: u64 = 4096;
const HEADS: u64 = 32;
const KEYS: u64 = 1024;
const INNER: u64 = 12_288;
const VOCABULARY: u64 = 151_936;
const HALF: u64 = 2;
const SINGLE: u64 = 4;

/// Tokens by which the cache of a request grows.
const CACHE_STEP: u64 = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attention {
    /// Scores never leave the chip.
    Flash,
    /// Scores are a buffer of rows times context.
    Scores,
}

/// A generator of numbers that look random and are the same everywhere: splitmix64.
struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`, all alike.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64
    }
}

/// Writes a trace down.
#[derive(Default)]
struct Pen {
    demand: Demand,
    sizes: Vec<u64>,
    live: u64,
}

impl Pen {
    fn alloc(&mut self, bytes: u64, tag: Tag) -> u32 {
        let id = self.demand.alloc(bytes, tag);
        self.sizes.resize(self.sizes.len().max(id as usize + 1), 0);
        self.sizes[id as usize] = bytes;
        self.live += bytes;
        id
    }

    /// A buffer of `rows` times `width` 16-bit numbers that goes soon.
    fn rows(&mut self, rows: u64, width: u64) -> u32 {
        self.alloc(rows * width * HALF, Tag::Activations)
    }

    fn free(&mut self, id: u32) {
        self.live -= self.sizes[id as usize];
        self.demand.free(id);
    }

    fn trace(self, name: &'static str) -> Trace {
        Trace { name, demand: self.demand }
    }

    /// One layer over `rows` tokens that see `context` tokens; takes the residual and gives the next one.
    fn layer(&mut self, rows: u64, context: u64, attention: Attention, residual: u32) -> u32 {
        let normed = self.rows(rows, HIDDEN);
        let qkv = [self.rows(rows, HIDDEN), self.rows(rows, KEYS), self.rows(rows, KEYS)];
        self.free(normed);
        let scores = (attention == Attention::Scores).then(|| self.rows(rows * HEADS, context.min(4096)));
        let mixed = self.rows(rows, HIDDEN);
        scores.into_iter().chain(qkv).for_each(|id| self.free(id));
        let projected = self.rows(rows, HIDDEN);
        self.free(mixed);
        let middle = self.rows(rows, HIDDEN);
        self.free(projected);
        self.free(residual);
        let normed = self.rows(rows, HIDDEN);
        let (gate, up) = (self.rows(rows, INNER), self.rows(rows, INNER));
        self.free(normed);
        let gated = self.rows(rows, INNER);
        self.free(gate);
        self.free(up);
        let down = self.rows(rows, HIDDEN);
        self.free(gated);
        let next = self.rows(rows, HIDDEN);
        self.free(down);
        self.free(middle);
        next
    }

    /// A pass through all layers to the logits of `outputs` rows.
    fn pass(&mut self, rows: u64, context: u64, outputs: u64, attention: Attention) {
        let mut residual = self.rows(rows, HIDDEN);
        for _ in 0..LAYERS {
            residual = self.layer(rows, context, attention, residual);
        }
        let logits = self.alloc(outputs * VOCABULARY * SINGLE, Tag::Activations);
        self.free(residual);
        self.free(logits);
    }
}

/// A request being served.
struct Request {
    tokens: u64,
    left: u64,
    room: u64,
    /// Keys and values of each layer.
    cache: Vec<u32>,
}

impl Request {
    fn admit(pen: &mut Pen, dice: &mut Dice) -> Self {
        let least = 32 << dice.below(8);
        let tokens = least + dice.below(least);
        let room = tokens.next_multiple_of(CACHE_STEP);
        let cache = (0..2 * LAYERS).map(|_| pen.alloc(room * KEYS * HALF, Tag::Kv)).collect();
        Self { tokens, left: 64 + dice.below(512), room, cache }
    }

    /// One token more; a full cache moves into a longer one.
    fn advance(&mut self, pen: &mut Pen) {
        self.tokens += 1;
        self.left -= 1;
        if self.tokens > self.room {
            self.room += CACHE_STEP;
            for id in &mut self.cache {
                let longer = pen.alloc(self.room * KEYS * HALF, Tag::Kv);
                pen.free(std::mem::replace(id, longer));
            }
        }
    }
}

/// Continuous batching: requests come and go, each prefilled alone and then decoded with the others.
fn serving(name: &'static str, seed: u64, attention: Attention) -> Trace {
    let (mut pen, mut dice) = (Pen::default(), Dice(seed));
    let mut waiting = 48;
    let mut active: Vec<Request> = Vec::new();
    while waiting > 0 || !active.is_empty() {
        if waiting > 0 && active.len() < 6 && dice.below(5) == 0 {
            waiting -= 1;
            let request = Request::admit(&mut pen, &mut dice);
            pen.pass(request.tokens, request.tokens, 1, attention);
            active.push(request);
        }
        if active.is_empty() {
            continue;
        }
        let rows = active.len() as u64;
        pen.pass(rows, 512, rows, attention);
        let mut i = 0;
        while i < active.len() {
            active[i].advance(&mut pen);
            if active[i].left > 0 {
                i += 1;
                continue;
            }
            active.swap_remove(i).cache.into_iter().for_each(|id| pen.free(id));
        }
    }
    pen.trace(name)
}

/// Training steps whose token count changes every time; what forward keeps, backward frees in reverse.
fn training(name: &'static str, seed: u64) -> Trace {
    let (mut pen, mut dice) = (Pen::default(), Dice(seed));
    for _ in 0..24 {
        let rows = 1024 + dice.below(3072);
        let mut kept = Vec::new();
        let mut residual = pen.rows(rows, HIDDEN);
        for _ in 0..LAYERS {
            let widths = [HIDDEN, HIDDEN + 2 * KEYS, HIDDEN, INNER, INNER];
            let saved = widths.map(|width| pen.rows(rows, width));
            let gated = pen.rows(rows, INNER);
            let next = pen.rows(rows, HIDDEN);
            pen.free(gated);
            kept.push((residual, saved));
            residual = next;
        }
        let logits = pen.rows(rows.div_ceil(4), VOCABULARY);
        let mut gradient = pen.rows(rows, HIDDEN);
        pen.free(logits);
        pen.free(residual);
        while let Some((input, saved)) = kept.pop() {
            let (wide, narrow) = (pen.rows(rows, 2 * INNER), pen.rows(rows, HIDDEN + 2 * KEYS));
            let below = pen.rows(rows, HIDDEN);
            let weights = pen.rows(HIDDEN, INNER);
            pen.free(weights);
            pen.free(input);
            saved.into_iter().for_each(|id| pen.free(id));
            pen.free(wide);
            pen.free(narrow);
            pen.free(std::mem::replace(&mut gradient, below));
        }
        pen.free(gradient);
    }
    pen.trace(name)
}

/// Sizes even on a logarithmic scale, lifetimes random, 4 GiB full.
fn random(name: &'static str, seed: u64) -> Trace {
    let (mut pen, mut dice) = (Pen::default(), Dice(seed));
    let mut live = Vec::new();
    for _ in 0..40_000 {
        let least = 1024u64 << dice.below(15);
        let bytes = least + dice.below(least);
        let grows = live.is_empty() || dice.below(100) < 55;
        if grows && pen.live + bytes <= 4 << 30 {
            live.push(pen.alloc(bytes, Tag::Activations));
        } else {
            let which = dice.below(live.len() as u64) as usize;
            pen.free(live.swap_remove(which));
        }
    }
    live.into_iter().for_each(|id| pen.free(id));
    pen.trace(name)
}

#[cfg(test)]
mod tests {
    use forebay_device::history::Call;

    use super::*;

    #[test]
    fn every_block_is_freed_once_and_the_peak_is_what_was_live() {
        for trace in all() {
            let mut held = std::collections::HashMap::new();
            let (mut live, mut peak) = (0, 0);
            for call in trace.demand.calls() {
                match *call {
                    Call::Alloc { id, bytes, .. } => {
                        assert!(bytes > 0 && held.insert(id, bytes).is_none(), "{}: {id}", trace.name);
                        live += bytes;
                    }
                    Call::Free { id } => live -= held.remove(&id).unwrap(),
                }
                peak = peak.max(live);
            }
            assert_eq!((live, peak), (0, trace.demand.peak_live()), "{}", trace.name);
            assert!(peak > 1 << 30 && trace.demand.left_out() == 0, "{}: {peak} bytes", trace.name);
        }
    }
}
