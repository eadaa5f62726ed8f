//! What a trace tells, read back: what was asked for, what other policies would have done with it, why there was no
//! memory, and a page to look at.
//!
//! Nothing here touches a device that somebody uses, and no path from a file to a picture runs code that the file
//! brings. Rooms: `log` (any kind of trace as events; `rmm`, `pickle` and `snapshot` read those of others), `ledger`
//! (who holds what at a moment), `demand`, `policy` and `replay` (what other policies would do), `explain` (why there
//! was none), `export` (for other programs), `plot` (the page).

pub mod demand;
pub mod explain;
pub mod export;
mod holes;
mod json;
pub mod ledger;
pub mod log;
mod pickle;
pub mod plot;

pub mod policy;
pub mod replay;
mod rmm;
mod snapshot;

pub use demand::{Call, Demand};
pub use explain::Explanation;
pub use export::Format;
pub use ledger::{Holding, Ledger};
pub use log::{Log, LogKind, Origin};
pub use plot::Page;
pub use policy::{Policy, PolicyKind};
pub use replay::{Outcome, Refusal, cheapest_limit, replay};
