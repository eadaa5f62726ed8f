//! What is going on, on standard error: only for people, and only for what takes longer than a second.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// Something that takes its time.
pub(crate) struct Progress {
    what: &'static str,
    next: Instant,
    shown: bool,
    for_people: bool,
}

impl Progress {
    pub(crate) fn of(what: &'static str) -> Self {
        let next = Instant::now() + Duration::from_secs(1);
        Self { what, next, shown: false, for_people: stderr().is_terminal() }
    }

    /// How far it is, in words of the caller, which are made only if somebody sees them.
    pub(crate) fn tell(&mut self, how_far: impl FnOnce() -> String) {
        if self.for_people && Instant::now() >= self.next {
            self.next += Duration::from_millis(200);
            self.shown = true;
            // Nobody is waiting for this.
            let _ = write!(stderr(), "\r\x1b[K{}: {}", self.what, how_far()).and_then(|()| stderr().flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K").and_then(|()| stderr().flush());
        }
    }
}
