//! High-water marks of the last requests: how much memory the pool has lately needed at once, which is how much it may
//! have mapped without being loose.
//!
//! A mark is the most that was taken during so many requests; a few are kept, so that a peak counts for a while and is
//! then forgotten. Next room: `supply`, which asks before it maps.

/// Requests to a mark.
const REQUESTS: u32 = 1024;
/// Marks that are kept beside the current one.
const MARKS: usize = 15;

#[derive(Debug)]
pub(super) struct Marks {
    now: u64,
    /// The most of `past`.
    before: u64,
    left: u32,
    past: [u64; MARKS],
    oldest: usize,
}

impl Default for Marks {
    fn default() -> Self {
        Self { now: 0, before: 0, left: REQUESTS, past: [0; MARKS], oldest: 0 }
    }
}

impl Marks {
    /// Notes what is taken, after one more request.
    #[inline]
    pub(super) fn note(&mut self, taken: u64) {
        self.now = self.now.max(taken);
        self.left -= 1;
        if self.left == 0 {
            self.turn(taken);
        }
    }

    /// The most that was taken lately.
    #[inline]
    pub(super) fn most(&self) -> u64 {
        self.now.max(self.before)
    }

    /// What was there to stay has gone: nobody expects it back.
    pub(super) fn lower(&mut self, bytes: u64) {
        for mark in [&mut self.now, &mut self.before].into_iter().chain(&mut self.past) {
            *mark = mark.saturating_sub(bytes);
        }
    }

    #[cold]
    fn turn(&mut self, taken: u64) {
        self.past[self.oldest] = self.now;
        self.oldest = (self.oldest + 1) % MARKS;
        self.before = self.past.iter().copied().max().unwrap_or(0);
        (self.now, self.left) = (taken, REQUESTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_for_sixteen_marks_and_is_then_forgotten() {
        let mut marks = Marks::default();
        marks.note(700);
        for taken in (1..REQUESTS * 15).map(|i| u64::from(i % 100)) {
            marks.note(taken);
            assert_eq!(marks.most(), 700);
        }
        for _ in 0..REQUESTS {
            assert_eq!(marks.most(), 700);
            marks.note(50);
        }
        assert_eq!(marks.most(), 99, "what came after it still counts");
        for _ in 0..REQUESTS * 16 {
            marks.note(50);
        }
        assert_eq!(marks.most(), 50);
        marks.note(51);
        assert_eq!(marks.most(), 51, "a new peak counts at once");
    }
}
