#![allow(unsafe_code, reason = "a group of several positions owns rows that do not lie in a row")]
//! `attention` on the CPU: the kernels, and what of the launch belongs to a group.
//!
//! In `attention` a group owns the heads of one key-value head for a block of positions; in `attention_split` those of
//! one position for one part of what it sees; in `attention_join` it owns the result of these. Next room:
//! `tiles::cpu::attend`, which goes through keys and values.

use std::{marker::PhantomData, ops::Range};

use forebay_device::{Group, KernelDef, Param, Share, Signature};

use super::{MOST_WIDTH, PART};
use crate::{
    DType,
    tiles::cpu::{
        arguments,
        attend::{Cache, InLines, ROWS, Rows, Scores, Total, attend},
        cache::{Unit, per_unit},
        lanes::{Job, Lanes, Level},
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

/// The sizes are for cards, which are not told how long buffers are. Places and the number of caches are at its end.
fn signature<T: Unit>() -> Signature {
    Signature::new(of_one_cache::<T>().chain(places()).collect::<Vec<_>>())
}

/// The cache of each position, where there are several, and how many there are.
fn places() -> [Param; 2] {
    [Param::read::<u32>(), Param::u32()]
}

/// The same for those that know of no places.
pub(super) fn of_one_cache<T: Unit>() -> impl Iterator<Item = Param> {
    let buffers = [Param::read::<f32>(), Param::read::<T>(), Param::read::<T>(), Param::read::<u32>()];
    let numbers = [Param::u32(), Param::u32(), Param::f32(), Param::f32(), Param::u32(), Param::u32()];
    let all = buffers.into_iter().chain([Param::read::<f32>(), Param::write::<f32>()]).chain(numbers);
    all.chain([Param::u32(); 7])
}

pub(super) fn whole(dtype: DType, level: Level) -> KernelDef {
    per_unit!(dtype, U => {
        KernelDef::new(format!("attention_{dtype}"), signature::<U>()).cpu_shares(move |share| level.run(Whole::<U>(share, level, PhantomData)))
    })
}

pub(super) fn split(dtype: DType, level: Level) -> KernelDef {
    per_unit!(dtype, U => {
        KernelDef::new(format!("attention_split_{dtype}"), signature::<U>()).cpu_shares(move |share| level.run(Split::<U>(share, level, PhantomData)))
    })
}

/// One kernel's share of a launch. A closure of this size would not be inlined, and so not be compiled for the level.
struct Whole<'a, 'b, T>(&'a Share<'b>, Level, PhantomData<T>);

impl<T: Unit> Job for Whole<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        run_whole::<V, T>(v, self.0, self.1);
    }
}

/// As [`Whole`], of the other.
struct Split<'a, 'b, T>(&'a Share<'b>, Level, PhantomData<T>);

impl<T: Unit> Job for Split<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        run_split::<V, T>(v, self.0, self.1);
    }
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
    /// The cache of each position, where there are several.
    places: &'a [u32],
    caches: usize,
    scores: Scores,
    sees: Sees,
}

/// Which positions are seen from where.
struct Sees {
    /// Whether also what comes after.
    after: bool,
    /// How far; 0 is without end.
    length: usize,
    capacity: usize,
    /// The largest position of the launch; none where each is as alone.
    largest: Option<usize>,
}

impl Sees {
    fn new(positions: &[u32], apart: bool, capacity: usize, after: u32, length: u32) -> Self {
        let largest = positions.iter().copied().max().filter(|_| !apart).map(|most| most as usize);
        Self { after: after == 1, length: length as usize, capacity, largest }
    }

