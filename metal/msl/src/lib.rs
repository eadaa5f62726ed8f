//! Metal kernels compiled for the CPU by clang, so that they can be run, and run wrongly, without an Apple GPU.
//!
//! - `source`: what of MSL is understood, and how it becomes C++; `include/metal_stdlib` is the rest of that
//! - `compile`: clang, and what it made before; `spaces`: the pass that checks address spaces and nothing else
//! - `group`: a group of threads as fibres in any order, which meet at barriers; `fibre`: how one is switched to
//!
//! This is no MSL compiler: it knows what our kernels use and refuses the rest. What it shows is that they compute what
//! they should in every order of threads, and that they mix no address spaces. Whether Apple's compiler takes them, it
//! cannot show.
//!
//! Rules for the unsafe code of this crate:
//! - L1 A library stays loaded as long as any of its kernels, and was compiled by us: its functions have the types that
//!   `source` gave them.
//! - L2 A group of threads runs on one thread of the host, from its first fibre to the end of its last.

mod compile;
mod fibre;
mod group;
mod source;
mod spaces;

pub use compile::{Compiler, Kernel, Library};
pub use group::{MOST_THREADS, Order, SHARED};
pub use spaces::check_spaces;
