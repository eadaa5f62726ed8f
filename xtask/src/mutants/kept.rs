//! A kept mutation: a small, wrong change to a file, why it is wrong, and the tests that must notice.
//!
//! It is a text file under `mutants/`; CONTRIBUTING.md shows one. Its change is whole lines, found by their exact text,
//! so that a mutation that no longer fits its file is noticed at once and never lands somewhere else.
//! Next: `mod.rs`, which applies them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::tidy::{Finding, Tree, source::words};

/// Where mutations are kept.
pub(crate) const FOLDER: &str = "mutants/";
const END: &str = ".mutant";
/// How long a broken test may run where the mutation does not say.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A kept mutation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mutation {
    pub(crate) name: String,
    /// The file that it changes, from the root.
    pub(crate) file: String,
    pub(crate) why: String,
    /// The tests that must fail, each of them.
    pub(crate) breaks: Vec<Broken>,
    pub(crate) timeout: Duration,
    /// Whether a test that hangs counts as one that fails.
    pub(crate) may_hang: bool,
    /// Lines to find, and lines to put in their place.
    pub(crate) changes: Vec<(String, String)>,
}

/// Tests that a mutation must break.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broken {
    pub(crate) build: Build,
    /// What the names of the tests contain.
    pub(crate) filter: String,
}

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Build {
    pub(crate) package: String,
    pub(crate) target: Target,
    /// Built with `--cfg loom`.
    pub(crate) loom: bool,
}

/// Which test program of a package.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Lib,
    Bin(String),
    Test(String),
}

impl Mutation {
    /// Reads a mutation from its file.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Mutation> {
        let name = path.strip_prefix(FOLDER).and_then(|name| name.strip_suffix(END));
        let name = name
            .filter(|name| !name.is_empty())
            .with_context(|| format!("is not called {FOLDER}NAME{END}"))?;
        let mut mutation = Mutation {
            name: name.to_owned(),
            file: String::new(),
            why: String::new(),
            breaks: Vec::new(),
            timeout: TIMEOUT,
            may_hang: false,
            changes: Vec::new(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((i, line)) = lines.next() {
            let at = || format!("line {}", i + 1);
            if line == "find:" {
                let found = section(&mut lines, "replace:").with_context(at)?;
                let put = section(&mut lines, "end").with_context(at)?;
                ensure!(!found.trim().is_empty(), "line {}: nothing to find", i + 1);
                ensure!(found != put, "line {}: changes nothing", i + 1);
                mutation.changes.push((found, put));
            } else if !line.trim().is_empty() {
                let (key, value) = line.split_once(": ").with_context(at).context("is no `key: value`")?;
                mutation.set(key, value.trim()).with_context(at)?;
            }
        }
        ensure!(!mutation.file.is_empty(), "has no `file:`");
        ensure!(!mutation.why.is_empty(), "has no `why:`");
        ensure!(!mutation.breaks.is_empty(), "has no `breaks:`");
        ensure!(!mutation.changes.is_empty(), "has no `find:`");
        Ok(mutation)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match (key, value) {
            ("file", _) => value.clone_into(&mut self.file),
            ("why", _) => value.clone_into(&mut self.why),
            ("breaks", _) => self.breaks.push(broken(value)?),
            ("timeout", _) => {
                self.timeout = Duration::from_secs(value.parse().context("a number of seconds")?)
            }
            ("hang", "caught") => self.may_hang = true,
            _ => bail!("there is no `{key}: {value}`"),
        }
        Ok(())
    }

    /// The text of the file with the change made, if each part fits in exactly one place.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for (i, (found, put)) in self.changes.iter().enumerate() {
            let starts = |at: &usize| *at == 0 || text.as_bytes()[at - 1] == b'\n';
            let places: Vec<_> =
                text.match_indices(found.as_str()).map(|(at, _)| at).filter(starts).collect();
            let &[at] = places.as_slice() else {
                bail!("change {} fits in {} places of {}, wants exactly one", i + 1, places.len(), self.file);
            };
            text.replace_range(at..at + found.len(), put);
        }
        Ok(text)
    }
}

