#![allow(unsafe_code, reason = "kernels take addresses")]
//! Every kernel of the repository on the CPU, under several orders, against plain Rust; and faults that are planted in
//! kernels, each of which has to be found.
//!
//! Run under AddressSanitizer when `MSL_SANITIZED` is set, by a program that has its runtime loaded. Rule for the unsafe
//! code: T1, what is bound are vectors as long as the kernel is told.

use std::{env, ffi::c_void, fs, path::Path};

use msl::{Compiler, Order, check_spaces};

/// Sizes that fill no group and no simdgroup, and the edges of those.
const SIZES: &[usize] = &[1, 31, 32, 33, 255, 256, 257, 1000, 4099];
const ORDERS: [Order; 4] = [Order::Rising, Order::Shuffled(1), Order::Shuffled(2), Order::Shuffled(3)];
const GROUP: usize = 256;

fn sanitized() -> bool {
    env::var_os("MSL_SANITIZED").is_some()
}

fn compiler() -> Compiler {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if sanitized() {
        Compiler::sanitized(folder.join("sanitized"))
    } else {
        Compiler::new(folder.join("plain"))
    }
}

/// The kernels that are there, by path.
fn texts() -> Vec<(String, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
    let mut folders = vec![crates];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|end| end == "metal") {
                texts.push((entry.to_string_lossy().into_owned(), fs::read_to_string(&entry).unwrap()));
            }
        }
    }
    assert!(texts.len() >= 6, "{texts:?}");
    texts
}

fn text(name: &str) -> String {
    let ends = format!("/{name}.metal");
    texts().into_iter().find(|(path, _)| path.ends_with(&ends)).unwrap().1
}

/// What a kernel is bound to.
enum Bound<'a> {
    In(&'a [u32]),
    Out(&'a mut [u32]),
}

use Bound::{In, Out};

fn run(
    text: &str,
    name: &str,
    bound: &mut [Bound<'_>],
    groups: usize,
    threads: usize,
    order: Order,
) -> Result<(), String> {
    let kernel = compiler().compile(text)?.kernel(name).unwrap();
    let buffers: Vec<*mut c_void> = bound
        .iter_mut()
        .map(|bound| match bound {
            In(values) => values.as_ptr().cast_mut().cast(),
            Out(values) => values.as_mut_ptr().cast(),
        })
        .collect();
    // SAFETY: T1.
    unsafe { kernel.run(&buffers, &[], [groups as u32, 1, 1], [threads as u32, 1, 1], order) }
}

fn values(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i + seed).wrapping_mul(0x9E37_79B9)).collect()
}

#[test]
fn the_test_kernels_compute_what_they_should_in_every_order() {
    for (&n, order) in SIZES.iter().flat_map(|n| ORDERS.map(|order| (n, order))) {
        let (a, b, count) = (values(n, 1), values(n, 2), [n as u32]);
        let groups = n.div_ceil(GROUP);
        let mut out = vec![7; n];
        run(&text("add"), "add", &mut [In(&a), In(&b), Out(&mut out), In(&count)], groups, GROUP, order)
            .unwrap();
        assert!(
            out.iter().zip(a.iter().zip(&b)).all(|(out, (a, b))| *out == a.wrapping_add(*b)),
            "{n} {order:?}"
        );
        run(&text("copy"), "copy", &mut [In(&a), Out(&mut out), In(&count)], groups, GROUP, order).unwrap();
        assert_eq!(out, a);
        run(&text("fill"), "fill", &mut [Out(&mut out), In(&[9]), In(&count)], groups, GROUP, order).unwrap();
        assert_eq!(out, vec![9; n]);
        for threads in [32, 64, GROUP, 1024] {
            let mut sum = [0];
            let bound = &mut [In(&a), Out(&mut sum), In(&count)];
            run(&text("reduce_sum"), "reduce_sum", bound, 1, threads, order).unwrap();
            assert_eq!(sum[0], a.iter().fold(0u32, |sum, x| sum.wrapping_add(*x)), "{n} {threads} {order:?}");
        }
        run(&text("spin"), "spin", &mut [Out(&mut out), In(&[4]), In(&count), In(&[3])], 1, GROUP, order)
            .unwrap();
        assert_eq!(out, vec![4; n]);
    }
}

