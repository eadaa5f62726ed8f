//! The one list of ops. What a device loads, what can be recorded, and what the conformance run covers follow from it.
//!
//! Next room: `ops`, one folder each.

use forebay_device::{Device, Stage};

#[cfg(any(test, feature = "conformance"))]
use crate::conformance::Subject;
use crate::{Error, Level, Note, Op, Result, op, ops};

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
            level: Level,
        }

        impl Ops {
            /// Loads the kernels of all ops.
            ///
            /// # Errors
            /// What the device says.
            pub fn open(device: &Device) -> Result<Self> {
                Self::open_at(device, Level::best())
            }

            /// As [`open`](Self::open), for a level of the CPU. Numbers in results do not depend on it, to the bit.
            ///
            /// # Errors
            /// [`Error::AbsentLevel`] if this machine does not have it, and what the device says.
            pub fn open_at(device: &Device, level: Level) -> Result<Self> {
                if !level.is_here() {
                    return Err(Error::AbsentLevel { level: level.name() });
                }
                Ok(Self { $($folder: <ops::$op<'static> as Op>::load_at(device, level)?,)* level })
            }
        }

        $(impl Registered for ops::$op<'_> {
            fn kernels(ops: &Ops) -> &Self::Kernels {
                &ops.$folder
            }
        })*

        /// Every op with its oracle and its cases.
        #[cfg(any(test, feature = "conformance"))]
        pub fn subjects() -> &'static [Subject] {
            const {
                &[$(Subject::of::<ops::$op<'static>>(
                    ops::$folder::cases::cases,
                    ops::$folder::cases::measure,
                )),*]
            }
        }
    };
}

registry! {
    activate: Activate,
    add: Add,
    angles: Angles,
    append: Append,
    argmax: Argmax,
    attention: Attention,
    causal_conv: CausalConv,
    copy: Copy,
    embed: Embed,
    enter: Enter,
    follow: Follow,
    gate: Gate,
    gated_delta: GatedDelta,
    gated_norm: GatedNorm,
    l2_norm: L2Norm,
    layer_norm: LayerNorm,
    matmul: Matmul,
    mix: Mix,
    mul: Mul,
    project: Project,
    recall: Recall,
    rms_norm: RmsNorm,
    rope: Rope,
    round: Round,
    routed_matmul: RoutedMatmul,
    router: Router,
    sample: Sample,
    scale: Scale,
    softcap: Softcap,
    softmax: Softmax,
    sort: Sort,
    top_k: TopK,
}

impl Ops {
    /// Checks an op and records it.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) naming the argument that is wrong, or what the stage says.
    pub fn record<O: Registered>(&self, stage: &mut Stage<'_>, op: &O) -> Result<()> {
        op::record(op, O::kernels(self), stage)
    }

    /// The name of the kernel that serves an op; of the first one, if several run one after another.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn explain<O: Registered>(&self, op: &O) -> Result<&str> {
        op.check()?;
        Ok(op.kernel(O::kernels(self))?.name())
    }

    /// Whether an op would be recorded, and a kernel here serves it.
    pub fn serve<O: Registered>(&self, op: &O) -> bool {
        self.explain(op).is_ok()
    }

    /// The level of the CPU that kernels use: the best there is, unless another was asked for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// A stage together with these ops.
    pub fn on<'a, 's>(&'a self, stage: &'a mut Stage<'s>) -> Recorder<'a, 's> {
        Recorder { ops: self, stage, notes: None }
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
    /// Where ops are noted, and how many positions texts have by then.
    notes: Option<(&'a mut Vec<Note>, usize)>,
}

impl<'a> Recorder<'a, '_> {
    /// Notes from here on which kernel serves each op, and what it moves where texts have so many positions by then.
    #[must_use]
    pub fn noting(mut self, notes: &'a mut Vec<Note>, reach: usize) -> Self {
        self.stage.note();
        self.notes = Some((notes, reach));
        self
    }

    /// Checks an op and records it.
    ///
    /// # Errors
    /// As [`Ops::record`].
    pub fn record<O: Registered>(&mut self, op: &O) -> Result<()> {
        let Some((notes, reach)) = &mut self.notes else { return self.ops.record(self.stage, op) };
        Note::rest(self.stage, notes);
        let kernel = self.ops.explain(op)?.to_owned();
        self.ops.record(self.stage, op)?;
        notes.push(Note::new(O::NAME, kernel, self.stage.take_noted(), &op.extents(*reach)));
        Ok(())
    }

    /// As [`Ops::serve`].
    pub fn serve<O: Registered>(&self, op: &O) -> bool {
        self.ops.serve(op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Rig;
    use forebay_device::{BackendKind, DeviceOptions};

    /// The bits of all results of an op on a device of so many workers, on a level of the machine.
    fn bits(subject: &Subject, workers: usize, level: Level) -> Vec<Vec<u8>> {
        let device = Device::open(&DeviceOptions::cpu().threads(workers)).unwrap();
        let mut rig = Rig::new(&device, 1).unwrap().at(level);
        (subject.cases)(&mut rig).unwrap_or_else(|error| panic!("{}: {error}", subject.name));
        let missing = rig.facts().missing();
        assert!(missing.is_empty(), "the cases of {} leave out: {missing:?}", subject.name);
        rig.seen().to_vec()
    }

    #[test]
    fn every_op_agrees_with_its_oracle_on_every_level_and_with_any_number_of_workers() {
        let others = Level::ALL.into_iter().filter(|level| level.is_here() && *level != Level::best());
        for subject in subjects().iter().filter(|subject| subject.runs_on(BackendKind::Cpu)) {
            let one = bits(subject, 1, Level::best());
            for (workers, level) in others.clone().map(|level| (1, level)).chain([(3, Level::best())]) {
                let many = bits(subject, workers, level);
                let odd = one.iter().zip(&many).position(|(a, b)| a != b);
                let what = format!("{} by {workers} on {level}", subject.name);
                assert_eq!(odd, None, "{what}: the result with this number differs");
                assert_eq!(one.len(), many.len(), "{what}");
            }
        }
    }

    #[test]
    fn a_level_that_the_machine_lacks_is_refused() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        for level in Level::ALL {
            let opened = Ops::open_at(&device, level);
            assert_eq!(opened.map(|ops| ops.level()).ok(), level.is_here().then_some(level));
        }
    }
}
