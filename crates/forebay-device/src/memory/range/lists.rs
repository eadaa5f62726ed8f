//! Free pieces by size: lists with two levels of bitmaps, sixteen lists to a doubling, every move in constant
//! time.
//!
//! Knows lengths in granules and numbers of nodes, nothing of regions or pages. A list is last in, first out.
//! Next room: `mod.rs` beside this, which decides what goes in.

use super::Node;

/// No node.
pub(super) const NIL: u32 = u32::MAX;

/// Lists to a doubling, as a power of two.
const FINE: u32 = 4;
const WIDTH: usize = 1 << FINE;
/// The first two rows hold one length a list; each further row is one doubling.
const ROWS: usize = 32 - FINE as usize + 1;

/// The list of pieces of this length; `len` is at least 1.
#[inline]
pub(super) fn list_of(len: u32) -> usize {
    let shift = 31 - FINE - (len | WIDTH as u32).leading_zeros();
    // The leading one of the shifted length counts as one row.
    ((shift as usize) << FINE) + (len >> shift) as usize
}

/// The first list whose every piece is at least this long.
#[inline]
pub(super) fn list_over(len: u32) -> Option<usize> {
    let list = list_of(len);
    let list = if shortest_in(list) >= len { list } else { list + 1 };
    (list < ROWS * WIDTH).then_some(list)
}

/// The least length that falls into a list.
#[inline]
pub(super) fn shortest_in(list: usize) -> u32 {
    if list < 2 * WIDTH {
        return list as u32;
    }
    let row = (list >> FINE) as u32;
    ((list % WIDTH + WIDTH) as u32) << (row - 1)
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Lists {
    /// Rows with a list that is not empty.
    rows: u32,
    /// Lists of a row that are not empty.
    filled: [u16; ROWS],
    heads: [u32; ROWS * WIDTH],
}

impl Lists {
    pub(super) fn new() -> Self {
        Self { rows: 0, filled: [0; ROWS], heads: [NIL; ROWS * WIDTH] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    #[inline]
    pub(super) fn head(&self, list: usize) -> u32 {
        self.heads[list]
    }

    /// The first list from `list` on that is not empty.
    #[inline]
    pub(super) fn first_from(&self, list: usize) -> Option<usize> {
        let row = list >> FINE;
        let here = *self.filled.get(row)? & (u16::MAX << (list % WIDTH));
        if here != 0 {
            return Some((row << FINE) + here.trailing_zeros() as usize);
        }
        let rows = self.rows & (u32::MAX << row) & !(1 << row);
        if rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros() as usize;
        Some((row << FINE) + self.filled[row].trailing_zeros() as usize)
    }

    /// The list with the longest pieces.
    pub(super) fn last(&self) -> Option<usize> {
        let row = 31u32.checked_sub(self.rows.leading_zeros())? as usize;
        Some((row << FINE) + 15 - self.filled[row].leading_zeros() as usize)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    pub(super) fn push(&mut self, nodes: &mut [Node], i: u32) {
        let list = list_of(nodes[i as usize].len);
        let old = std::mem::replace(&mut self.heads[list], i);
        nodes[i as usize].prev = NIL;
        nodes[i as usize].next = old;
        if old == NIL {
            self.filled[list >> FINE] |= 1 << (list % WIDTH);
            self.rows |= 1 << (list >> FINE);
        } else {
            nodes[old as usize].prev = i;
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, nodes: &mut [Node], i: u32) {
        let Node { prev, next, len, .. } = nodes[i as usize];
        if next != NIL {
            nodes[next as usize].prev = prev;
        }
        if prev != NIL {
            nodes[prev as usize].next = next;
            return;
        }
        let list = list_of(len);
        self.heads[list] = next;
        if next == NIL {
            let row = list >> FINE;
            self.filled[row] &= !(1 << (list % WIDTH));
            if self.filled[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_lengths_without_gap() {
        let mut last = 0;
        for len in 1..200_000u32 {
            let list = list_of(len);
            assert!(list == last || list == last + 1, "{len}");
            assert!(shortest_in(list) <= len && len < shortest_in(list + 1), "{len}");
            assert!(u64::from(len - shortest_in(list)) * 16 <= u64::from(len), "{len}");
            last = list;
        }
        for bit in 5..32 {
            for len in [(1u32 << bit) - 1, 1 << bit, (1 << bit) + 1] {
                assert!(shortest_in(list_of(len)) <= len, "{len}");
                let over = list_over(len).map(shortest_in);
                assert!(over.is_none_or(|least| least >= len), "{len}");
            }
        }
        assert_eq!(list_of(u32::MAX), ROWS * WIDTH - 1);
        assert_eq!(list_over(u32::MAX), None);
    }
}
