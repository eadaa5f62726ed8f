#![allow(unsafe_code, reason = "a group owns one head of every position")]
//! `gated_delta` on the CPU: a group owns a head of values, its state, and its part of every position's output.
//!
//! The chunk kernel writes what a position adds to the state as `key * u`. With `S` the state before the chunk and `D(i)`
//! the decays up to position `i` added up, `u(i) = beta(i) * (v(i) - e^D(i) S(k(i)) - sum over j < i of
//! e^(D(i) - D(j)) (k(j) . k(i)) u(j))`, and the output and the new state are sums over the `u` in the same way.

use std::ops::Range;

use forebay_device::{KernelDef, Param, Share, Signature};

use super::{CHUNK, MOST_WIDTH};
use crate::tiles::cpu::{
    arguments,
    curves::exp,
    dot::{add_scaled, dot},
    lanes::{Job, Lanes, Level},
};

fn signature() -> Signature {
    let read = [Param::read::<f32>(); 5];
    let written = [Param::read_write::<f32>(), Param::write::<f32>()];
    let [word, scale] = [Param::u32(), Param::f32()];
    let words = [word, word, word, word, scale, word, word];
    Signature::new(read.into_iter().chain(written).chain(words).collect::<Vec<_>>())
}

pub(super) fn step(level: Level) -> KernelDef {
    KernelDef::new("gated_delta_step", signature()).cpu_shares(move |share| level.run(Steps(share)))
}

pub(super) fn chunk(level: Level) -> KernelDef {
    KernelDef::new("gated_delta_chunk", signature()).cpu_shares(move |share| level.run(Chunks(share)))
}

/// One kernel's share of a launch. A closure of this size would not be inlined, and so not be compiled for the level.
struct Steps<'a, 'b>(&'a Share<'b>);

impl Job for Steps<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _: V) {
        for head in self.0.groups() {
            steps(self.0, &Head::of(self.0, head));
        }
    }
}

/// As [`Steps`], of the other.
struct Chunks<'a, 'b>(&'a Share<'b>);

impl Job for Chunks<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _: V) {
        for head in self.0.groups() {
            chunks(self.0, &Head::of(self.0, head));
        }
    }
}

/// What one head of values takes.
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    decay: &'a [f32],
    beta: &'a [f32],
    scale: f32,
    count: usize,
    head: usize,
    heads: usize,
    key_head: usize,
    key_heads: usize,
    key_width: usize,
    width: usize,
}

impl<'a> Head<'a> {
    fn of(share: &Share<'a>, head: usize) -> Self {
        // SAFETY: A2: the signature declares all of them as read.
        let [q, k, v, decay, beta] =
            [0, 1, 2, 3, 4].map(|argument| unsafe { arguments::read(share, argument) });
        let [count, key_heads, heads] = [7, 8, 9].map(|argument| arguments::count(share, argument));
        let key_head = if share.word(10) == 1 { head % key_heads } else { head / (heads / key_heads) };
        let (key_width, width) = (q.len() / count / key_heads, v.len() / count / heads);
        let scale = arguments::float(share, 11);
        Self { q, k, v, decay, beta, scale, count, head, heads, key_head, key_heads, key_width, width }
    }

    fn query(&self, i: usize) -> &'a [f32] {
        &self.q[(i * self.key_heads + self.key_head) * self.key_width..][..self.key_width]
    }

    fn key(&self, i: usize) -> &'a [f32] {
        &self.k[(i * self.key_heads + self.key_head) * self.key_width..][..self.key_width]
    }

    fn value(&self, i: usize) -> &'a [f32] {
        &self.v[(i * self.heads + self.head) * self.width..][..self.width]
    }

    fn decay(&self, i: usize) -> f32 {
        let decay = self.decay[i * self.heads + self.head];
        // Below this nothing is kept, and the difference of two infinities would be no number.
        if decay < -110.0 { -110.0 } else { decay }
    }

    fn beta(&self, i: usize) -> f32 {
        self.beta[i * self.heads + self.head]
    }

    /// Where its state lies.
    fn state(&self) -> Range<usize> {
        let all = self.key_width * self.width;
        self.head * all..(self.head + 1) * all
    }

    /// Where its output at a position lies.
    fn out(&self, i: usize) -> Range<usize> {
        let first = (i * self.heads + self.head) * self.width;
        first..first + self.width
    }
}

