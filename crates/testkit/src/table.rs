//! Which clause of the contract concerns which backend.
//!
//! The clauses of buffers come twice, since tensors promise them too. `suite` refuses to pass while a clause has no test on a backend of its row. The clauses of host vectors (H), files
//! (F) and of what must not compile (S7) concern no device and have their tests elsewhere.

use forebay_device::BackendKind;

/// A clause of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    /// Its name, such as `P4`.
    pub id: &'static str,
    /// The backends it concerns.
    pub backends: &'static [BackendKind],
}

impl Clause {
    pub(crate) fn concerns(&self, kind: BackendKind) -> bool {
        self.backends.contains(&kind)
    }
}

use BackendKind::{Cpu, Cuda, Metal, Null};

const ALL: &[BackendKind] = &[Null, Cpu, Cuda, Metal];
/// The backends that run kernels.
const KERNELS: &[BackendKind] = &[Cpu, Cuda, Metal];

/// The backends that use the host's memory in place.
const IN_PLACE: &[BackendKind] = &[Null, Cpu, Metal];

const fn on(backends: &'static [BackendKind], id: &'static str) -> Clause {
    Clause { id, backends }
}

/// All clauses of the device layer.
pub const CLAUSES: &[Clause] = &[
    on(ALL, "P1"),
    on(ALL, "P2"),
    on(ALL, "P3"),
    on(ALL, "P4"),
    on(ALL, "P5"),
    on(ALL, "P6"),
    on(ALL, "P7"),
    on(ALL, "P8"),
    on(ALL, "P9"),
    on(ALL, "P10"),
    on(ALL, "P11"),
    on(ALL, "P12"),
    on(ALL, "P13"),
    on(ALL, "P14"),
    on(ALL, "P15"),
    on(ALL, "B1"),
    on(ALL, "B2"),
    on(ALL, "B3"),
    on(ALL, "B4"),
    on(ALL, "B5"),
    on(ALL, "B6"),
    on(ALL, "B7"),
    on(ALL, "B8"),
    on(ALL, "B9"),
    on(ALL, "R1"),
    on(ALL, "R2"),
    on(ALL, "R3"),
    on(ALL, "R4"),
    on(ALL, "R5"),
    on(ALL, "R6"),
    on(ALL, "R7"),
    on(ALL, "S1"),
    on(ALL, "S2"),
    on(ALL, "S3"),
    on(ALL, "S4"),
    on(ALL, "S5"),
    on(ALL, "S6"),
    on(ALL, "S8"),
    on(ALL, "S9"),
    on(ALL, "S10"),
    on(ALL, "S11"),
    on(ALL, "S12"),
    on(ALL, "S13"),
    on(ALL, "K1"),
    on(KERNELS, "K2"),
    on(ALL, "K3"),
    on(KERNELS, "K4"),
];

/// The clauses of tensors. B7 and B8 are about memory that lies where it lay.
pub const TENSOR_CLAUSES: &[Clause] = &[
    on(ALL, "B1"),
    on(ALL, "B2"),
    on(ALL, "B3"),
    on(ALL, "B4"),
    on(ALL, "B5"),
    on(ALL, "B6"),
    on(IN_PLACE, "B7"),
    on(IN_PLACE, "B8"),
    on(ALL, "B9"),
    on(ALL, "B10"),
];
