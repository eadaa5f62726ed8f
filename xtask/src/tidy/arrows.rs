//! Who may use whom: between the crates of the workspace, and between the modules of one crate.
//!
//! Crates are judged by their dependencies as cargo sees them, modules by the paths that start with `crate` or
//! `super` in code that is shipped. A name that the front page of a crate re-exports counts as the module it comes from.
//! When a module is added, give it its place in [`MODULES`].

use std::collections::HashMap;

use super::{
    Finding, Tree,
    source::{self, Source},
};

/// The shipped crates, from the bottom up; each may use those before it.
const CRATES: &[&str] = &["forebay-device", "forebay-tensor", "forebay", "forebay-cli"];

/// The modules of each shipped library, from the bottom up; those of one group may use each other and all before.
const MODULES: &[(&str, &[&[&str]])] = &[
    (
        "crates/forebay-device/src/",
        &[
            &["sync"],
            &["error", "label", "caps", "launch", "timing"],
            &["backend", "kernel"],
            &["memory"],
            &["command", "device"],
            &["history"],
        ],
    ),
    (
        "crates/forebay-tensor/src/",
        &[
            &["error"],
            &["dtype", "shape", "layout", "level"],
            &["quant"],
            &["tensor"],
            &["note"],
            &["op", "select"],
            &["tiles", "conformance"],
            &["weight"],
            &["ops"],
            &["registry"],
        ],
    ),
    (
        "crates/forebay/src/",
        &[&["error"], &["formats"], &["quantize"], &["models"], &["generate"], &["engine"]],
    ),
];

/// Words that code of a module must not say, because they belong to a room further up.
const UNKNOWN: &[(&str, &str, &str)] =
    &[("crates/forebay-device/src/memory/", "Queue", "memory knows a fence's value, never a queue")];

/// Checks the arrows between crates.
pub(crate) fn crates(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let Some(rank) = CRATES.iter().position(|name| *name == package.name) else {
            if !package.private {
                let message = format!("{} is not shipped: say `publish = false`", package.name);
                findings.push(Finding::new(&package.manifest, 0, message));
            }
            continue;
        };
        for used in package.dependencies.iter().filter(|used| used.inside && !used.dev) {
            let fine = CRATES.iter().position(|name| *name == used.name).is_some_and(|other| other < rank);
            if !fine {
                let message =
                    format!("{} must not depend on {}: the arrows point down", package.name, used.name);
                findings.push(Finding::new(&package.manifest, 0, message));
            }
        }
    }
    findings
}

/// Checks the arrows between the modules of a crate.
pub(crate) fn modules(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (root, groups) in MODULES {
        let front = tree.sources.iter().find(|source| source.path == format!("{root}lib.rs"));
        let exports = front.map(|front| exports(&front.product)).unwrap_or_default();
        for source in &tree.sources {
            let Some(inner) = source.path.strip_prefix(root) else { continue };
            let module = module_path(inner);
            let Some(own) = module.first() else { continue };
            let Some(rank) = rank(groups, own) else {
                let message =
                    format!("module {own} has no place in the order of modules: xtask/src/tidy/arrows.rs");
                findings.push(Finding::new(&source.path, 0, message));
                continue;
            };
            for (position, name) in uses(&source.product, &module) {
                let used = exports.get(name).map_or(name, String::as_str);
                if self::rank(groups, used).is_some_and(|other| other > rank) {
                    let message = format!("module {own} must not use {used}: the arrows point down");
                    findings.push(Finding::new(&source.path, source.line(position), message));
                }
            }
        }
    }
    findings.extend(tree.sources.iter().flat_map(unknown));
    findings
}

fn unknown(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, word, why) in UNKNOWN {
        if source.path.starts_with(folder) {
            let found = source::words(&source.product).filter(|(_, other)| other == word);
            findings.extend(found.map(|(at, _)| Finding::new(&source.path, source.line(at), *why)));
        }
    }
    findings
}

fn rank(groups: &[&[&str]], module: &str) -> Option<usize> {
    groups.iter().position(|group| group.contains(&module))
}

/// The path of a module inside its crate; empty for the front page.
fn module_path(inner: &str) -> Vec<&str> {
    let mut path: Vec<_> = inner.trim_end_matches(".rs").split('/').collect();
    if matches!(path.last(), Some(&("mod" | "lib" | "main"))) {
        path.pop();
    }
    path
}

/// The first names of all paths that start at the root of the crate, by `crate` or by enough `super`s.
fn uses<'a>(code: &'a str, module: &[&str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (at, word) in source::words(code) {
        let rest = match word {
            "crate" => path_rest(code, at + word.len()),
            // A path of supers reaches the root only from its first one on.
            "super" if !code[..at].trim_end().ends_with("::") => {
                let mut rest = path_rest(code, at + word.len());
                let mut steps = 1;
                while let Some(here) = rest.filter(|here| code[*here..].starts_with("super")) {
                    rest = path_rest(code, here + "super".len());
                    steps += 1;
                }
                rest.filter(|_| steps == module.len())
            }
            _ => None,
        };
        if let Some(rest) = rest {
            found.extend(heads(code, rest));
        }
    }
    found
}

