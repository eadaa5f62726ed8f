//! Running a tool to its end or to a deadline, with everything it prints kept.
//!
//! It never interprets what was printed beyond the summary lines of Rust's test harness, which [`Counts`] adds up.
//! Next: `rungs.rs`, which says what is run.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How tests ended, summed over the harnesses that reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn total(self) -> u64 {
        self.passed + self.failed + self.skipped
    }

    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads one line of a harness's output; anything but a summary line counts nothing.
    pub(crate) fn of_line(line: &str) -> Counts {
        let mut counts = Counts::default();
        let Some(summary) = line.strip_prefix("test result: ") else { return counts };
        let Some((_, summary)) = summary.split_once(". ") else { return counts };
        for part in summary.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.skipped = number,
                _ => {}
            }
        }
        counts
    }
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
    /// It was killed, with everything it had started, because its time was up.
    Deadline,
}

/// What is left of a tool that ran.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) counts: Counts,
    /// Standard output and standard error in the order in which they came.
    pub(crate) output: String,
}

/// Runs `command` until it ends or `deadline` passes, calling `echo` with each line it prints.
pub(crate) fn run(command: &mut Command, deadline: Duration, mut echo: impl FnMut(&str)) -> Result<Outcome> {
    let program = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let second = writer.try_clone().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    // The command holds the pipe's writing ends: the reader sees the end only when they are gone.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            if send.send(String::from_utf8_lossy(&bytes).into_owned()).is_err() {
                break;
            }
            bytes.clear();
        }
    });

    let until = Instant::now() + deadline;
    let mut outcome = Outcome { end: End::Success, counts: Counts::default(), output: String::new() };
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                outcome.counts.add(Counts::of_line(line.trim_end()));
                echo(&line);
                outcome.output.push_str(&line);
            }
            Err(RecvTimeoutError::Timeout) => {
                kill_group(&mut child);
                outcome.end = End::Deadline;
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {program}"))?;
    if outcome.end == End::Success && !status.success() {
        outcome.end = End::Failure;
        let note = format!("{program} ended with {status}\n");
        echo(&note);
        outcome.output.push_str(&note);
    }
    Ok(outcome)
}

/// Kills a child and whatever it started; a child that is gone already is no error.
fn kill_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}

/// Prints without waiting for the end of the line.
pub(crate) fn print_now(text: &str) {
    print!("{text}");
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Outcome {
        run(Command::new("sh").arg("-c").arg(script), deadline, |_| {}).unwrap()
    }

    #[test]
    fn summary_lines_add_up_and_nothing_else_does() {
        let mut sum = Counts::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 5 filtered out; finished in 0.01s",
            "test a::result: ok. 99 passed; 99 failed",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            sum.add(Counts::of_line(line));
        }
        assert_eq!(sum, Counts { passed: 13, failed: 2, skipped: 3 });
        assert_eq!(sum.total(), 18);
    }

    #[test]
    fn both_streams_are_kept_and_a_bad_end_is_seen() {
        let outcome = shell("echo one; echo two >&2; exit 3", Duration::from_secs(20));
        assert_eq!(outcome.end, End::Failure);
        assert!(outcome.output.starts_with("one\ntwo\n"), "{}", outcome.output);
        assert!(outcome.output.contains("exit status: 3"), "{}", outcome.output);
    }

    #[test]
    fn a_deadline_ends_grandchildren_too() {
        let start = Instant::now();
        let outcome = shell("sh -c 'sleep 30; echo late' & wait", Duration::from_millis(100));
        assert_eq!(outcome.end, End::Deadline);
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(!outcome.output.contains("late"));
    }
}
