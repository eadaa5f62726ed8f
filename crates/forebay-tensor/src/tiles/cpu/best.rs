//! Plain code compiled for the best level of the machine: what has no instructions of its own, but many numbers to
//! go through.
//!
//! Levels change no bits: the compiler does the same additions and multiplications, only more of them at once.

use super::lanes::{Job, Lanes, Level};

struct Plain<F>(F);

impl<F: FnOnce()> Job for Plain<F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _: V) {
        (self.0)();
    }
}

/// Runs what is given on the best level. What it calls is compiled for the level if it is `#[inline(always)]`.
#[inline(always)]
pub(crate) fn at_best_level(work: impl FnOnce()) {
    Level::best().run(Plain(work));
}
