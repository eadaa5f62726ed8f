#![allow(clippy::panic, reason = "a case that does not hold fails its test")]
//! The conformance run (feature `conformance`): what cases of ops are run with, on any device that runs kernels.
//!
//! Each op's folder holds its oracle (`reference`) and its `cases`; the list of all of them is
//! [`subjects`](crate::subjects). [`Rig`] gives cases their tensors, poisoned and fenced with guard bytes, runs ops and
//! compares; it never knows what an op means. [`Facts`] are what a run must have met, so that no op can leave a kind of case out.
//! Next room: `rig`; then the cases of an op.

mod chance;
mod rates;
mod rig;

pub use self::{
    chance::Chance,
    rates::{Rate, Work},
    rig::Rig,
};
use forebay_device::BackendKind;

pub use crate::tiles::cuda::tables::header as tables;
use crate::{Op, Result, Served};

/// An op as the conformance run sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Subject {
    /// Its name.
    pub name: &'static str,
    /// Its kernels.
    pub served: fn() -> Vec<Served>,
    /// Compares it with its oracle.
    pub cases: fn(&mut Rig) -> Result<()>,
    /// Measures it on shapes of real models.
    pub measure: fn(&mut Rig) -> Result<()>,
}

impl Subject {
    pub(crate) const fn of<O: Op>(
        cases: fn(&mut Rig) -> Result<()>,
        measure: fn(&mut Rig) -> Result<()>,
    ) -> Self {
        Self { name: O::NAME, served: O::served, cases, measure }
    }

    /// Whether devices of this family have it; most ops are on all of them.
    pub fn runs_on(&self, kind: BackendKind) -> bool {
        (self.served)().iter().any(|served| served.runs_on(kind))
    }
}

/// Kinds of cases that a run has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Results that were compared with the oracle's.
    pub compared: usize,
    /// A tensor without elements.
    pub empty: bool,
    /// An axis of one element.
    pub single: bool,
    /// An odd axis longer than one.
    pub odd: bool,
    /// An infinity or what is not a number.
    pub not_finite: bool,
    /// Arguments that were refused, with the expected words.
    pub refused: bool,
    /// Overlapping arguments that were refused.
    pub aliased: bool,
}

impl Facts {
    /// What is missing, in words; nothing if the run was complete.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            (self.compared > 0, "a result that is compared"),
            (self.empty, "a tensor without elements"),
            (self.single, "an axis of one element"),
            (self.odd, "an odd axis"),
            (self.not_finite, "a number that is not finite"),
            (self.refused, "an argument that is refused"),
            (self.aliased, "overlapping arguments that are refused"),
        ];
        all.into_iter().filter(|(met, _)| !met).map(|(_, what)| what).collect()
    }
}
