#![allow(unsafe_code, reason = "a group of several positions owns rows that do not lie in a row")]
//! `attention` on the CPU: the kernels, and what of the launch belongs to a group.
//!
//! In `attention` a group owns the heads of one key-value head for a block of positions; in `attention_split` those of
//! one position for one part of what it sees; in `attention_join` it owns the result of these. Next room:
//! `tiles::cpu::attend`, which goes through keys and values.

use std::ops::Range;

use forebay_device::{Group, KernelDef, Param, Share, Signature};

use super::PARTS;
use crate::{
    DType,
    tiles::cpu::{
        arguments,
        attend::{Cache, ROWS, Rows, Scores, TILE, attend, finish},
        cache::{Unit, per_unit},
        curves::exp,
    },
};

/// Positions of a block, for so many heads a group.
fn block_of(heads: usize) -> usize {
    (ROWS / heads).max(1)
}

/// Blocks of so many positions.
pub(super) fn blocks(count: usize, heads: usize) -> usize {
    count.div_ceil(block_of(heads))
}

fn signature<T: Unit>() -> Signature {
    let buffers = [Param::read::<f32>(), Param::read::<T>(), Param::read::<T>(), Param::read::<u32>()];
    let numbers = [Param::u32(), Param::u32(), Param::f32(), Param::f32(), Param::u32(), Param::u32()];
    let all = buffers.into_iter().chain([Param::read::<f32>(), Param::write::<f32>()]).chain(numbers);
    Signature::new(all.collect::<Vec<_>>())
}

pub(super) fn whole(dtype: DType) -> KernelDef {
    per_unit!(dtype, U => {
        KernelDef::new(format!("attention_{dtype}"), signature::<U>()).cpu_shares(run_whole::<U>)
    })
}

pub(super) fn split(dtype: DType) -> KernelDef {
    per_unit!(dtype, U => {
        KernelDef::new(format!("attention_split_{dtype}"), signature::<U>()).cpu_shares(run_split::<U>)
    })
}

/// The launch as all groups see it.
struct Launch<'a, T> {
    q: &'a [f32],
    keys: &'a [T],
    values: &'a [T],
    positions: &'a [u32],
    sinks: &'a [f32],
    heads: usize,
    groups: usize,
    width: usize,
    value_width: usize,
    capacity: usize,
    scores: Scores,
    /// Whether a position sees what comes after it, and how far it sees; 0 is without end.
    after: bool,
    length: usize,
}

impl<'a, T: Unit> Launch<'a, T> {
    fn of(share: &Share<'a>) -> Self {
        // SAFETY: A2: the signature declares all of them as read.
        let (q, positions, sinks): (&[f32], &[u32], &[f32]) =
            unsafe { (arguments::read(share, 0), arguments::read(share, 3), arguments::read(share, 4)) };
        // SAFETY: as above.
        let (keys, values): (&[T], &[T]) = unsafe { (arguments::read(share, 1), arguments::read(share, 2)) };
        let (heads, groups) = (arguments::count(share, 6), arguments::count(share, 7));
        let width = q.len() / positions.len() / heads;
        let capacity = keys.len() * T::ELEMENTS / (groups * width);
        let value_width = values.len() * T::ELEMENTS / (groups * capacity).max(1);
        let scores = Scores { scale: arguments::float(share, 8), softcap: arguments::float(share, 9) };
        let (after, length) = (arguments::count(share, 10) == 1, arguments::count(share, 11));
        Self {
            q,
            keys,
            values,
            positions,
            sinks,
            heads,
            groups,
            width,
            value_width,
            capacity,
            scores,
            after,
            length,
        }
    }

    /// The positions that a position sees. What the cache does not hold fails the stage.
    fn seen(&self, position: u32, largest: u32) -> Range<usize> {
        let (position, largest) = (position as usize, largest as usize);
        let length = if self.length == 0 { usize::MAX } else { self.length };
        let end = if self.after { largest.min(position.saturating_add(length - 1)) } else { position };
        let start = (position + 1).saturating_sub(length);
        let (held, capacity) = (largest.max(position) - start, self.capacity);
        let ring = self.length != 0;
        assert!(ring || end < capacity, "position {end} is not in a cache of {capacity}");
        assert!(
            held < capacity,
            "position {start} has left a cache of {capacity} that holds position {largest}"
        );
        start..end + 1
    }

    fn largest(&self) -> u32 {
        self.positions.iter().copied().max().unwrap_or(0)
    }

    fn cache(&self, group: usize) -> Cache<'a, T> {
        let key_units = self.capacity * self.width / T::ELEMENTS;
        let value_units = self.capacity * self.value_width / T::ELEMENTS;
        Cache {
            keys: &self.keys[group * key_units..][..key_units],
            values: &self.values[group * value_units..][..value_units],
            capacity: self.capacity,
        }
    }

    fn query(&self, position: usize, head: usize) -> &'a [f32] {
        &self.q[(position * self.heads + head) * self.width..][..self.width]
    }
}

