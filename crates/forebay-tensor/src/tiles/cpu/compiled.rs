//! Plain code compiled for a level of the machine: what has no instructions of its own, but many numbers to go through.
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

/// Runs what is given on a level. What it calls is compiled for the level if it is `#[inline(always)]`; a large closure is
/// not, and has to be a [`Job`] of its own.
#[inline(always)]
pub(crate) fn compiled_for(level: Level, work: impl FnOnce()) {
    level.run(Plain(work));
}