#[test]
fn copies_and_fills_stay_in_their_bounds() {
    let text = text("kernels");
    for (&n, order) in SIZES.iter().flat_map(|n| ORDERS.map(|order| (n, order))) {
        // Fewer threads than pieces, so that each does several.
        let (words, count) = (values(4 * n, 3), [n as u32, 0]);
        let mut out = vec![1; 4 * n + 4];
        run(&text, "copy_words", &mut [In(&words), Out(&mut out), In(&count)], 1, 96, order).unwrap();
        assert!(out[..4 * n] == words[..] && out[4 * n..] == [1; 4], "{n} {order:?}");
        run(&text, "fill_words", &mut [Out(&mut out), In(&[0x0505_0505]), In(&count)], 2, 32, order).unwrap();
        assert!(out[..4 * n] == vec![0x0505_0505; 4 * n] && out[4 * n..] == [1; 4], "{n} {order:?}");
        let mut out = vec![u32::MAX; n];
        run(&text, "copy_bytes", &mut [In(&words), Out(&mut out), In(&count)], 3, 32, order).unwrap();
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        assert!(bytes(&out)[..n] == bytes(&words)[..n] && bytes(&out)[n..].iter().all(|&byte| byte == 255));
        run(&text, "fill_bytes", &mut [Out(&mut out), In(&[3]), In(&count)], 1, 32, order).unwrap();
        assert!(
            bytes(&out)[..n].iter().all(|&byte| byte == 3)
                && bytes(&out)[n..].iter().all(|&byte| byte == 255)
        );
    }
}

#[test]
fn every_kernel_passes_the_check_of_address_spaces() {
    for (path, text) in texts() {
        check_spaces(&text).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    }
}

const OPENING: &str = "#include <metal_stdlib>\nusing namespace metal;\n";

#[test]
fn pointers_that_change_their_space_are_refused() {
    for (what, body) in [
        ("device given out as shared", "threadgroup uint *p = a; a[1] = *p;"),
        ("shared given out as the thread's", "threadgroup uint s[4];\n thread uint *p = s; a[0] = *p;"),
        ("a constant is written", "c[0] = 1;"),
        ("a function's pointer names no space", "a[0] = first(a);"),
        ("an unknown name", "a[0] = nothing(a);"),
    ] {
        let kernel = "kernel void k(device uint *a [[buffer(0)]], constant uint *c [[buffer(1)]])";
        let text = format!("{OPENING}static uint first(uint *p) {{ return *p; }}\n{kernel} {{\n{body}\n}}\n");
        let fault = check_spaces(&text).expect_err(what);
        assert!(fault.contains("kernel.metal:"), "{what}: {fault}");
    }
}

#[test]
fn a_missing_barrier_shows_in_another_order() {
    let kernel = "kernel void k(device uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {\n\
        threadgroup uint s[64];\n s[i] = i;\n BARRIER\n out[i] = s[63 - i];\n simdgroup_barrier(mem_flags::mem_none);\n}\n";
    let results = |barrier: &str| {
        let text = format!("{OPENING}{}", kernel.replace("BARRIER", barrier));
        let mut results: Vec<_> = ORDERS
            .map(|order| {
                let mut out = vec![0; 64];
                run(&text, "k", &mut [Out(&mut out)], 1, 64, order).unwrap();
                out
            })
            .into();
        results.dedup();
        results.len()
    };
    assert_eq!(results("threadgroup_barrier(mem_flags::mem_threadgroup);"), 1);
    assert!(results("") > 1);
}

#[test]
fn threads_that_do_not_meet_are_an_error_and_never_a_hang() {
    let wait = "threadgroup_barrier(mem_flags::mem_threadgroup);";
    for (body, wanted) in [
        (format!("if (i < 40) {{ {wait} }}"), "not reached by all"),
        (format!("if (i < 40) {{ {wait} }}\nelse {{ {wait} }}"), "not reached by all"),
        (format!("if (i == 5) {{ {wait} }}\nelse {{ out[i] = simd_sum(i); }}"), "in vain"),
        ("out[i] = i < 7 ? simd_sum(i) :\nsimd_max(i);".to_owned(), "different lines"),
    ] {
        let text = format!(
            "{OPENING}kernel void k(device uint *out [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {{\n{body}\n}}\n"
        );
        for order in ORDERS {
            let fault = run(&text, "k", &mut [Out(&mut vec![0; 64])], 1, 64, order).expect_err(&body);
            assert!(fault.contains(wanted), "{body}: {fault}");
        }
    }
}

#[test]
fn shared_memory_holds_nothing_of_the_group_before() {
    let text = format!(
        "{OPENING}kernel void k(device uint *out [[buffer(0)]], uint g [[threadgroup_position_in_grid]],\n\
         uint i [[thread_index_in_threadgroup]]) {{\n threadgroup uint s[32];\n\
         if (i == 0) {{ out[g] = s[3]; s[3] = 1; }}\n}}\n"
    );
    for order in ORDERS {
        let mut out = vec![0; 9];
        run(&text, "k", &mut [Out(&mut out)], 9, 32, order).unwrap();
        assert!(out.iter().all(|&x| x == 0xCDCD_CDCD), "{out:x?}");
    }
}

#[test]
fn what_is_not_bound_is_an_error() {
    let fault = run(&text("copy"), "copy", &mut [In(&[1]), Out(&mut [2])], 1, 32, Order::Rising).unwrap_err();
    assert!(fault.contains("nothing is bound as buffer 2"), "{fault}");
}
