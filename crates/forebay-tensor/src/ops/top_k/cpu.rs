//! `top_k` on the CPU: a group owns a row. What it has found so far is a heap with the least one on top, kept
//! in the outputs; it is sorted at the end.

use std::cmp::Ordering;

use forebay_device::{KernelDef, Param, Signature};

use crate::tiles::cpu::order::larger_first;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(3),
        Param::write::<f32>().per_group_of(4),
        Param::write::<u32>().per_group_of(4),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("top_k", signature).cpu(|group| {
        let (row, values, ids) = (group.read::<f32>(0), group.write::<f32>(1), group.write::<u32>(2));
        if values.is_empty() {
            return;
        }
        let mut heap = Heap { values, ids };
        heap.fill(row);
        let k = heap.values.len();
        for (i, &x) in row.iter().enumerate().skip(k) {
            // A later column goes after an equal one, so only what is truly larger gets in.
            if larger_first(x, heap.values[0]) == Ordering::Less {
                (heap.values[0], heap.ids[0]) = (x, i as u32);
                heap.sink(0, k);
            }
        }
        for end in (1..k).rev() {
            heap.swap(0, end);
            heap.sink(0, end);
        }
    })
}

/// Pairs of an element and its column; each comes after what is below it in the order of the result.
struct Heap<'a> {
    values: &'a mut [f32],
    ids: &'a mut [u32],
}

impl Heap<'_> {
    /// Takes the first elements of a row.
    fn fill(&mut self, row: &[f32]) {
        let k = self.values.len();
        self.values.copy_from_slice(&row[..k]);
        self.ids.iter_mut().zip(0..).for_each(|(id, i)| *id = i);
        for place in (0..k / 2).rev() {
            self.sink(place, k);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.values.swap(a, b);
        self.ids.swap(a, b);
    }

    /// Whether one pair comes after another.
    fn after(&self, a: usize, b: usize) -> bool {
        let order = larger_first(self.values[a], self.values[b]).then(self.ids[a].cmp(&self.ids[b]));
        order == Ordering::Greater
    }

    /// Moves a pair down to where it belongs among the first `end`.
    fn sink(&mut self, mut place: usize, end: usize) {
        loop {
            let left = 2 * place + 1;
            if left >= end {
                return;
            }
            let right = left + 1;
            let last = if right < end && self.after(right, left) { right } else { left };
            if !self.after(last, place) {
                return;
            }
            self.swap(place, last);
            place = last;
        }
    }
}
