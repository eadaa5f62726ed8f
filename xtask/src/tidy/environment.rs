//! Below the program nobody reads the environment, the arguments or where the process stands: options are values.
//!
//! Only shipped libraries are looked at, and of them only what is shipped; the program, tests and chores may read.

use super::{Finding, Tree, source};

/// The shipped libraries.
const LIBRARIES: &[&str] =
    &["crates/forebay-device/src/", "crates/forebay-tensor/src/", "crates/forebay/src/"];

/// Functions of `std::env` that read, or change, what the process was given.
const READS: &[&str] = &[
    "var",
    "var_os",
    "vars",
    "vars_os",
    "args",
    "args_os",
    "set_var",
    "remove_var",
    "temp_dir",
    "home_dir",
    "current_dir",
    "set_current_dir",
    "current_exe",
];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = tree.sources.iter().filter(|s| LIBRARIES.iter().any(|library| s.path.starts_with(library)));
    for source in sources {
        let code = &source.product;
        for (at, _) in source::words(code).filter(|(_, word)| *word == "env") {
            let after = &code[at + "env".len()..];
            let Some(path) = after.trim_start().strip_prefix("::").map(str::trim_start) else { continue };
            let names = match path.strip_prefix('{') {
                Some(group) => &group[..group.find('}').unwrap_or(group.len())],
                None => &path[..path.bytes().position(|byte| !source::is_word(byte)).unwrap_or(path.len())],
            };
            for (_, name) in source::words(names).filter(|(_, name)| READS.contains(name)) {
                let message = format!("a library does not call env::{name}: take the value as an option");
                findings.push(Finding::new(&source.path, source.line(at), message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{places, tree};

    #[test]
    fn libraries_read_no_environment() {
        let file = "crates/forebay/src/engine.rs";
        for (text, wrong) in [
            ("let a = std::env::var(\"A\");", true),
            ("use std::env::{consts, args_os};", true),
            ("let a = env :: temp_dir();", true),
            ("let a = std::env::consts::OS; let b = env!(\"CARGO_PKG_VERSION\");", false),
            ("let env = 1; // std::env::var", false),
            ("#[cfg(test)]\nmod tests { fn a() { std::env::var(\"A\"); } }", false),
        ] {
            assert_eq!(!check(&tree(&[(file, text)])).is_empty(), wrong, "{text}");
        }
        let text = "fn a() {\n    std::env::args();\n}";
        let files = [
            "crates/forebay-cli/src/main.rs",
            "crates/testkit/src/lib.rs",
            "crates/forebay/tests/a.rs",
            file,
        ];
        let found = check(&tree(&files.map(|path| (path, text))));
        assert_eq!(places(&found), [format!("{file}:2")]);
    }
}
