//! The contract suite and its test kernels: what every backend has to do, run on every backend there is.
//!
//! In the order of one test: `suite` turns test functions into one trial for each device, `devices` chooses and opens
//! the devices, `table` says which clause of the contract concerns which backend, `kernels` are the kernels that the
//! tests launch, `ops` runs the cases of ops, and `gate` holds a queue back until a test has looked. The tests themselves are in `tests/`.
//! Nothing here is shipped.

mod devices;
mod gate;
mod kernels;
pub mod ops;
mod pace;
mod pinned;
mod suite;
mod table;

pub use devices::{Bed, Setup, chosen as setups};
pub use gate::Gate;
pub use kernels::{BLOCK, Kernels, definitions};
pub use pinned::pinned;
pub use suite::{On, Test, run, run_clauses};
pub use table::{CLAUSES, Clause, TENSOR_CLAUSES};
