//! Where `unsafe` may be said, and that each use says why it is sound.
//!
//! The compiler already refuses `unsafe` in a file that does not opt in; the list here is what a reviewer reads to
//! know where to look. Crates that must hold none forbid it on their front page.

use super::{
    Finding, Tree,
    source::{self, Source},
};

/// The files that may say `unsafe`, and why nothing safe would do. A `*` stands for one name of a folder.
const FILES: &[(&str, &str)] = &[
    ("crates/forebay-device/src/backend/host_region.rs", "maps address space and hands out parts of it"),
    ("crates/forebay-device/src/backend/cpu/memory.rs", "copies and fills bytes that several holders share"),
    ("crates/forebay-device/src/backend/cpu/module.rs", "gives a kernel its arguments as slices"),
    ("crates/forebay-device/src/backend/cuda/*", "calls the driver, which is a C library"),
    (
        "crates/forebay-device/src/backend/metal/*",
        "calls Apple's frameworks, and reaches shared buffers by address",
    ),
    ("crates/forebay-device/src/memory/guard.rs", "makes host guards of any element"),
    ("crates/forebay-device/src/memory/map.rs", "maps files"),
    ("crates/forebay-device/src/device/adopt.rs", "takes memory of others on the caller's word"),
    ("crates/forebay-device/src/memory/lease.rs", "counts leases in place, beside what they describe"),
    ("crates/forebay-device/src/memory/arena/slots.rs", "lends slots of a table that grows"),
    ("crates/forebay-device/src/memory/arena/scope.rs", "lends slots for as long as a scope lasts"),
    ("crates/forebay-device/src/memory/host_pool/block.rs", "owns raw blocks of any element type"),
    ("crates/forebay-device/src/memory/host_pool/source.rs", "takes blocks from the system and returns them"),
    ("crates/forebay-device/src/memory/host_pool/shared.rs", "keeps lists of raw blocks under a lock"),
    (
        "crates/forebay-device/src/memory/host_pool/state.rs",
        "moves raw blocks between the lists of all threads",
    ),
    ("crates/forebay-device/src/memory/host_pool/loom_tests.rs", "plays the owner of a magazine"),
    ("crates/forebay-device/src/memory/host_pool/magazine.rs", "keeps lists of raw blocks for one thread"),
    ("crates/forebay-device/src/memory/host_pool/seats.rs", "gives each thread a place of its own"),
    ("crates/forebay-device/src/memory/host_pool/vector.rs", "is a typed view of a raw block"),
    ("crates/forebay-device/tests/host_pool.rs", "promises that a vector was filled, as a user would"),
    ("crates/forebay-tensor/src/ops/*/cpu.rs", "are kernels: their workers share what they write"),
    ("crates/forebay-tensor/src/tiles/cpu/lanes/*", "calls the vector instructions of each level"),
    ("crates/forebay-tensor/src/tiles/cpu/*", "hands kernels their arguments, and holds what kernels share"),
    (
        "crates/testkit/tests/contract_memory/outside.rs",
        "promises that outside memory stays, as a user would",
    ),
    ("crates/testkit/tests/launch_allocations.rs", "counts what the program takes from the host"),
    ("crates/testkit/src/gate.rs", "sets a word that a kernel waits for"),
    ("metal/msl/src/*", "runs compiled kernels on stacks of their own"),
    ("metal/msl/tests/*", "hands kernels the memory that they work on"),
    ("metal/suite/tests/misuse.rs", "misuses the interface that others call right"),
    ("metal/softmetal/src/*", "is an Objective-C runtime and a device, called by address"),
    ("bench/src/counting.rs", "is an allocator: it counts what the system's is asked"),
    ("bench/src/peak.rs", "calls the instruction whose rate is the peak"),
    ("bench/peers/src/*", "calls the peers by their own interfaces"),
    ("xtask/planted/past_the_end.rs", "is the fault that the sanitizer has to find"),
];

/// Where that list is.
const LIST: &str = "xtask/src/tidy/unsafety.rs";

/// Front pages that forbid `unsafe` outright.
const FORBID: &[&str] = &["crates/forebay/src/lib.rs", "crates/forebay-cli/src/main.rs"];

/// Lines between the end of a comment and the `unsafe` that it speaks of.
const REACH: usize = 3;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    check_with(tree, FILES)
}

