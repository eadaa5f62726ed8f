//! The shape of a file: it opens by saying what it is, and it is not too long.
//!
//! The length of functions is clippy's business (`clippy.toml`).

use super::{Finding, Tree};

/// From here on a file is worth splitting.
const SOFT: usize = 400;
/// Longer than this it must be split.
const HARD: usize = 800;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        // Attributes of the whole file may come first: a reason for unsafe is worth the first line.
        let mut lines = source.text.lines().skip_while(|line| line.starts_with("#!["));
        if !lines.next().is_some_and(|line| line.starts_with("//!")) {
            let message =
                "opens without a //! that says what it owns, what it never does and where to read on";
            findings.push(Finding::new(&source.path, 1, message));
        }
    }
    for (path, text) in &tree.files {
        if ![".rs", ".cu", ".metal"].iter().any(|end| path.ends_with(end)) {
            continue;
        }
        let lines = text.lines().count();
        if lines > SOFT {
            let mut finding =
                Finding::new(path, 0, format!("{lines} lines; a file holds one idea in at most {SOFT}"));
            finding.note = lines <= HARD;
            if !finding.note {
                finding.message = format!("{lines} lines; no file has more than {HARD}");
            }
            findings.push(finding);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    #[test]
    fn a_file_says_what_it_is() {
        let found =
            check(&tree(&[("a.rs", "//! A.\n"), ("b.rs", "// B.\n"), ("c.rs", "\n//! C.\n"), ("d.md", "D")]));
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["b.rs", "c.rs"]);
    }

    #[test]
    fn a_long_file_is_noted_and_a_longer_one_refused() {
        for (lines, wanted) in [(400, None), (401, Some(true)), (800, Some(true)), (801, Some(false))] {
            for path in ["a.rs", "a.cu"] {
                let text = format!("//! A.\n{}", "\n".repeat(lines - 1));
                let found = check(&tree(&[(path, &text)]));
                assert_eq!(found.first().map(|finding| finding.note), wanted, "{path} {lines}");
            }
        }
    }
}
