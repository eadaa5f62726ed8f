//! Which pages of a region have memory behind them: one bit a page.
//!
//! Lengths are in granules unless a name says bytes; a page size of 0 means that everything is mapped and
//! stays so. Next room: `mod.rs` beside this, which keeps each node's count of unmapped granules equal to
//! what the bits say.

use std::ops;

use super::GRANULE;

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Pages {
    /// Granules a page.
    page: u32,
    count: u32,
    /// A set bit is a mapped page.
    bits: Vec<u64>,
}

impl Pages {
    pub(super) fn new(page: u32) -> Self {
        Self { page, count: 0, bits: Vec::new() }
    }

    /// Covers a region of `len` granules from here on; the new pages are mapped or not. How many granules
    /// were added that are not.
    pub(super) fn grow(&mut self, len: u32, mapped: bool) -> u32 {
        let Some(count) = len.checked_div(self.page) else { return 0 };
        let first = self.count;
        self.bits.resize(count.div_ceil(64) as usize, 0);
        self.count = count;
        if mapped {
            self.fill(first, count, true);
            return 0;
        }
        (count - first) * self.page
    }

    /// How many granules of [start, end) lie in unmapped pages.
    pub(super) fn bare(&self, start: u32, end: u32) -> u32 {
        if self.page == 0 || start >= end {
            return 0;
        }
        let (first, last) = (start / self.page, (end - 1) / self.page);
        let mut pages = 0;
        for (word, mask) in words(first, last + 1) {
            pages += (!self.bits[word] & mask).count_ones();
        }
        let mut bare = u64::from(pages) * u64::from(self.page);
        if !self.is_mapped(first) {
            bare -= u64::from(start - first * self.page);
        }
        if !self.is_mapped(last) {
            bare -= u64::from(last) * u64::from(self.page) + u64::from(self.page) - u64::from(end);
        }
        bare as u32
    }

    /// The pages that [start, end) touches, where regions are mapped by pages.
    pub(super) fn around(&self, start: u32, end: u32) -> ops::Range<u32> {
        start / self.page..end.div_ceil(self.page)
    }

    /// The pages that lie in [start, end), where regions are mapped by pages.
    pub(super) fn within(&self, start: u32, end: u32) -> ops::Range<u32> {
        start.div_ceil(self.page)..end / self.page
    }

    /// The granules of whole pages that these bytes name; `None` if they do not.
    pub(super) fn span(&self, bytes: &ops::Range<u64>) -> Option<ops::Range<u32>> {
        let page = u64::from(self.page) * GRANULE;
        let end = u64::from(self.count) * page;
        let fits = page > 0
            && bytes.start.is_multiple_of(page)
            && bytes.end.is_multiple_of(page)
            && bytes.end <= end;
        (fits && bytes.start < bytes.end)
            .then_some((bytes.start / GRANULE) as u32..(bytes.end / GRANULE) as u32)
    }

    /// Marks the pages of a span.
    pub(super) fn set(&mut self, span: &ops::Range<u32>, mapped: bool) {
        self.fill(span.start / self.page, span.end / self.page, mapped);
    }

    /// The runs of mapped or of unmapped pages among `pages`, in bytes.
    pub(super) fn runs(&self, pages: ops::Range<u32>, mapped: bool) -> impl Iterator<Item = ops::Range<u64>> {
        let bytes = u64::from(self.page) * GRANULE;
        let mut at = pages.start;
        std::iter::from_fn(move || {
            let first = self.next(at, pages.end, mapped)?;
            let end = self.next(first, pages.end, !mapped).unwrap_or(pages.end);
            at = end;
            Some(u64::from(first) * bytes..u64::from(end) * bytes)
        })
    }

    /// The first page of [from, end) in that state.
    fn next(&self, from: u32, end: u32, mapped: bool) -> Option<u32> {
        words(from, end).find_map(|(word, mask)| {
            let bits = if mapped { self.bits[word] } else { !self.bits[word] } & mask;
            (bits != 0).then(|| word as u32 * 64 + bits.trailing_zeros())
        })
    }

    /// [`Pages::bare`], a granule at a time.
    #[cfg(test)]
    pub(super) fn recount(&self, start: u32, end: u32) -> u32 {
        (start..end).filter(|granule| self.page > 0 && !self.is_mapped(granule / self.page)).count() as u32
    }

    fn is_mapped(&self, page: u32) -> bool {
        self.bits[page as usize / 64] >> (page % 64) & 1 == 1
    }

    fn fill(&mut self, first: u32, end: u32, mapped: bool) {
        for (word, mask) in words(first, end) {
            if mapped {
                self.bits[word] |= mask;
            } else {
                self.bits[word] &= !mask;
            }
        }
    }
}

/// The words that hold the bits [first, end), each with the mask of the bits meant.
fn words(first: u32, end: u32) -> impl Iterator<Item = (usize, u64)> {
    let range = if first < end { first / 64..end.div_ceil(64) } else { 0..0 };
    range.map(move |word| {
        let low = first.saturating_sub(word * 64);
        let high = (end - word * 64).min(64);
        (word as usize, (u64::MAX << low) & (u64::MAX >> (64 - high)))
    })
}
