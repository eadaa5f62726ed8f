//! Text that does not belong in the repository: places on somebody's machine, unknown hosts, loose ends, diaries.
//!
//! Paths, hosts and loose ends are looked for in every file, dates and tickets only in the comments of Rust files.

use super::{Finding, Tree, source::is_word};

/// Folders at the root of a file system that mean one machine.
const ROOTS: &[&str] = &["work", "tmp", "home", "root", "Users", "mnt"];

/// Marks of unfinished work, in halves so that this file does not hold one.
const LOOSE: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// The hosts that a link may point to. Anything else is somebody's mirror, or needs a thought and a line here.
const HOSTS: &[&str] = &[
    "apache.org",
    "arxiv.org",
    "crates.io",
    "developer.apple.com",
    "doc.rust-lang.org",
    "docs.nvidia.com",
    "docs.rs",
    "example.com",
    "github.com",
    "huggingface.co",
    "keepachangelog.com",
    "opensource.org",
    "pypi.org",
    "rustup.rs",
    "semver.org",
    "www.apache.org",
    "www.rust-lang.org",
];

/// Files whose text is not ours to change.
const FOREIGN: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        if FOREIGN.contains(&path.as_str()) {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let faults = [machine_path(line), host(line), loose_end(line)];
            findings.extend(faults.into_iter().flatten().map(|message| Finding::new(path, i + 1, message)));
        }
    }
    for source in &tree.sources {
        for comment in &source.comments {
            let faults = [date(&comment.text), ticket(&comment.text)];
            let faults = faults.into_iter().flatten();
            findings.extend(faults.map(|message| Finding::new(&source.path, comment.line, message)));
        }
    }
    findings
}

/// A path from the root of a machine's file system. What stands behind another part of a path is relative.
fn machine_path(line: &str) -> Option<String> {
    for root in ROOTS {
        let wanted = format!("/{root}/");
        for (at, _) in line.match_indices(&wanted) {
            let before = line[..at].bytes().next_back();
            let relative = before.is_some_and(|byte| is_word(byte) || b".-*})]>/~$%".contains(&byte));
            if !relative {
                return Some(format!("{wanted} is a place on one machine"));
            }
        }
    }
    None
}

fn host(line: &str) -> Option<String> {
    for (at, scheme) in line.match_indices("://") {
        let named = line[..at].ends_with("http") || line[..at].ends_with("https");
        let host = &line[at + scheme.len()..];
        let end = host.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b".-_@:".contains(&byte)));
        let host = host[..end.unwrap_or(host.len())].trim_end_matches(['.', ':']);
        // A scheme alone, or one that ends in a placeholder, names no host.
        if named && host.contains('.') && !HOSTS.contains(&host) {
            return Some(format!("{host} is no host that this repository links to: xtask/src/tidy/text.rs"));
        }
    }
    None
}

fn loose_end(line: &str) -> Option<String> {
    for mark in LOOSE {
        for (at, _) in line.match_indices(mark) {
            let before = line[..at].bytes().next_back().is_some_and(is_word);
            let after = line[at + mark.len()..].bytes().next().is_some_and(is_word);
            if !before && !after {
                return Some(format!("{mark}: do it, or write it where work is planned"));
            }
        }
    }
    None
}

/// A day or a month of a year in this century, in figures.
fn date(comment: &str) -> Option<String> {
    let bytes = comment.as_bytes();
    for (i, window) in bytes.windows(7).enumerate() {
        let shape = window.iter().zip(b"20dd-dd").all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            _ => byte == want,
        });
        let month = shape && (1..=12).contains(&((window[5] - b'0') * 10 + (window[6] - b'0')));
        let alone = (i == 0 || !is_word(bytes[i - 1])) && !bytes.get(i + 7).copied().is_some_and(is_word);
        if month && alone {
            return Some("a comment says what holds, not since when".to_owned());
        }
    }
    None
}

/// `#12` standing alone.
fn ticket(comment: &str) -> Option<String> {
    for (at, _) in comment.match_indices('#') {
        let before = comment[..at].bytes().next_back();
        let alone = before.is_none_or(|byte| byte == b' ' || byte == b'(');
        let rest = &comment[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let ends = !rest.as_bytes().get(digits).copied().is_some_and(is_word);
        if alone && digits > 0 && ends {
            return Some("a comment says why, not which ticket".to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{places, tree};

    #[test]
    fn places_on_a_machine_are_found() {
        // Slashes are put in late, so that this file passes its own check.
        for bad in ["cd @work@x", "\"@tmp@x\"", "(@home@me@x)", "path=@root@x", "a:@Users@x@"] {
            assert!(machine_path(&bad.replace('@', "/")).is_some(), "{bad}");
        }
        for good in [
            "target/tmp/x",
            "../work/x",
            "$HOME/work/x",
            "/workshop/x",
            "/usr/lib/x",
            "a/ work /b",
            "~/tmp/x",
        ] {
            assert!(machine_path(good).is_none(), "{good}");
        }
    }

    #[test]
    fn only_known_hosts_are_linked() {
        assert!(host("see https://docs.rs/half/ and <http://crates.io>.").is_none());
        assert!(host("registry+https://github.com/rust-lang/crates.io-index").is_none());
        assert!(host("https:// and http://{host}/x and file://a.b/c").is_none());
        let mirror = ["https:/", "/mirror.example.net/x"].concat();
        assert!(host(&mirror).is_some());
        assert!(host(&["see https:/", "/docs.rs and http:/", "/10.0.0.1:80/"].concat()).is_some());
    }

    #[test]
    fn loose_ends_dates_and_tickets_are_found_where_they_count() {
        let mark = LOOSE[0];
        assert!(loose_end(&format!("// {mark}: later")).is_some());
        assert!(loose_end(&format!("{mark}S and MY_{mark} are words")).is_none());
        assert!(date("// since 2031-07-09 it holds").is_some());
        assert!(date("// in (2031-07) it held").is_some());
        assert!(date("// 2031-99 and 12031-07 and ids 2031-07x").is_none());
        assert!(ticket("// see #12.").is_some() && ticket("(#7)").is_some());
        assert!(ticket("#[x] C# a#1 &#39; # 1 #1a").is_none());
        let text = "//! A.\nlet a = \"#12 2031-07-09\";\n// of 2031-07-09\n";
        assert_eq!(places(&check(&tree(&[("a.rs", text), ("b.md", "2031-07-09 #12")]))), ["a.rs:3"]);
    }
}
