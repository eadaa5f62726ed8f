//! Every op against its oracle on every device that runs kernels, and the page that lists them.

use std::{fs, path::Path, process::ExitCode};

use forebay_device::BackendKind;
use forebay_tensor::subjects;
use libtest_mimic::{Arguments, Failed, Trial};
use testkit::{Setup, ops};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let setups = match testkit::setups() {
        Ok(setups) => setups,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = vec![Trial::test("docs_ops_md_lists_what_there_is", page_is_current)];
    for subject in subjects() {
        for &setup in
            setups.iter().filter(|setup| setup.kind != BackendKind::Null && subject.runs_on(setup.kind))
        {
            trials.push(Trial::test(format!("{}::{}", setup.name, subject.name), move || {
                ops::conform(subject, &setup, ops::SEED);
                Ok(())
            }));
        }
        let workers: Vec<Setup> =
            setups.iter().copied().filter(|setup| setup.kind == BackendKind::Cpu).collect();
        if !workers.is_empty() && subject.runs_on(BackendKind::Cpu) {
            let name = format!("cpu::{}_is_the_same_with_any_number_of_workers", subject.name);
            trials.push(Trial::test(name, move || {
                let mut all = workers.iter().map(|setup| ops::conform(subject, setup, ops::SEED + 1));
                let first = all.next();
                assert!(all.all(|bits| Some(bits) == first), "the bits of a result differ");
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn page_is_current() -> Result<(), Failed> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ops.md");
    let text = fs::read_to_string(page).unwrap_or_default();
    if text == ops::table() {
        return Ok(());
    }
    Err("docs/ops.md is old: cargo run -p testkit --bin conformance -- support".into())
}
