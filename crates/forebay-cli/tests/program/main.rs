//! The program as a user meets it: what goes to which stream, exit codes, and one clear line for what went wrong.
//!
//! Most cases run a model of random weights that is made here; those with a trained one find it through FOREBAY_FIXTURES, and are
//! left out without.

#![allow(clippy::print_stdout, reason = "says what is left out")]

#[cfg(test)]
mod chat;
#[cfg(test)]
mod imatrix;
#[cfg(test)]
mod run;
#[cfg(test)]
mod smollm2;
#[cfg(test)]
mod tiny;
#[cfg(test)]
mod tools;

#[cfg(test)]
mod program {
    use std::{
        io::Write,
        path::PathBuf,
        process::{Command, Output, Stdio},
    };

    pub(crate) fn forebay(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_forebay")).args(arguments).output().unwrap()
    }

    /// With something on standard input.
    pub(crate) fn forebay_reads(input: impl AsRef<[u8]>, arguments: &[&str]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_ref()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn stories() -> Option<PathBuf> {
        let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
            println!("left out: FOREBAY_FIXTURES is not set");
            return None;
        };
        Some(PathBuf::from(root).join("stories260K/gguf/stories260K.F16.gguf"))
    }

    /// Standard output of what has to succeed.
    pub(crate) fn success(output: Output) -> String {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON on standard output of what has to succeed.
    pub(crate) fn json(output: Output) -> serde_json::Value {
        serde_json::from_str(&success(output)).unwrap()
    }

    /// The exit code and the one line on standard error; standard output must be empty.
    pub(crate) fn failed(output: Output) -> (i32, String) {
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty(), "{line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        (output.status.code().unwrap(), line)
    }

    pub(crate) fn failure(arguments: &[&str]) -> (i32, String) {
        failed(forebay(arguments))
    }
}
