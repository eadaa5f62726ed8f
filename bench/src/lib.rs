//! What runners share, here and in `peers`: time, records, and the buffers of a decoding step.
//!
//! Never: a comparison or an opinion. Next rooms: `clock`, `record`, `step`.

pub mod clock;
pub mod record;
pub mod step;
