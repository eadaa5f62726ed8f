#![allow(unsafe_code, reason = "a card waits for a word that the host sets")]
//! A gate: what is submitted to a queue after it does not start before the test opens it.
//!
//! With a gate a test can look at the middle of something, without guessing how long anything takes. The null device is
//! held; elsewhere a kernel waits for the test, on Metal for a bounded time, as the system ends what runs too long.
//! Rule for the unsafe code: G1, a gate owns the word that its kernel looks at, which host and device see at the same
//! address, and the kernel ends before the word goes, because the gate was opened.
//!
//! Next: `devices`.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use forebay_device::{
    Buffer, Device, Grid, ImageFormat, KernelDef, NullControl, Param, Result, Session, Signature,
};

use crate::{
    kernels::{bundle, msl},
    pace::rounds_a_micro,
    pinned::pinned,
};

/// After this long nobody will open the gate any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest that a gate stays closed on Metal, and what one of its rounds is in those of the slow kernel.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);
const ROUNDS: u128 = 16;

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
    Device(Buffer),
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

    pub(crate) fn card(device: &Device, session: &mut Session) -> Result<Self> {
        let def = KernelDef::new("hold", Signature::new([Param::u64(), Param::u32()]))
            .bundle(bundle!("hold"), "hold");
        let kernel = device.load(&def)?;
        let word = pinned(4)?;
        let args = [word.address().into(), (PATIENCE.as_millis() as u32).into()];
        let mut stage = session.stage("gate");
        stage.launch(&kernel, Grid::linear(1, 1), &args)?;
        stage.submit()?;
        Ok(Self { held: Held::Device(word) })
    }

    pub(crate) fn metal(device: &Device, session: &mut Session) -> Result<Self> {
        let signature = Signature::new([Param::read::<u32>(), Param::u32(), Param::write::<u32>()]);
        let def = KernelDef::new("hold", signature).image(ImageFormat::Msl, msl!("hold"), "hold");
        let kernel = device.load(&def)?;
        // Memory of nobody's pool, so that no test sees it in its counts.
        let word = device.adopt(vec![0u32])?;
        let rounds = SHORT_PATIENCE.as_micros() * u128::from(rounds_a_micro(device.kind())?) / ROUNDS;
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        let nothing = word.slice(4..)?;
        let mut stage = session.stage("gate");
        stage.launch(&kernel, Grid::linear(1, 1), &[word.arg(), rounds.into(), nothing.arg()])?;
        stage.submit()?;
        Ok(Self { held: Held::Device(word) })
    }

    /// Lets go on what waits.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        match &self.held {
            Held::Null(control, queue) => control.hold(*queue, false),
            Held::Cpu(gates, number) => gates.open(*number),
            Held::Device(word) => {
                let word = std::ptr::with_exposed_provenance::<AtomicU32>(word.address() as usize);
                // SAFETY: G1: the word is ours, aligned, and nothing else of the host touches it.
                unsafe { &*word }.store(1, Ordering::Release);
                // The word goes back to its pool, and to the next gate, which sets it to 0: not before the kernel saw it.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