    /// The positions that a position sees. What the cache does not hold fails the stage.
    fn seen(&self, position: u32) -> Range<usize> {
        let (position, capacity) = (position as usize, self.capacity);
        let largest = self.largest.unwrap_or(position);
        let length = if self.length == 0 { usize::MAX } else { self.length };
        let end = if self.after { largest.min(position.saturating_add(length - 1)) } else { position };
        let start = (position + 1).saturating_sub(length);
        let ring = self.length != 0;
        assert!(ring || end < capacity, "position {end} is not in a cache of {capacity}");
        let held = largest - start < capacity;
        assert!(held, "position {start} has left a cache of {capacity} that holds position {largest}");
        start..end + 1
    }
}

impl<'a, T: Unit> Launch<'a, T> {
    fn of(share: &Share<'a>, level: Level) -> Self {
        // SAFETY: A2: the signature declares all of them as read.
        let (q, positions, sinks): (&[f32], &[u32], &[f32]) =
            unsafe { (arguments::read(share, 0), arguments::read(share, 3), arguments::read(share, 4)) };
        // SAFETY: as above.
        let places: &[u32] = unsafe { arguments::read(share, 19) };
        // SAFETY: as above.
        let (keys, values): (&[T], &[T]) = unsafe { (arguments::read(share, 1), arguments::read(share, 2)) };
        let (heads, groups) = (arguments::count(share, 6), arguments::count(share, 7));
        let width = q.len() / positions.len() / heads;
        let caches = arguments::count(share, 20);
        let capacity = keys.len() * T::ELEMENTS / (caches * groups * width).max(1);
        let value_width = values.len() * T::ELEMENTS / (caches * groups * capacity).max(1);
        let [scale, softcap] = [8, 9].map(|argument| arguments::float(share, argument));
        let scores = Scores { scale, softcap, level };
        let sees = Sees::new(positions, !places.is_empty(), capacity, share.word(10), share.word(11));
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
            places,
            caches,
            scores,
            sees,
        }
    }

    fn seen(&self, i: usize) -> Range<usize> {
        self.sees.seen(self.positions[i])
    }

    /// What the position sees of a key-value head.
    fn cache(&self, i: usize, group: usize) -> Cache<'a, T> {
        let (place, caches) = (self.places.get(i).map_or(0, |place| *place as usize), self.caches);
        assert!(place < caches, "place {place} is not one of {caches}");
        let group = place * self.groups + group;
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

