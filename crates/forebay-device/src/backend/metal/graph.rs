//! Recordings on Metal are the lists themselves, as on the CPU: command buffers run once, so each replay is encoded.

pub(crate) use crate::backend::cpu::graph::KeptList;
