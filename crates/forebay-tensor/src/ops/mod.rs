//! The ops, one folder each: contract (`mod`), an oracle to be read (`reference`), cases, and a kernel for each kind
//! of device.
//!
//! An op is a struct of its arguments; [`Ops::record`](crate::Ops::record) checks and records it. Rows are the fastest
//! axis. Kernels on the CPU rely on two rules of `tiles::cpu::arguments`: A2, what is declared as read nobody writes
//! while the launch runs; A3, a worker takes for writing only what its own groups own.
//!
//! To add an op: copy the smallest folder, `add`, and give the op its line in `registry`.

pub mod add;
pub mod append;
pub mod argmax;
pub mod attention;
#[cfg(test)]
pub(crate) mod conformance;
pub mod embed;
pub mod matmul;
pub mod rms_norm;
pub mod rope;
pub mod silu_gate;

pub use self::{
    add::Add, append::Append, argmax::Argmax, attention::Attention, embed::Embed, matmul::Matmul,
    rms_norm::RmsNorm, rope::Rope, silu_gate::SiluGate,
};
