//! `cargo xtask tidy`: the rules of the house that no compiler checks, each in a file of its own.
//!
//! A check looks at a [`Tree`], the workspace as data, and returns findings; it changes nothing. A finding names the
//! file, the line and what to do. A check that cannot be sure says nothing.
//! Next: `source.rs`, how code is read; `arrows.rs`, who may use whom.

mod arrows;
mod environment;
mod names;
mod records;
mod shape;
pub(crate) mod source;
mod text;
mod unsafety;

use std::{
    collections::HashSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::workspace::{Package, Workspace};
use source::Source;

/// The workspace as the checks see it.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Every file that git knows or would know and that is text, by its path from the root.
    pub(crate) files: Vec<(String, String)>,
    /// The Rust files among them.
    pub(crate) sources: Vec<Source>,
    pub(crate) packages: Vec<Package>,
}

/// Something that is not as the house wants it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from one; zero for the file as a whole.
    pub(crate) line: usize,
    pub(crate) message: String,
    /// Worth a look, but no failure.
    pub(crate) note: bool,
}

const CHECKS: &[fn(&Tree) -> Vec<Finding>] = &[
    arrows::crates,
    arrows::modules,
    unsafety::check,
    shape::check,
    names::check,
    text::check,
    environment::check,
    records::check,
    crate::mutants::kept::check,
];

/// Runs the command; true if nothing but notes was found.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    if let Some(arg) = args.first() {
        bail!("tidy takes no argument {arg:?}");
    }
    let tree = Tree::open(&Workspace::open()?)?;
    let mut findings: Vec<_> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.sort();
    findings.dedup();
    let faults = findings.iter().filter(|finding| !finding.note).count();
    print!("{}", report(&findings));
    println!("{} files, {faults} faults, {} notes", tree.files.len(), findings.len() - faults);
    Ok(faults == 0)
}

fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { path, line, message, note } in findings {
        let kind = if *note { "note: " } else { "" };
        let _ = match line {
            0 => writeln!(text, "{path}: {kind}{message}"),
            _ => writeln!(text, "{path}:{line}: {kind}{message}"),
        };
    }
    text
}

impl Tree {
    fn open(workspace: &Workspace) -> Result<Tree> {
        let files = workspace.files()?.into_iter().filter_map(|path| {
            // What is no text, or a link to another file of the tree, holds no rule of its own.
            let whole = workspace.root.join(&path);
            let plain = whole.symlink_metadata().is_ok_and(|data| data.is_file());
            let text = if plain { std::fs::read_to_string(whole).ok()? } else { return None };
            Some((path, text))
        });
        Ok(Tree::of(files.collect(), workspace.packages.clone()))
    }

    /// A tree of the given files.
    pub(crate) fn of(files: Vec<(String, String)>, packages: Vec<Package>) -> Tree {
        let rust = files.iter().filter(|(path, _)| path.ends_with(".rs"));
        let mut sources: Vec<_> = rust.map(|(path, text)| Source::new(path, text)).collect();
        let tests: HashSet<PathBuf> = sources.iter().flat_map(test_files).collect();
        for source in &mut sources {
            let path = Path::new(&source.path);
            let folder = ["tests", "benches", "examples"];
            let apart = path.components().any(|part| folder.iter().any(|name| part.as_os_str() == *name));
            if apart || tests.iter().any(|test| path == test || path.starts_with(test.with_extension(""))) {
                source.make_test();
            }
        }
        Tree { files, sources, packages }
    }
}

/// Where the modules may live that a file declares for tests only.
fn test_files(source: &Source) -> Vec<PathBuf> {
    let path = Path::new(&source.path);
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.parent().unwrap_or(Path::new("")).to_owned(),
        _ => path.with_extension(""),
    };
    source.test_modules.iter().map(|name| folder.join(format!("{name}.rs"))).collect()
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into(), note: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files that are given as pairs of path and text.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::of(
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
            Vec::new(),
        )
    }

    /// What a check finds, as `path:line` pairs.
    pub(super) fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }

    #[test]
    fn files_behind_a_test_module_are_tests() {
        let tree = tree(&[
            ("c/src/lib.rs", "mod a;\n#[cfg(test)]\nmod b;"),
            ("c/src/a.rs", "#[cfg(test)]\nmod deep;\nfn f() {}"),
            ("c/src/a/deep.rs", "fn f() {}"),
            ("c/src/b.rs", "fn f() {}"),
            ("c/src/b/child.rs", "fn f() {}"),
            ("c/src/bb.rs", "fn f() {}"),
            ("c/tests/t.rs", "fn f() {}"),
        ]);
        let product: Vec<_> =
            tree.sources.iter().filter(|s| s.product.contains("fn")).map(|s| s.path.as_str()).collect();
        assert_eq!(product, ["c/src/a.rs", "c/src/bb.rs"]);
    }

    #[test]
    fn a_report_names_place_and_kind() {
        let mut findings = vec![Finding::new("a.rs", 3, "bad"), Finding::new("b.rs", 0, "odd")];
        findings[1].note = true;
        assert_eq!(report(&findings), "a.rs:3: bad\nb.rs: note: odd\n");
    }

    #[test]
    fn this_very_tree_opens() {
        let tree = Tree::open(&Workspace::open().unwrap()).unwrap();
        assert!(tree.sources.iter().any(|source| source.path == "xtask/src/tidy/mod.rs"));
        assert!(tree.files.iter().any(|(path, _)| path == "README.md"));
    }
}