/// What follows `::`, if that is next.
fn path_rest(code: &str, at: usize) -> Option<usize> {
    let after = code[at..].trim_start();
    let after = after.strip_prefix("::")?.trim_start();
    Some(code.len() - after.len())
}

/// The first names of a path or of each path of a group in braces.
fn heads(code: &str, at: usize) -> Vec<(usize, &str)> {
    if !code[at..].starts_with('{') {
        return source::words(&code[at..]).next().map(|(step, word)| (at + step, word)).into_iter().collect();
    }
    let end = source::closing(code, at).unwrap_or(code.len());
    let mut depth = 0;
    let mut start = at + 1;
    let mut found = Vec::new();
    for (i, byte) in code.as_bytes()[..end].iter().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if (depth == 1 && *byte == b',') || depth == 0 {
            found.extend(source::words(&code[start..i]).next().map(|(step, word)| (start + step, word)));
            start = i + 1;
        }
    }
    found
}

/// For each name that a front page re-exports, the module that it comes from.
fn exports(code: &str) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for (at, _) in code.match_indices("pub use ").chain(code.match_indices("pub(crate) use ")) {
        let Some(end) = code[at..].find(';').map(|end| at + end) else { continue };
        let path =
            code[at..end].rsplit_once("use ").map_or("", |(_, path)| path).trim_start_matches("crate::");
        let mut words = source::words(path).map(|(_, word)| word);
        let Some(module) = words.next() else { continue };
        for word in words {
            names.insert(word.to_owned(), module.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        tidy::tests::{places, tree},
        workspace::{Dependency, Package},
    };

    fn package(name: &str, private: bool, used: &[(&str, bool)]) -> Package {
        let dependencies = used
            .iter()
            .map(|(name, dev)| Dependency { name: (*name).to_owned(), inside: *name != "half", dev: *dev })
            .collect();
        let manifest = format!("{name}/Cargo.toml");
        let (name, version) = (name.to_owned(), "0.1.0".to_owned());
        Package { name, version, manifest, private, dependencies, targets: vec![] }
    }

    #[test]
    fn crates_use_only_those_below() {
        let mut tree = tree(&[]);
        tree.packages = vec![
            package("forebay-device", false, &[("half", false), ("testkit", true)]),
            package("forebay-tensor", false, &[("forebay-device", false), ("forebay", false)]),
            package("forebay", false, &[("forebay-tensor", false), ("testkit", false)]),
            package("forebay-cli", false, &[("forebay", false), ("forebay-device", false)]),
            package("testkit", true, &[("forebay-device", false)]),
            package("bench", false, &[]),
        ];
        let found = crates(&tree);
        assert_eq!(
            places(&found),
            ["forebay-tensor/Cargo.toml:0", "forebay/Cargo.toml:0", "bench/Cargo.toml:0"]
        );
    }

    #[test]
    fn modules_use_only_those_below() {
        let d = "crates/forebay-device/src";
        let lib =
            (format!("{d}/lib.rs"), "mod a;\npub use command::{Session, Stage as S};\npub use error::Error;");
        let files = [
            ("caps.rs", "use crate::launch::Grid;\nuse crate::error::Error;", vec![]),
            ("backend/mod.rs", "use crate::{\n    error::{memory, Error},\n    memory::Pool,\n};", vec![3]),
            (
                "backend/cpu/queue.rs",
                "use super::super::super::command::X;\nuse super::super::memory;",
                vec![1],
            ),
            ("memory/pool.rs", "fn f() {\n    crate::command::go();\n    crate::backend::go();\n}", vec![2]),
            ("memory/mod.rs", "use crate::Session;\nuse crate::Error;\nuse super::command;", vec![1, 3]),
            (
                "memory/map.rs",
                "// crate::command\n#[cfg(test)]\nmod tests { use crate::command::A; }",
                vec![],
            ),
            ("memory/stats.rs", "struct Queue;\nstruct QueueId;", vec![1]),
            ("command/stage.rs", "use crate::{memory::A, backend::B};", vec![]),
            ("other.rs", "", vec![0]),
        ];
        let mut input = vec![(lib.0.as_str(), lib.1)];
        let paths: Vec<_> = files.iter().map(|(path, ..)| format!("{d}/{path}")).collect();
        input.extend(paths.iter().zip(&files).map(|(path, file)| (path.as_str(), file.1)));
        let found = modules(&tree(&input));
        for (path, (_, _, lines)) in paths.iter().zip(&files) {
            let mut seen: Vec<_> = found.iter().filter(|f| f.path == *path).map(|f| f.line).collect();
            seen.sort_unstable();
            assert_eq!(seen, *lines, "{path}: {found:?}");
        }
    }

    #[test]
    fn formats_never_import_models() {
        let found = modules(&tree(&[
            ("crates/forebay/src/formats/gguf.rs", "use crate::models::llama;"),
            ("crates/forebay/src/models/llama.rs", "use crate::formats::gguf;"),
        ]));
        assert_eq!(places(&found), ["crates/forebay/src/formats/gguf.rs:1"]);
    }
}
