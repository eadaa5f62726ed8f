//! Ctrl-C: the first ends what goes on and lets it finish in order, the second ends the program.

use std::process;

use forebay::generate::stop::Cancel;

use crate::cli::Failure;

/// What the program exits with when Ctrl-C ended it: 128 and the number of the signal, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// From here on, Ctrl-C cancels what this is given to.
pub(crate) fn cancel() -> Result<Cancel, Failure> {
    let cancel = Cancel::default();
    let signalled = cancel.clone();
    let handler = move || {
        if signalled.is_cancelled() {
            process::exit(INTERRUPTED.into());
        }
        signalled.cancel();
    };
    ctrlc::set_handler(handler)
        .map_err(|error| Failure::Failed(format!("cannot listen to Ctrl-C: {error}")))?;
    Ok(cancel)
}
