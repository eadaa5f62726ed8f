//! What membership of the residency set does on the CPU, looked at through what the system says.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use forebay_device::{Device, DeviceOptions, MappedFile, Request};

/// KiB of a field of a file below /proc/self.
fn kib(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(field)?.trim_end_matches("kB").trim().parse::<u64>().ok());
    values.sum()
}

/// Bytes of a mapped file that are in this process's page table, by the file's name.
fn resident(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut sum = 0;
    for line in text.lines() {
        if line.contains('-') && line.split_whitespace().next().is_some_and(|head| head.contains('-')) {
            ours = line.contains(name);
        } else if ours && let Some(rest) = line.strip_prefix("Rss:") {
            sum += rest.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10;
        }
    }
    sum
}

#[test]
fn registering_a_mapped_file_reads_its_pages_in_with_the_next_submission() {
    let name = format!("forebay-residency-{}", std::process::id());
    let path = std::env::temp_dir().join(&name);
    std::fs::write(&path, vec![1u8; 3 << 20]).unwrap();
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let file = MappedFile::open(&path).unwrap();
    let buffer = device.adopt_file(&file).unwrap();
    assert_eq!(resident(&name), 0);
    device.pool().register(&buffer).unwrap();
    assert_eq!(resident(&name), 0, "staged, not told");
    device.session().unwrap().stage("tells").submit().unwrap();
    assert_eq!(resident(&name), 3 << 20);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn members_are_locked_on_request_and_unlocked_when_they_go() {
    let options = DeviceOptions::cpu().threads(1).lock_memory(true);
    let device = Device::open(&options).unwrap();
    let before = kib("status", "VmLck:");
    let buffer = device.alloc(Request::new(2 << 20).dedicated()).unwrap();
    let mut session = device.session().unwrap();
    match session.stage("locks").submit() {
        Ok(()) => assert_eq!(kib("status", "VmLck:"), before + 2048),
        // A machine that lets nobody lock anything says so, and what helps.
        Err(error) => return assert!(error.to_string().contains("ulimit -l"), "{error}"),
    }
    drop(buffer);
    session.stage("unlocks").submit().unwrap();
    assert_eq!(kib("status", "VmLck:"), before);
}