fn run_whole<T: Unit>(share: &Share<'_>) {
    let launch = Launch::<T>::of(share);
    let (group_heads, count, largest) =
        (launch.heads / launch.groups, launch.positions.len(), launch.largest());
    let (block, width) = (block_of(group_heads), launch.value_width);
    let blocks = blocks(count, group_heads);
    for index in share.groups() {
        let (group, turn) = (index / blocks, index % blocks);
        // Early and late blocks by turns: late ones see more, and workers take runs of groups.
        let turn = if turn % 2 == 0 { turn / 2 } else { blocks - 1 - turn / 2 };
        let positions = turn * block..((turn + 1) * block).min(count);
        for first in (0..group_heads).step_by(ROWS) {
            let heads = group * group_heads + first..group * group_heads + (first + ROWS).min(group_heads);
            let mut rows = Rows::default();
            for i in positions.clone() {
                let seen = launch.seen(launch.positions[i], largest);
                for head in heads.clone() {
                    let at = (i * launch.heads + head) * width;
                    // SAFETY: A3: a group owns the rows of its heads and positions, and each is taken once.
                    let out: &mut [f32] = unsafe { arguments::write(share, 5, at..at + width) };
                    rows.push(launch.query(i, head), seen.clone(), out);
                }
            }
            attend(&launch.cache(group), &mut rows, &launch.scores);
            let sink = |row: usize| launch.sinks.get(heads.start + row % heads.len()).copied();
            rows.each(|row, most, sum, out| finish(out, most, sum, sink(row)));
        }
    }
}

fn run_split<T: Unit>(share: &Share<'_>) {
    let launch = Launch::<T>::of(share);
    let (group_heads, largest) = (launch.heads / launch.groups, launch.largest());
    let record = launch.value_width + 2;
    for index in share.groups() {
        let (row, part) = (index / PARTS, index % PARTS);
        let (i, group) = (row / launch.groups, row % launch.groups);
        let seen = launch.seen(launch.positions[i], largest);
        let own = part_of(seen, part);
        let at = index * group_heads * record;
        // SAFETY: A3: a group owns the records of its position, its heads and its part.
        let records: &mut [f32] = unsafe { arguments::write(share, 5, at..at + group_heads * record) };
        for (chunk, records) in records.chunks_mut(ROWS * record).enumerate() {
            let first = group * group_heads + chunk * ROWS;
            let mut rows = Rows::default();
            let mut ends: [&mut [f32]; ROWS] = Default::default();
            for (offset, (record, end)) in records.chunks_exact_mut(record).zip(&mut ends).enumerate() {
                let (out, rest) = record.split_at_mut(launch.value_width);
                *end = rest;
                rows.push(launch.query(i, first + offset), own.clone(), out);
            }
            attend(&launch.cache(group), &mut rows, &launch.scores);
            rows.each(|row, most, sum, _| ends[row].copy_from_slice(&[most, sum]));
        }
    }
}

/// One part of a range: all are equally long, whole tiles, and the last ones are empty if there is little.
fn part_of(all: Range<usize>, part: usize) -> Range<usize> {
    let each = all.len().div_ceil(PARTS).next_multiple_of(TILE);
    (all.start + part * each).min(all.end)..(all.start + (part + 1) * each).min(all.end)
}

pub(super) fn join() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>(),
        Param::read::<f32>(),
        Param::write::<f32>().per_group_of(5),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("attention_join", signature).cpu(run_join)
}

fn run_join(group: &Group<'_>) {
    let (parts, sinks, out) = (group.read::<f32>(0), group.read::<f32>(1), group.write::<f32>(2));
    let (heads, width) = (group.u32(3) as usize, group.u32(4) as usize);
    let record = width + 2;
    let parts = &parts[group.index() * PARTS * heads * record..][..PARTS * heads * record];
    for (head, out) in out.chunks_exact_mut(width).enumerate() {
        let records =
            || parts.chunks_exact(record).skip(head).step_by(heads).filter(|part| part[width + 1] != 0.0);
        let most = records()
            .fold(f32::NEG_INFINITY, |most, part| if part[width] > most { part[width] } else { most });
        let mut sum = 0.0;
        out.fill(0.0);
        for part in records() {
            let weight = exp(part[width] - most);
            sum += weight * part[width + 1];
            out.iter_mut().zip(part).for_each(|(out, x)| *out += weight * x);
        }
        // Groups follow each other as heads do, again and again for each position.
        let sink = sinks.get((group.index() * heads + head) % sinks.len().max(1)).copied();
        finish(out, most, sum, sink);
    }
}
