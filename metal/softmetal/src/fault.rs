//! How misuse ends: on the thread of whoever misused something by a panic there, on the device's own threads by the end
//! of the process, since nobody would see a panic of theirs.

use std::cell::Cell;

thread_local! {
    static OF_DEVICE: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as one of the device's.
pub(crate) fn become_device() {
    OF_DEVICE.set(true);
}

/// Ends what was done wrong.
pub(crate) fn fault(what: &str) -> ! {
    if OF_DEVICE.get() || std::thread::panicking() {
        eprintln!("softmetal: {what}");
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
        std::process::abort();
    }
    panic!("softmetal: {what}");
}
