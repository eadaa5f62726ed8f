//! Recordings on the null device are the lists themselves, as on the CPU.

pub(crate) use crate::backend::cpu::graph::KeptList;