fn check_with(tree: &Tree, files: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let mut uses = uses(source).peekable();
        let listed = files.iter().any(|(pattern, _)| matches(pattern, &source.path));
        if let (Some(first), false) = (uses.peek(), listed) {
            let message = format!("may not say unsafe: it is not in the list of {LIST}");
            findings.push(Finding::new(&source.path, source.line(*first), message));
        }
        for at in uses {
            let line = source.line(at);
            if !explained(source, at) {
                let message = format!("unsafe without a SAFETY comment that ends within {REACH} lines above");
                findings.push(Finding::new(&source.path, line, message));
            }
        }
        for (line, rule) in dangling(tree, source) {
            let message = format!("cites {rule}, which neither this file's header nor one above it states");
            findings.push(Finding::new(&source.path, line, message));
        }
        if FORBID.contains(&source.path.as_str()) && !source.code.contains("#![forbid(unsafe_code)]") {
            findings.push(Finding::new(&source.path, 0, "this crate has to say #![forbid(unsafe_code)]"));
        }
    }
    for (pattern, _) in files {
        let used = |source: &Source| matches(pattern, &source.path) && uses(source).next().is_some();
        if !tree.sources.iter().any(used) {
            let mut note = Finding::new(LIST, 0, format!("{pattern} says no unsafe: take it off the list"));
            note.note = true;
            findings.push(note);
        }
    }
    findings
}

/// Positions of the keyword; naming the lint is no use of it.
fn uses(source: &Source) -> impl Iterator<Item = usize> {
    source::words(&source.code).filter(|(_, word)| *word == "unsafe").map(|(at, _)| at)
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(want), Some(have)) if want == "*" || want == have => {}
            _ => return false,
        }
    }
}

/// Whether a use needs no comment, or has one.
fn explained(source: &Source, at: usize) -> bool {
    let after = source.code[at + "unsafe".len()..].trim_start();
    let mut rest = source::words(after).map(|(_, word)| word);
    let first = rest.next().unwrap_or_default();
    let declares = !after.starts_with('{') && matches!(first, "fn" | "extern" | "trait");
    if declares {
        let function_type = after.strip_prefix("fn").is_some_and(|rest| rest.trim_start().starts_with('('));
        let extern_type = first == "extern" && after.contains("fn") && {
            let signature = after.split_once("fn").map_or("", |(_, signature)| signature);
            signature.trim_start().starts_with('(')
        };
        if function_type || extern_type {
            return true;
        }
    }
    let line = source.line(at);
    let says = |text: &str| text.contains("SAFETY:") || (declares && text.contains("# Safety"));
    if source.comments.iter().any(|comment| comment.line == line && says(&comment.text)) {
        return true;
    }
    // The last comment above, with what belongs to it: lines of comment with no gap between them.
    let mut above = source.comments.iter().rev().skip_while(|comment| comment.line >= line).peekable();
    let near = |end: usize| end + REACH >= line || (declares && only_attributes(source, end, line));
    let Some(end) = above.peek().map(|comment| comment.line).filter(|end| near(*end)) else { return false };
    above
        .zip((0..=end).rev())
        .take_while(|(comment, line)| comment.line == *line)
        .any(|(comment, _)| says(&comment.text))
}

/// The rules that SAFETY comments cite and no header states: lines and rules.
fn dangling(tree: &Tree, source: &Source) -> Vec<(usize, String)> {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let above = |other: &Source| {
        let front = other.path.ends_with("/mod.rs") || other.path.ends_with("/lib.rs");
        other.path == source.path || (front && source.path.starts_with(&folder(&other.path)))
    };
    let headers = tree.sources.iter().filter(|other| above(other)).flat_map(|other| &other.comments);
    let stated: Vec<_> = headers
        .filter(|comment| comment.text.starts_with("//!"))
        .flat_map(|comment| rules(&comment.text))
        .collect();
    let cites = source.comments.iter().filter(|comment| comment.text.contains("SAFETY:"));
    cites
        .flat_map(|comment| rules(&comment.text).into_iter().map(|rule| (comment.line, rule.to_owned())))
        .filter(|(_, rule)| !stated.contains(&rule.as_str()))
        .collect()
}

/// Words that number a rule: a capital and a small number. Types such as `F16`, `I8` and `Q4` are none.
fn rules(text: &str) -> Vec<&str> {
    let rule = |word: &str| {
        let (letter, number) = word.split_at_checked(1)?;
        let letter = letter.bytes().all(|byte| byte.is_ascii_uppercase() && !b"FIQU".contains(&byte));
        (letter && number.parse::<u8>().is_ok_and(|number| (1..=15).contains(&number))).then_some(())
    };
    source::words(text).map(|(_, word)| word).filter(|word| rule(word).is_some()).collect()
}

