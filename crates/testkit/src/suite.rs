//! Test functions become trials: one for each device that the test is meant for, named `DEVICE::TEST`.
//!
//! A test file lists its functions by the devices they need (`tests!`) and hands the lists to [`run`]. A function is
//! called after the clause that it checks (`p4_reset_never_aliases`); `run` fails if a clause of the families it was
//! given has no test on a backend that the clause concerns. Next: `table`, the clauses.

use std::process::ExitCode;

use forebay_device::BackendKind;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    devices::{self, Setup},
    table::{CLAUSES, Clause},
};

/// The devices that a test is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// All devices, also those that only count bytes.
    Every,
    /// Devices with bytes to look at.
    Bytes,
    /// Devices that use the host's memory in place.
    Host,
    /// Devices that run kernels written in Rust.
    Rust,
    /// Devices that run kernels by a driver, which may refuse a launch.
    Driven,
    /// Devices that run kernels; the CPU with several counts of workers.
    Kernels,
    /// Null devices, where the test says what completes when, and what fails.
    Steered,
    /// Null devices with bytes to look at.
    SteeredBytes,
}

impl On {
    fn includes(self, setup: &Setup) -> bool {
        let null = setup.kind == BackendKind::Null;
        match self {
            Self::Every => setup.threads.is_none(),
            Self::Bytes => setup.bytes && setup.threads.is_none(),
            Self::Host => setup.bytes && setup.threads.is_none() && setup.kind != BackendKind::Cuda,
            Self::Rust => setup.kind == BackendKind::Cpu,
            Self::Driven => matches!(setup.kind, BackendKind::Cuda | BackendKind::Metal),
            Self::Kernels => !null,
            Self::Steered => null,
            Self::SteeredBytes => null && setup.bytes,
        }
    }
}

/// A test function, as [`tests!`](crate::tests) lists it.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// The name, which starts with the clause.
    pub name: &'static str,
    /// Where it runs.
    pub on: On,
    /// The test.
    pub run: fn(&Setup),
}

impl Test {
    /// The clause that the name starts with.
    fn clause(&self) -> String {
        self.name.split('_').next().unwrap_or_default().to_uppercase()
    }
}

/// Lists test functions by the devices they are meant for: `tests! { Every: p1_a, p1_b; Kernels: p9_c }`.
#[macro_export]
macro_rules! tests {
    ($($on:ident: $($test:ident),+ $(,)?);+ $(;)?) => {
        &[$($($crate::Test { name: stringify!($test), on: $crate::On::$on, run: $test }),+),+]
    };
}

/// What `main` of a test file with `harness = false` calls: `testkit::run("PBR", &[pool::TESTS, buffers::TESTS])`.
///
/// Runs tests on the chosen devices, and checks that the clauses of these families all have some. Without families the
/// tests are called after no clause.
pub fn run(families: &str, tests: &[&[Test]]) -> ExitCode {
    run_clauses(&of_families(families), tests)
}

/// As [`run`], for these clauses.
pub fn run_clauses(clauses: &[Clause], tests: &[&[Test]]) -> ExitCode {
    let mut args = Arguments::from_args();
    let setups = devices::chosen();
    let shared = |setup: &Setup| matches!(setup.kind, BackendKind::Cuda | BackendKind::Metal);
    if setups.iter().flatten().any(shared) {
        // Tests share the device, and its driver may stop for one what another does.
        args.test_threads.get_or_insert(1);
    }
    let tests = tests.concat();
    let mut trials = Vec::new();
    for setup in setups.iter().flatten() {
        for test in tests.iter().filter(|test| test.on.includes(setup)) {
            let (setup, run) = (*setup, test.run);
            trials.push(Trial::test(format!("{}::{}", setup.name, test.name), move || {
                run(&setup);
                Ok(())
            }));
        }
    }
    let clauses = clauses.to_vec();
    trials.push(Trial::test("every_clause_has_its_test", move || {
        let setups = setups?;
        let gaps = if clauses.is_empty() { Vec::new() } else { gaps(&clauses, &tests, &setups) };
        if gaps.is_empty() { Ok(()) } else { Err(Failed::from(gaps.join("\n"))) }
    }));
    libtest_mimic::run(&args, trials).exit_code()
}

/// The clauses whose name begins with one of these letters.
fn of_families(families: &str) -> Vec<Clause> {
    let ours = |clause: &&Clause| clause.id.starts_with(|first| families.contains(first));
    CLAUSES.iter().filter(ours).copied().collect()
}

/// What is wrong with the tests of some clauses.
fn gaps(clauses: &[Clause], tests: &[Test], setups: &[Setup]) -> Vec<String> {
    let mut gaps = Vec::new();
    for clause in clauses {
        for setup in setups.iter().filter(|setup| clause.concerns(setup.kind)) {
            let kind = setup.kind;
            let covers = |test: &Test| {
                test.clause() == clause.id
                    && setups.iter().any(|setup| setup.kind == kind && test.on.includes(setup))
            };
            if !tests.iter().any(covers) {
                gaps.push(format!("{} has no test on {kind}", clause.id));
            }
        }
    }
    for test in tests {
        if !clauses.iter().any(|clause| clause.id == test.clause()) {
            gaps.push(format!("{} is called after none of these clauses", test.name));
        }
        if tests.iter().filter(|other| other.name == test.name).count() > 1 {
            gaps.push(format!("{} is listed twice", test.name));
        }
    }
    gaps.dedup();
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_without_a_test_and_a_test_without_a_clause_are_gaps() {
        let setups = [devices::chosen().unwrap()].concat();
        let test = |name| Test { name, on: On::Every, run: |_| () };
        let all: Vec<_> =
            ["r1_x", "r2_x", "r3_x", "r4_x", "r5_x", "r6_x", "r7_x"].into_iter().map(test).collect();
        let clauses = of_families("R");
        assert_eq!(gaps(&clauses, &all, &setups), Vec::<String>::new());
        assert!(gaps(&clauses, &all[1..], &setups)[0].starts_with("R1 has no test on"));
        let more = [all.clone(), vec![test("r8_x")]].concat();
        assert_eq!(gaps(&clauses, &more, &setups), ["r8_x is called after none of these clauses"]);
        let twice = [all.clone(), vec![all[0]]].concat();
        assert_eq!(gaps(&clauses, &twice, &setups), ["r1_x is listed twice"]);
    }
}
