//! The devices that tests run on, chosen by the environment variable `FOREBAY_TEST_DEVICES`, and opened for one test.
//!
//! The variable is a list such as `null,cpu`, which is also what holds without it. A family stands for several set-ups:
//! the null device maps by pages, or takes whole regions, or only counts bytes; the CPU has one, three, or as many
//! workers as it likes. Next: `table`, which clause concerns which family.

use std::{
    env,
    sync::{Arc, OnceLock},
};

use forebay_device::{BackendKind, Device, DeviceOptions, NullControl, NullOptions, Session};

use crate::{
    gate::{Gate, Gates},
    kernels::Kernels,
};

/// The variable that chooses.
const VARIABLE: &str = "FOREBAY_TEST_DEVICES";
/// The devices that are there on every machine.
const DEFAULT: &str = "null,cpu";

/// A way to open a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How it stands in the name of a test.
    pub name: &'static str,
    /// The family.
    pub kind: BackendKind,
    /// Workers, if the test is about them.
    pub threads: Option<usize>,
    /// The unit of mapping of a null device.
    pub page: u64,
    /// Whether there are bytes to look at.
    pub bytes: bool,
}

const fn setup(name: &'static str, kind: BackendKind) -> Setup {
    Setup { name, kind, threads: None, page: 2 << 20, bytes: true }
}

/// All set-ups that there are.
const ALL: &[Setup] = &[
    setup("null", BackendKind::Null),
    Setup { page: 0, ..setup("null_whole", BackendKind::Null) },
    Setup { bytes: false, ..setup("null_counted", BackendKind::Null) },
    setup("cpu", BackendKind::Cpu),
    Setup { threads: Some(1), ..setup("cpu_1", BackendKind::Cpu) },
    Setup { threads: Some(3), ..setup("cpu_3", BackendKind::Cpu) },
    setup("cuda", BackendKind::Cuda),
    setup("metal", BackendKind::Metal),
];

/// The set-ups that the environment asks for.
///
/// # Errors
/// What is wrong with the variable.
pub fn chosen() -> Result<Vec<Setup>, String> {
    choose(&env::var(VARIABLE).unwrap_or_else(|_| DEFAULT.to_owned()))
}

fn choose(list: &str) -> Result<Vec<Setup>, String> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let kinds: Vec<BackendKind> = names
        .map(|name| name.parse().map_err(|error| format!("{VARIABLE} names {name:?}: {error}")))
        .collect::<Result<_, String>>()?;
    if kinds.is_empty() {
        return Err(format!("{VARIABLE} names no device"));
    }
    Ok(ALL.iter().copied().filter(|setup| kinds.contains(&setup.kind)).collect())
}

/// A device that was opened for one test, with what the test needs beside it.
#[derive(Debug)]
pub struct Bed {
    /// The device.
    pub device: Device,
    /// What steers it, if it is a null device.
    pub control: Option<NullControl>,
    /// How it was opened.
    pub setup: Setup,
    gates: Arc<Gates>,
    kernels: OnceLock<Kernels>,
}

#[allow(clippy::expect_used, reason = "a device that a test cannot open is a failed test")]
impl Setup {
    /// Opens the device with its defaults.
    pub fn open(&self) -> Bed {
        self.open_with(|options| options)
    }

    /// Opens the device with other options.
    pub fn open_with(&self, change: impl FnOnce(DeviceOptions) -> DeviceOptions) -> Bed {
        self.open_null(NullOptions::default(), change)
    }

    /// Opens the device with other options, which a null device takes in its own form too.
    pub fn open_null(&self, null: NullOptions, change: impl FnOnce(DeviceOptions) -> DeviceOptions) -> Bed {
        let mut options = DeviceOptions::new(self.kind);
        options.threads = self.threads;
        let options = change(options);
        let (device, control) = if self.kind == BackendKind::Null {
            let null = null.page(self.page).backed(self.bytes);
            let (device, control) = null.open(&options).expect("the null device opens");
            (device, Some(control))
        } else {
            (Device::open(&options).expect("the device opens"), None)
        };
        Bed { device, control, setup: *self, gates: Arc::default(), kernels: OnceLock::new() }
    }
}

#[allow(clippy::expect_used, clippy::panic, reason = "a device that a test cannot use is a failed test")]
impl Bed {
    /// The test kernels. A null device loads them too, but runs none.
    pub fn kernels(&self) -> &Kernels {
        self.kernels.get_or_init(|| Kernels::load(&self.device).expect("the test kernels load"))
    }

    /// A session on the first compute queue.
    pub fn session(&self) -> Session {
        self.device.session().expect("there is a compute queue")
    }

    /// A session on one more compute queue.
    pub fn other_session(&self) -> Session {
        let queue =
            self.device.open_queue(forebay_device::QueueKind::Compute).expect("there is one more queue");
        self.device.session_on(queue).expect("the queue is ours")
    }

    /// Holds back what is submitted to the session's queue from now on, until the gate is opened.
    pub fn gate(&self, session: &mut Session) -> Gate {
        match (&self.control, self.setup.kind) {
            (Some(control), _) => Gate::null(control, session),
            (None, BackendKind::Cpu) => {
                Gate::cpu(&self.gates, &self.device, session).expect("the gate is submitted")
            }
            (None, BackendKind::Cuda) => Gate::card(&self.device, session).expect("the gate is submitted"),
            (None, BackendKind::Metal) => Gate::metal(&self.device, session).expect("the gate is submitted"),
            (None, kind) => panic!("{kind} has no gates"),
        }
    }

    /// What steers the null device.
    ///
    /// # Panics
    /// On any other device: such a test runs on [`On::Steered`](crate::On::Steered).
    pub fn control(&self) -> &NullControl {
        self.control.as_ref().expect("the test runs on null devices only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_stands_for_its_setups_and_an_unknown_one_is_refused() {
        let names = |list| choose(list).map(|all| all.iter().map(|setup| setup.name).collect::<Vec<_>>());
        assert_eq!(names("cpu").unwrap(), ["cpu", "cpu_1", "cpu_3"]);
        assert_eq!(names(" cpu, null").unwrap()[0], "null");
        assert!(names("tpu").unwrap_err().contains("tpu"));
        assert!(names(" ,").is_err());
    }

    #[test]
    fn a_gate_holds_a_queue_until_it_is_opened() {
        for setup in choose(DEFAULT).unwrap() {
            let bed = setup.open();
            let mut session = bed.session();
            let gate = bed.gate(&mut session);
            let fence = session.stage("behind").fence().unwrap();
            assert!(fence.wait_for(std::time::Duration::from_millis(5)).is_err(), "{}", setup.name);
            gate.open();
            fence.wait().unwrap();
        }
    }
}