/// Whether all lines between two lines hold attributes.
fn only_attributes(source: &Source, after: usize, before: usize) -> bool {
    let mut lines = source.text.lines().skip(after).take(before - after - 1);
    lines.all(|line| line.trim_start().starts_with("#["))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{places, tree};

    const LISTED: &[(&str, &str)] = &[("a/*/c.rs", "a reason")];

    fn found(text: &str) -> Vec<String> {
        let rules = ("a/b/mod.rs", "//! Rules: R1, it is. R2: there is no state.");
        places(&check_with(&tree(&[("a/b/c.rs", text), rules]), LISTED))
    }

    #[test]
    fn only_listed_files_say_it_and_the_list_is_not_stale() {
        let text = "// SAFETY: R1, x is whole.\nunsafe { x }";
        assert!(found(text).is_empty());
        let text = "// SAFETY: x is whole.\nunsafe { x }";
        let other = check_with(&tree(&[("a/b/d.rs", text)]), LISTED);
        assert_eq!(places(&other), ["a/b/d.rs:2", &format!("{LIST}:0")]);
        let deeper = check_with(&tree(&[("a/b/b/c.rs", text)]), LISTED);
        assert_eq!(deeper.len(), 2);
    }

    #[test]
    fn a_use_has_its_reason_close_above() {
        let fine = [
            "// SAFETY: R1, it is.\nlet a =\n    b(\n    unsafe { c });",
            "// SAFETY: R1, it is,\n// and more\n// and more\n// and more.\nunsafe { c }",
            "unsafe { c } // SAFETY: R1, it is.",
            "/// Does.\n///\n/// # Safety\n/// Be good.\n#[inline]\n#[cold]\n#[must_use]\n#[x]\npub unsafe fn f() {}",
            "// SAFETY: R2, no state.\nunsafe impl Send for A {}",
            "type F = unsafe fn(u8);\ntype G = unsafe extern \"C\" fn(u8); // SAFETY: none\n\
             // SAFETY: R1, it is.\nunsafe { c }",
        ];
        for text in fine {
            assert!(found(text).is_empty(), "{text}");
        }
        let bad = [
            ("let a = 1;\nunsafe { c }", 2),
            ("// SAFETY: R1, it is.\n\n\n\nunsafe { c }", 5),
            ("// SAFETY: R1, it is.\n\n// Another matter.\nunsafe { c }", 4),
            ("/// # Safety\n/// Be good.\nunsafe impl Send for A {}", 3),
            ("let s = \"// SAFETY: no\";\nunsafe { c }", 2),
        ];
        for (text, line) in bad {
            assert_eq!(found(text), [format!("a/b/c.rs:{line}")], "{text}");
        }
    }

    #[test]
    fn a_cited_rule_is_stated_in_a_header() {
        let header = "//! C. Rules: R1, it lives. R2: nobody writes.\n";
        let code = "// SAFETY: R1 and Z3; F16 and U8 are types.\nunsafe { c }\n// SAFETY: R2.\nunsafe { c }";
        let cited = |files: &[(&str, &str)]| places(&check_with(&tree(files), LISTED));
        assert_eq!(cited(&[("a/b/c.rs", &format!("{header}{code}"))]), ["a/b/c.rs:2"]);
        assert_eq!(cited(&[("a/b/c.rs", code), ("a/b/mod.rs", header)]), ["a/b/c.rs:1"]);
        assert_eq!(cited(&[("a/b/c.rs", code), ("a/lib.rs", header)]), ["a/b/c.rs:1"]);
        assert_eq!(
            cited(&[("a/b/c.rs", code), ("a/d/mod.rs", header)]),
            ["a/b/c.rs:1", "a/b/c.rs:1", "a/b/c.rs:3"]
        );
    }

    #[test]
    fn literals_comments_and_the_lint_are_no_use() {
        let text = "#![deny(unsafe_code)]\n// unsafe\nlet a = \"unsafe\";";
        assert!(check_with(&tree(&[("a/b/d.rs", text)]), &[]).is_empty());
    }

    #[test]
    fn crates_without_unsafe_forbid_it() {
        let path = "crates/forebay/src/lib.rs";
        assert!(check_with(&tree(&[(path, "//! x\n#![forbid(unsafe_code)]")]), &[]).is_empty());
        assert_eq!(check_with(&tree(&[(path, "//! #![forbid(unsafe_code)]")]), &[]).len(), 1);
    }
}
