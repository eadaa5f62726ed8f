//! A measured number in a table of the README names the record that it comes from.
//!
//! A row with a figure and a unit of speed, time or memory cites a file under `bench/records` that exists. Prose and
//! tables without such figures are left alone.

use super::{Finding, Tree};

const README: &str = "README.md";
const RECORDS: &str = "bench/records/";

/// Units that only a measurement has.
const UNITS: &[&str] = &[
    "ns", "us", "µs", "ms", "s", "GB/s", "GiB/s", "MB/s", "t/s", "tok/s", "tokens/s", "TFLOPS", "GFLOPS",
    "GB", "GiB", "MB", "MiB", "KiB", "x", "%",
];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let text = tree.files.iter().find(|(path, _)| path == README).map_or("", |(_, text)| text);
    for (i, line) in text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with('|')) {
        let cited: Vec<_> = line.match_indices(RECORDS).map(|(at, _)| path_at(&line[at..])).collect();
        for record in cited.iter().filter(|record| !tree.files.iter().any(|(path, _)| path == *record)) {
            findings.push(Finding::new(README, i + 1, format!("there is no record {record}")));
        }
        if cited.is_empty() && measured(line) {
            let message = "a measured number names its record in bench/records, in the same row";
            findings.push(Finding::new(README, i + 1, message));
        }
    }
    findings
}

fn path_at(text: &str) -> &str {
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || "/._-".contains(letter)));
    text[..end.unwrap_or(text.len())].trim_end_matches('.')
}

/// Whether a row holds a figure with a unit, together or apart.
fn measured(row: &str) -> bool {
    let words: Vec<_> =
        row.split([' ', '|', '(', ')', '*', '`', ',', ';']).filter(|word| !word.is_empty()).collect();
    let figure =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let apart = words.windows(2).any(|pair| figure(pair[0]) && UNITS.contains(&pair[1]));
    let together = words.iter().any(|word| {
        let digits = word.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        digits > 0 && UNITS.contains(&&word[digits..])
    });
    apart || together
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{places, tree};

    #[test]
    fn figures_cite_a_record_that_exists() {
        let readme = "takes 5 ms\n| op | time |\n|---|---|\n| a | 6 ns |\n| b | 6ns, `bench/records/a.jsonl` |\n\
            | c | 1.05x, bench/records/b.jsonl |\n| `q8_0` | 3 kinds, Rust 1.95 |\n| d | **31 tok/s** |";
        let found = check(&tree(&[
            ("README.md", readme),
            ("bench/records/a.jsonl", "{}"),
            ("docs/a.md", "| 6 ns |"),
        ]));
        assert_eq!(places(&found), ["README.md:4", "README.md:6", "README.md:8"]);
    }
}
