//! The testkit, linked with the software Metal device instead of Apple's frameworks.
//!
//! The contract suite is compiled here from the files in `crates/testkit/tests`, as they are.

pub use real::*;

pub use softmetal;
use {block2 as _, objc2 as _, objc2_foundation as _};
