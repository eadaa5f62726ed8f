//! The one list of ops. What a device loads, what can be recorded, and what the conformance run covers follow from it.
//!
//! Next room: `ops`, one folder each.

use forebay_device::{Device, Stage};

use crate::{Op, Result, ops};

/// An op of the list.
pub trait Registered: Op {
    /// Its kernels among those of all ops.
    fn kernels(ops: &Ops) -> &Self::Kernels;
}

/// Makes everything that follows from the list: the folder of each op and its type.
macro_rules! registry {
    ($($folder:ident: $op:ident,)*) => {
        /// All ops, loaded on one device.
        ///
        /// See [`Add`](crate::ops::Add) for an example.
        pub struct Ops {
            $($folder: <ops::$op<'static> as Op>::Kernels,)*
        }

        impl Ops {
            /// Loads the kernels of all ops.
            ///
            /// # Errors
            /// What the device says.
            pub fn open(device: &Device) -> Result<Self> {
                Ok(Self { $($folder: <ops::$op<'static> as Op>::load(device)?,)* })
            }
        }

        $(impl Registered for ops::$op<'_> {
            fn kernels(ops: &Ops) -> &Self::Kernels {
                &ops.$folder
            }
        })*

        #[cfg(test)]
        pub(crate) const CASES: &[(&str, crate::ops::conformance::Cases)] =
            &[$((<ops::$op<'static> as Op>::NAME, ops::$folder::cases::cases)),*];
    };
}

registry! {
    add: Add,
    append: Append,
    argmax: Argmax,
    attention: Attention,
    embed: Embed,
    matmul: Matmul,
    rms_norm: RmsNorm,
    rope: Rope,
    silu_gate: SiluGate,
}

impl Ops {
    /// Checks an op and records it.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) naming the argument that is wrong, or what the stage says.
    pub fn record<O: Registered>(&self, stage: &mut Stage<'_>, op: &O) -> Result<()> {
        op.check()?;
        op.launch(O::kernels(self), stage)
    }

    /// A stage together with these ops.
    pub fn on<'a, 's>(&'a self, stage: &'a mut Stage<'s>) -> Recorder<'a, 's> {
        Recorder { ops: self, stage }
    }
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

/// Records ops into one stage: what a model is written against.
#[derive(Debug)]
pub struct Recorder<'a, 's> {
    ops: &'a Ops,
    stage: &'a mut Stage<'s>,
}

impl Recorder<'_, '_> {
    /// Checks an op and records it.
    ///
    /// # Errors
    /// As [`Ops::record`].
    pub fn record<O: Registered>(&mut self, op: &O) -> Result<()> {
        self.ops.record(self.stage, op)
    }
}
