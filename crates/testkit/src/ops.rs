//! The conformance run of ops on a device, and the table of what serves them.
//!
//! The cases are in `forebay-tensor`, in the folder of each op; here they meet the devices. Next: `bin/conformance.rs`,
//! the program, and `tests/conformance.rs`, the same as tests.

use std::fmt::Write as _;

use forebay_device::BackendKind;
use forebay_tensor::{
    conformance::{Rig, Subject},
    subjects,
};

use crate::devices::Setup;

/// The seed that tests use.
pub const SEED: u64 = 1;

/// The op of a name.
pub fn subject(name: &str) -> Option<&'static Subject> {
    subjects().iter().find(|subject| subject.name == name)
}

/// Runs the cases of an op, and checks that no kind of case was left out. Gives back the bits of all results.
///
/// # Panics
/// If a case does not hold.
#[allow(clippy::panic, reason = "a case that cannot run is a failed test")]
pub fn conform(subject: &Subject, setup: &Setup, seed: u64) -> Vec<Vec<u8>> {
    let bed = setup.open();
    let run = || -> forebay_tensor::Result<Rig> {
        let mut rig = Rig::new(&bed.device, seed)?;
        (subject.cases)(&mut rig)?;
        Ok(rig)
    };
    match run() {
        Ok(rig) => {
            let missing = rig.facts().missing();
            assert!(missing.is_empty(), "the cases of {} leave out: {}", subject.name, missing.join(", "));
            rig.seen().to_vec()
        }
        Err(error) => panic!("{}: {error}", subject.name),
    }
}

/// The families of devices that the table names.
const FAMILIES: [BackendKind; 3] = [BackendKind::Cpu, BackendKind::Cuda, BackendKind::Metal];

/// The text of `docs/ops.md`.
pub fn table() -> String {
    let mut text = String::from(
        "# Ops\n\nEvery op, what it takes, and the kernel that serves it on each family of devices. Generated: \
         `cargo run -p testkit --bin conformance -- support` writes this page, and a test says when it is old.\n",
    );
    for subject in subjects() {
        let _ = write!(
            text,
            "\n## {}\n\n| serves | kernel | cpu | cuda | metal |\n|---|---|---|---|---|\n",
            subject.name
        );
        for served in (subject.served)() {
            let [cpu, cuda, metal] = FAMILIES.map(|kind| if served.runs_on(kind) { "yes" } else { "" });
            let (types, kernel) = (served.types(), served.kernel());
            let _ = writeln!(text, "| {types} | `{kernel}` | {cpu} | {cuda} | {metal} |");
        }
    }
    text + &weights()
}

/// How weights of each type are multiplied where precision is `fast`, by the kernels that `matmul` has.
fn weights() -> String {
    let mut text = String::from(
        "\n## How weights are multiplied\n\nUnless floats are asked for, on the CPU. What gains nothing by products of \
         integers says why.\n\n| type | how |\n|---|---|\n",
    );
    let matmul = subjects().iter().find(|subject| subject.name == "matmul");
    let served = matmul.map(|subject| (subject.served)()).unwrap_or_default();
    let has = |types: String| served.iter().any(|served| served.types() == types);
    for served in &served {
        let types = served.types();
        let how = match types.strip_suffix(" in panels") {
            Some(_) if has(types.replace(" in panels", "")) => continue,
            Some(_) => "repacked in panels, by integers",
            None if types.contains(' ') => continue,
            None if has(format!("{types} in panels")) => "repacked in panels, by integers",
            None if has(format!("{types} by integers")) => {
                "by integers, looked up from rows as they lie: they would grow in panels"
            }
            None if served.kernel().contains("floats") => {
                "by floats, from rows as they lie: they are no integers"
            }
            None => {
                "by floats, from rows that are decoded: it is a type of activations, and no file has such weights"
            }
        };
        let _ = writeln!(text, "| {} | {how} |", types.trim_end_matches(" in panels"));
    }
    text + "| mlx_mxfp8 | by floats, of which loading makes rows of bf16, twice as large: its values have no \
         common scale of 8 bits |\n"
}
