//! The thread that writes a trace to its file, so that who records does not wait for the file.
//!
//! It comes when much waits, and now and then when nobody calls: what a crash can lose is what happened since. It is
//! gone when the device is. A ring has none. Next room: `recorder`, which does the writing.

use std::time::Duration;

use super::recorder::Recorder;
use crate::{
    error::{Error, Result},
    sync::{Arc, Condvar, Mutex, lock, thread},
};

/// It looks without being called after so long.
const PAUSE: Duration = Duration::from_millis(50);

/// What calls the writer.
#[derive(Debug, Default)]
pub(super) struct Bell {
    call: Mutex<Call>,
    rung: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    #[default]
    None,
    Write,
    Leave,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.say(Call::Write);
    }

    fn say(&self, what: Call) {
        let mut call = lock(&self.call);
        let news = *call == Call::None;
        if *call != Call::Leave {
            *call = what;
        }
        drop(call);
        // A writer that was called before and has not looked yet comes anyway.
        if news || what == Call::Leave {
            self.rung.notify_one();
        }
    }

    /// Waits for a call or for the pause to pass. False if there is nothing to come back for.
    fn wait(&self) -> bool {
        let mut call = lock(&self.call);
        if *call == Call::None {
            call = match self.rung.wait_timeout(call, PAUSE) {
                Ok((call, _)) => call,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        std::mem::take(&mut *call) != Call::Leave
    }
}

/// The thread. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Writer {
    bell: Arc<Bell>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// None for a trace that is kept in memory.
    pub(super) fn start(recorder: &Arc<Recorder>) -> Result<Option<Self>> {
        let Some(bell) = recorder.bell().cloned() else { return Ok(None) };
        let (weak, told) = (Arc::downgrade(recorder), bell.clone());
        let work = move || {
            while told.wait() {
                let Some(recorder) = weak.upgrade() else { return };
                recorder.flush_untold();
            }
        };
        let thread = thread::Builder::new().name("forebay-trace".into()).spawn(work).map_err(|error| {
            let (call, code) = ("start the writer of the trace", error.raw_os_error().unwrap_or(0));
            Error::Driver { call, code: i64::from(code), detail: error.to_string().into() }
        })?;
        Ok(Some(Self { bell, thread: Some(thread) }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.bell.say(Call::Leave);
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has written what it could.
            let _ = thread.join();
        }
    }
}