#[inline(always)]
fn steps(share: &Share<'_>, head: &Head<'_>) {
    // SAFETY: A3: a group owns the state of its head.
    let state: &mut [f32] = unsafe { arguments::write(share, 5, head.state()) };
    for i in 0..head.count {
        // SAFETY: A3: a group owns its head of every position.
        let out: &mut [f32] = unsafe { arguments::write(share, 6, head.out(i)) };
        let mut change = [0.0; MOST_WIDTH];
        let change = &mut change[..head.width];
        let keep = exp(head.decay(i));
        for (row, key) in state.chunks_exact_mut(head.width).zip(head.key(i)) {
            row.iter_mut().for_each(|x| *x *= keep);
            add_scaled(change, *key, row);
        }
        let beta = head.beta(i);
        change.iter_mut().zip(head.value(i)).for_each(|(x, value)| *x = beta * (value - *x));
        out.fill(0.0);
        for (row, (key, query)) in
            state.chunks_exact_mut(head.width).zip(head.key(i).iter().zip(head.query(i)))
        {
            add_scaled(row, *key, change);
            add_scaled(out, *query, row);
        }
        out.iter_mut().for_each(|x| *x *= head.scale);
    }
}

#[inline(always)]
fn chunks(share: &Share<'_>, head: &Head<'_>) {
    // SAFETY: A3: a group owns the state of its head.
    let state: &mut [f32] = unsafe { arguments::write(share, 5, head.state()) };
    let mut changes = [[0.0; MOST_WIDTH]; CHUNK];
    let mut answers = [[0.0; MOST_WIDTH]; CHUNK];
    for first in (0..head.count).step_by(CHUNK) {
        let count = CHUNK.min(head.count - first);
        let (changes, answers) = (&mut changes[..count], &mut answers[..count]);
        let mut decays = [0.0; CHUNK];
        let mut sum = 0.0;
        for (i, decay) in decays[..count].iter_mut().enumerate() {
            sum += head.decay(first + i);
            *decay = sum;
        }
        // What the state before the chunk says to every key and query.
        changes.iter_mut().chain(answers.iter_mut()).for_each(|row| row[..head.width].fill(0.0));
        for (row, place) in state.chunks_exact(head.width).zip(0..) {
            for (i, (change, answer)) in changes.iter_mut().zip(answers.iter_mut()).enumerate() {
                add_scaled(&mut change[..head.width], head.key(first + i)[place], row);
                add_scaled(&mut answer[..head.width], head.query(first + i)[place], row);
            }
        }
        for i in 0..count {
            let (before, rest) = changes.split_at_mut(i);
            let (own, keep) = (&mut rest[0][..head.width], exp(decays[i]));
            own.iter_mut().for_each(|x| *x *= keep);
            for (j, change) in before.iter().enumerate() {
                let share = exp(decays[i] - decays[j]) * dot(head.key(first + j), head.key(first + i));
                add_scaled(own, share, &change[..head.width]);
            }
            let beta = head.beta(first + i);
            own.iter_mut().zip(head.value(first + i)).for_each(|(x, value)| *x = beta * (value - *x));
            // SAFETY: A3: a group owns its head of every position.
            let out: &mut [f32] = unsafe { arguments::write(share, 6, head.out(first + i)) };
            out.iter_mut().zip(&answers[i]).for_each(|(out, x)| *out = keep * x);
            for (j, change) in changes[..=i].iter().enumerate() {
                let share = exp(decays[i] - decays[j]) * dot(head.key(first + j), head.query(first + i));
                add_scaled(out, share, &change[..head.width]);
            }
            out.iter_mut().for_each(|x| *x *= head.scale);
        }
        let end = decays[count - 1];
        for (place, row) in state.chunks_exact_mut(head.width).enumerate() {
            let keep = exp(end);
            row.iter_mut().for_each(|x| *x *= keep);
            for (i, change) in changes.iter().enumerate() {
                add_scaled(row, exp(end - decays[i]) * head.key(first + i)[place], &change[..head.width]);
            }
        }
    }
}