/// The lines up to one that says `end`, each with its line break.
fn section<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, end: &str) -> Result<String> {
    let mut text = String::new();
    for (_, line) in lines {
        if line == end {
            return Ok(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    bail!("no line `{end}` follows")
}

/// Reads `PACKAGE [loom] lib|bin:NAME|test:NAME FILTER`.
fn broken(value: &str) -> Result<Broken> {
    let mut words: Vec<_> = value.split_whitespace().collect();
    let loom = words.get(1) == Some(&"loom");
    if loom {
        words.remove(1);
    }
    let &[package, target, filter] = words.as_slice() else { bail!("wants `PACKAGE [loom] TARGET TEST`") };
    let target = match target.split_once(':') {
        None if target == "lib" => Target::Lib,
        Some(("bin", name)) => Target::Bin(name.to_owned()),
        Some(("test", name)) => Target::Test(name.to_owned()),
        _ => bail!("{target} is no lib, bin:NAME or test:NAME"),
    };
    Ok(Broken { build: Build { package: package.to_owned(), target, loom }, filter: filter.to_owned() })
}

/// Finds mutations that cannot be read or no longer fit.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files.iter().filter(|(path, _)| path.starts_with(FOLDER)) {
        let fits = Mutation::parse(path, text).and_then(|mutation| {
            let file = tree.files.iter().find(|(path, _)| *path == mutation.file);
            let (_, text) = file.with_context(|| format!("there is no {}", mutation.file))?;
            mutation.apply(text)?;
            for broken in &mutation.breaks {
                ensure!(names(tree, &broken.filter), "no test is called {}", broken.filter);
            }
            Ok(())
        });
        if let Err(error) = fits {
            findings.push(Finding::new(path, 0, format!("{error:#}")));
        }
    }
    findings
}

/// Whether the last name of a path of tests is part of a name in some Rust file.
fn names(tree: &Tree, filter: &str) -> bool {
    let path: Vec<_> = filter.split("::").filter(|name| !name.is_empty()).collect();
    let Some(last) = path.last() else { return false };
    tree.sources.iter().any(|source| words(&source.code).any(|(_, word)| word.contains(last)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const SAMPLE: &str = "file: a/src/lib.rs\nwhy: it says one\nbreaks: a lib says_two\n\
        breaks: b loom test:c p1_\nhang: caught\ntimeout: 7\n\nfind:\n    two()\nreplace:\n    one()\n    // and\nend\n";

    #[test]
    fn a_mutation_is_read() {
        let mutation = Mutation::parse("mutants/m.mutant", SAMPLE).unwrap();
        assert_eq!((mutation.name.as_str(), mutation.file.as_str()), ("m", "a/src/lib.rs"));
        assert_eq!((mutation.timeout, mutation.may_hang), (Duration::from_secs(7), true));
        assert_eq!(mutation.changes, [("    two()\n".to_owned(), "    one()\n    // and\n".to_owned())]);
        assert_eq!(mutation.breaks[0], broken("a lib says_two").unwrap());
        assert_eq!(mutation.breaks[1].build.target, Target::Test("c".to_owned()));
        assert!(mutation.breaks[1].build.loom && !mutation.breaks[0].build.loom);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (from, to) in [
            ("file: a/src/lib.rs", ""),
            ("why: it says one", ""),
            ("breaks: a lib says_two", "breaks: a says_two"),
            ("breaks: a lib says_two", "breaks: a library says_two"),
            ("hang: caught", "hang: maybe"),
            ("timeout: 7", "timeout: long"),
            ("replace:", "put:"),
            ("\nend", "\nfin"),
            ("    two()\n", ""),
            ("    one()\n    // and\n", "    two()\n"),
        ] {
            assert!(SAMPLE.contains(from));
            assert!(
                Mutation::parse("mutants/m.mutant", &SAMPLE.replacen(from, to, 1)).is_err(),
                "{from} -> {to}"
            );
        }
        assert!(Mutation::parse("mutants/m.txt", SAMPLE).is_err());
    }

    #[test]
    fn a_change_fits_in_exactly_one_place_of_whole_lines() {
        let mutation = Mutation::parse("mutants/m.mutant", SAMPLE).unwrap();
        assert_eq!(mutation.apply("a\n    two()\nb\n").unwrap(), "a\n    one()\n    // and\nb\n");
        for other in ["a\n", "    two()\n    two()\n", "x    two()\n", "    two() + 1\n"] {
            assert!(mutation.apply(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_stale_mutation_is_found() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let mutant = file("mutants/m.mutant", SAMPLE);
        let code = file("a/src/lib.rs", "    two()\n");
        let tests = file("a/tests/c.rs", "fn it_says_two() {}\ncontract!(p1_one);");
        let found = |files: &[&(String, String)]| {
            check(&Tree::of(files.iter().map(|file| (*file).clone()).collect(), Vec::new())).len()
        };
        assert_eq!(found(&[&mutant, &code, &tests]), 0);
        assert_eq!(found(&[&mutant, &tests]), 1);
        assert_eq!(found(&[&mutant, &file("a/src/lib.rs", "two()\n"), &tests]), 1);
        assert_eq!(found(&[&mutant, &code]), 1);
        assert_eq!(found(&[&mutant, &code, &file("a/tests/c.rs", "// says_two\nfn p1_() {}")]), 1);
    }
}
