//! A trace file outlives the program that writes it, however that ends.
//!
//! The test starts itself again as the program that is killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use forebay_device::{Device, DeviceOptions, Event, TraceOptions, TraceReader};

/// Set for the program that is killed: where its trace goes.
const VICTIM: &str = "FOREBAY_TEST_TRACE_OF_VICTIM";

/// Allocates for ever, and says now and then how many events are flushed.
fn victim(path: &Path) -> ! {
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::file(path))).unwrap();
    let trace = device.trace().unwrap();
    let mut out = std::io::stdout();
    for size in 1.. {
        drop(device.alloc(size).unwrap());
        if size % 777 == 0 {
            trace.flush().unwrap();
            writeln!(out, "flushed {}", trace.events()).unwrap();
        }
    }
    std::process::exit(3);
}

#[test]
fn what_was_flushed_survives_a_kill() {
    if let Some(path) = std::env::var_os(VICTIM) {
        victim(Path::new(&path));
    }
    let dir = std::env::temp_dir().join(format!("forebay-crash-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for lines in [1, 40, 200] {
        let path = dir.join(format!("trace-{lines}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_flushed_survives_a_kill", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let flushed =
            said.map_while(Result::ok).filter_map(|line| line.split_once("flushed ")?.1.parse().ok());
        let flushed: u64 = flushed.take(lines).last().unwrap();
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());

        let (mut events, mut size) = (0, 0);
        for entry in TraceReader::open(&path).unwrap() {
            // The kill may have hit the middle of a write; nothing but the end is missing then.
            let Ok(entry) = entry else { break };
            assert_eq!(entry.number, events);
            events += 1;
            if let Event::Allocated { bytes, .. } = entry.event {
                assert_eq!(bytes, size + 1);
                size = bytes;
            }
        }
        assert!(flushed > 1000 && events >= flushed, "{events} of {flushed}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}
