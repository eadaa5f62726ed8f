#![allow(unsafe_code, reason = "kernels take addresses")]
//! That AddressSanitizer sees into kernels: one is planted that reads past the end, in a process of its own.
//!
//! The program needs the sanitizer's runtime, which the rung `msl` loads into it. Rule for the unsafe code: T1, in
//! `planted` the memory is shorter than the kernel is told, and the process is meant to end of it.

use std::{env, path::Path, process::Command};

use msl::{Compiler, Order};

const COPY: &str = "#include <metal_stdlib>
kernel void copy(device const uint *from [[buffer(0)]], device uint *to [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) {
    to[i] = from[i];
}
";

#[test]
fn planted() {
    if env::var_os("MSL_PLANTED").is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    let kernel = Compiler::sanitized(folder).compile(COPY).unwrap().kernel("copy").unwrap();
    let (mut from, mut to) = (vec![1u32; 64], vec![0u32; 96]);
    let bound = [from.as_mut_ptr().cast(), to.as_mut_ptr().cast()];
    // SAFETY: T1.
    let _ = unsafe { kernel.run(&bound, &[], [3, 1, 1], [32, 1, 1], Order::Rising) };
}

#[test]
fn a_read_past_the_end_is_found() {
    if env::var_os("MSL_SANITIZED").is_none() {
        println!("left out: MSL_SANITIZED is not set");
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--exact", "planted"]).env("MSL_PLANTED", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("heap-buffer-overflow"), "{said}");
}