#[inline(always)]
fn run_whole<V: Lanes, T: Unit>(v: V, share: &Share<'_>, level: Level) {
    let launch = Launch::<T>::of(share, level);
    let (group_heads, count) = (launch.heads / launch.groups, launch.positions.len());
    // Positions of several caches have nothing in common.
    let block = if launch.places.is_empty() { block_of(group_heads) } else { 1 };
    let (blocks, width) = (count.div_ceil(block), launch.value_width);
    let InLines(scratch) = &mut InLines([0.0; ROWS * MOST_WIDTH]);
    for index in share.groups() {
        let (group, turn) = (index / blocks, index % blocks);
        // Early and late blocks by turns: late ones see more, and workers take runs of groups.
        let turn = if turn % 2 == 0 { turn / 2 } else { blocks - 1 - turn / 2 };
        let positions = turn * block..((turn + 1) * block).min(count);
        for first in (0..group_heads).step_by(ROWS) {
            let heads = group * group_heads + first..group * group_heads + (first + ROWS).min(group_heads);
            let (mut rows, mut totals) = (Rows::default(), <[Total<'_>; ROWS]>::default());
            let places = positions.clone().flat_map(|i| heads.clone().map(move |head| (i, head)));
            let mut used = 0;
            for ((i, head), (total, sum)) in places.zip(totals.iter_mut().zip(scratch.chunks_mut(width))) {
                let at = (i * launch.heads + head) * width;
                // SAFETY: A3: a group owns the rows of its heads and positions, and each is taken once.
                *total = Total::new(unsafe { arguments::write(share, 5, at..at + width) });
                rows.push(launch.query(i, head), launch.seen(i), sum);
                used += 1;
            }
            let (cache, totals) = (launch.cache(positions.start, group), &mut totals[..used]);
            for part in parts_of(&rows.span()) {
                attend(v, &cache, &mut rows, part, &launch.scores);
                rows.join(totals);
            }
            let sinks = heads.cycle().map(|head| launch.sinks.get(head).copied());
            totals.iter_mut().zip(sinks).for_each(|(total, sink)| total.finish(sink));
        }
    }
}

/// The parts of a range: they begin at the same positions whatever else is seen.
fn parts_of(all: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    (all.start / PART..all.end.div_ceil(PART)).map(|part| part * PART..(part + 1) * PART)
}

#[inline(always)]
fn run_split<V: Lanes, T: Unit>(v: V, share: &Share<'_>, level: Level) {
    let launch = Launch::<T>::of(share, level);
    let (group_heads, parts) = (launch.heads / launch.groups, super::parts_in(launch.capacity));
    let (record, stride) = (launch.value_width + 2, stride(parts));
    for index in share.groups() {
        let (row, part) = (index / parts, index % parts * stride % parts);
        let (i, group) = (row / launch.groups, row % launch.groups);
        let seen = launch.seen(i);
        let Some(own) = parts_of(&seen).nth(part) else { continue };
        let at = (row * parts + part) * group_heads * record;
        // SAFETY: A3: a group owns the records of its position, its heads and its part.
        let records: &mut [f32] = unsafe { arguments::write(share, 5, at..at + group_heads * record) };
        for (chunk, records) in records.chunks_mut(ROWS * record).enumerate() {
            let first = group * group_heads + chunk * ROWS;
            let mut rows = Rows::default();
            let mut ends: [&mut [f32]; ROWS] = Default::default();
            for (offset, (record, end)) in records.chunks_exact_mut(record).zip(&mut ends).enumerate() {
                let (out, rest) = record.split_at_mut(launch.value_width);
                *end = rest;
                rows.push(launch.query(i, first + offset), seen.clone(), out);
            }
            attend(v, &launch.cache(i, group), &mut rows, own.clone(), &launch.scores);
            rows.each(|row, most, sum| ends[row].copy_from_slice(&[most, sum]));
        }
    }
}

/// How far neighbours among so many parts are moved apart. The first parts are those that are seen, and workers take
/// runs of groups, so that without it some would have all the work. It has no divisor in common with the number of parts.
fn stride(parts: usize) -> usize {
    let golden = (parts * 5 / 8).max(1);
    (golden..).find(|step| gcd(*step, parts) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn join() -> KernelDef {
    let buffers = [Param::read::<f32>(), Param::read::<u32>(), Param::read::<f32>()];
    let all = buffers
        .into_iter()
        .chain([Param::write::<f32>().per_group_of(4)])
        .chain([Param::u32(); 8])
        .chain(places());
    KernelDef::new("attention_join", Signature::new(all.collect::<Vec<_>>())).cpu(run_join)
}

/// Joins the parts of all heads of a group at one position.
fn run_join(group: &Group<'_>) {
    let (parts, positions, sinks) = (group.read::<f32>(0), group.read::<u32>(1), group.read::<f32>(2));
    let (out, own) = (group.write::<f32>(3), group.u32(4) as usize);
    let (groups, width, capacity) = (group.u32(5) as usize, group.u32(6) as usize, group.u32(7) as usize);
    let apart = !group.read::<u32>(12).is_empty();
    let sees = Sees::new(positions, apart, capacity, group.u32(8), group.u32(9));
    let (heads, record, all) = (own / width, width + 2, super::parts_in(capacity));
    let used = parts_of(&sees.seen(positions[group.index() / groups])).count();
    let parts = &parts[group.index() * all * own / width * record..][..used * heads * record];
    for (head, out) in out.chunks_exact_mut(width).enumerate() {
        let mut total = Total::new(out);
        for part in parts.chunks_exact(record).skip(head).step_by(heads) {
            total.join(part[width], part[width + 1], &part[..width]);
        }
        total.finish(sinks.get(group.index() % groups * heads + head).copied());
    }
}
