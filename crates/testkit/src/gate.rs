//! A gate: what is submitted to a queue after it does not start before the test opens it.
//!
//! With a gate a test can look at the middle of something, without guessing how long anything takes. The null device is
//! held; on the CPU a kernel waits for the test; other devices run the slow kernel for a while. Next: `devices`.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use forebay_device::{Device, Grid, KernelDef, NullControl, Param, Result, Session, Signature};

use crate::kernels::Kernels;

/// After this long nobody will open the gate any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a device without real gates is kept busy instead.
const BUSY: Duration = Duration::from_millis(200);

/// The gates of one device: those that are open.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    open: Mutex<Vec<bool>>,
    moved: Condvar,
}

impl Gates {
    fn lock(&self) -> MutexGuard<'_, Vec<bool>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn add(&self) -> u32 {
        let mut open = self.lock();
        open.push(false);
        open.len() as u32 - 1
    }

    fn open(&self, gate: u32) {
        self.lock()[gate as usize] = true;
        self.moved.notify_all();
    }

    fn pass(&self, gate: u32) {
        let closed = |open: &mut Vec<bool>| !open[gate as usize];
        let waited = self.moved.wait_timeout_while(self.lock(), PATIENCE, closed);
        let (_open, end) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        assert!(!end.timed_out(), "nobody opened the gate");
    }
}

/// Holds a queue back until it is opened or dropped.
#[derive(Debug)]
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    held: Held,
}

#[derive(Debug)]
enum Held {
    Null(NullControl, u32),
    Cpu(Arc<Gates>, u32),
    Busy,
}

impl Gate {
    pub(crate) fn null(control: &NullControl, session: &Session) -> Self {
        let queue = session.queue().id();
        control.hold(queue, true);
        Self { held: Held::Null(control.clone(), queue) }
    }

    pub(crate) fn cpu(gates: &Arc<Gates>, device: &Device, session: &mut Session) -> Result<Self> {
        let inside = gates.clone();
        let def = KernelDef::new("gate", Signature::new([Param::u32()]))
            .cpu(move |group| inside.pass(group.u32(0)));
        let kernel = device.load(&def)?;
        let number = gates.add();
        let gate = Self { held: Held::Cpu(gates.clone(), number) };
        let mut stage = session.stage("gate");
        stage.launch(&kernel, Grid::linear(1, 1), &[number.into()])?;
        stage.submit()?;
        Ok(gate)
    }

    pub(crate) fn busy(kernels: &Kernels, session: &mut Session) -> Result<Self> {
        let scratch = session.alloc(4)?;
        let mut stage = session.stage("gate");
        kernels.spin(&mut stage, &scratch, 0, BUSY)?;
        stage.submit()?;
        Ok(Self { held: Held::Busy })
    }

    /// Lets go on what waits.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        match &self.held {
            Held::Null(control, queue) => control.hold(*queue, false),
            Held::Cpu(gates, number) => gates.open(*number),
            Held::Busy => {}
        }
    }
}
