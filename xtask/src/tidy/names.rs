//! Names that say nothing, or say when something was made instead of how it differs.
//!
//! Only what is declared is looked at, and files and folders; a use of somebody else's name is no fault of ours.

use super::{Finding, Tree, source};

/// Words that name a heap of leftovers.
const HEAPS: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc"];
/// Words that say when, or how good, instead of what.
const RANKS: &[&str] = &["new", "fast", "old", "legacy"];
/// The product is the crate's name; types do not repeat it.
const PRODUCT: &str = "forebay";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in &tree.files {
        let stems = path.split('/').filter_map(|part| part.split('.').find(|stem| !stem.is_empty()));
        for word in stems.flat_map(split).filter(|word| heap(word) || rank(word)) {
            findings.push(Finding::new(
                path,
                0,
                format!("{word:?} in a file's name does not say what is in it"),
            ));
        }
    }
    for source in &tree.sources {
        let mut before = "";
        for (at, word) in source::words(&source.product) {
            let fault = match before {
                "mod" => module(word),
                "fn" => function(word),
                "struct" | "enum" | "trait" | "type" | "union" => kind(word),
                "const" | "static" if word != "mut" => constant(word),
                _ => None,
            };
            if let Some(fault) = fault {
                findings.push(Finding::new(
                    &source.path,
                    source.line(at),
                    format!("{before} {word}: {fault}"),
                ));
            }
            before = word;
        }
    }
    findings
}

fn module(name: &str) -> Option<&'static str> {
    split(name).iter().any(|word| heap(word) || rank(word)).then_some(WEAK)
}

/// A constructor may start with `new`.
fn function(name: &str) -> Option<&'static str> {
    let words = split(name);
    let (first, last) = (words.first()?.as_str(), words.last()?.as_str());
    let weak = words.iter().any(|word| heap(word) && word != "common" && word != "misc")
        || matches!(first, "fast" | "old" | "legacy")
        || (words.len() > 1 && rank(last) && name != "try_new");
    weak.then_some(WEAK)
}

fn kind(name: &str) -> Option<&'static str> {
    let words = split(name);
    let (first, last) = (words.first()?.as_str(), words.last()?.as_str());
    if first == PRODUCT {
        return Some("a type does not carry the product's name");
    }
    (heap(last) || rank(last) || (words.len() > 1 && rank(first))).then_some(WEAK)
}

fn constant(name: &str) -> Option<&'static str> {
    split(name).last().is_some_and(|last| heap(last)).then_some(WEAK)
}

const WEAK: &str = "this name does not say what it is or how it differs";

fn heap(word: &str) -> bool {
    HEAPS.contains(&word)
}

fn rank(word: &str) -> bool {
    let version = word.strip_prefix('v').is_some_and(|digits| matches!(digits, "1" | "2" | "3" | "4"));
    RANKS.contains(&word) || version
}

/// The words of a name in snake, kebab or camel case, in lower case.
fn split(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut upper_before = true;
    for part in name.split(['_', '-']).filter(|part| !part.is_empty()) {
        words.push(String::new());
        for letter in part.chars() {
            let empty = words.last().is_none_or(String::is_empty);
            if letter.is_uppercase() && !upper_before && !empty {
                words.push(String::new());
            }
            upper_before = letter.is_uppercase();
            if let Some(word) = words.last_mut() {
                word.extend(letter.to_lowercase());
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    #[test]
    fn names_split_where_people_see_words() {
        for (name, wanted) in [
            ("HostPool", "host pool"),
            ("split_k", "split k"),
            ("LIMIT_V2", "limit v2"),
            ("PoolV2", "pool v2"),
            ("GGUFFile", "gguffile"),
            ("_x", "x"),
        ] {
            assert_eq!(split(name).join(" "), wanted);
        }
    }

    #[test]
    fn weak_names_are_found_and_good_ones_are_not() {
        for (text, wrong) in [
            ("fn new() {} fn new_in(a: A) {} fn try_new() {} fn renew() {}", 0),
            ("fn common_prefix() {} fn breakfast() {} fn manage() {}", 0),
            ("struct CommonPrefix; enum News { Fast } trait Newer {} type Futile = A;", 0),
            ("use a::new_pool; fn f() { helper(); utils::x(); }", 0),
            ("#[cfg(test)] mod tests { fn helper() {} }", 0),
            ("fn pool_new() {}", 1),
            ("fn fast_path() {}", 1),
            ("fn matmul_v2() {}", 1),
            ("fn alloc_helper() {}", 1),
            ("struct PoolManager; struct NewPool; struct PoolV2; struct ForebayPool;", 4),
            ("mod utils; mod new_pool;", 2),
        ] {
            let found = check(&tree(&[("a.rs", text)]));
            assert_eq!(found.len(), wrong, "{text}: {found:?}");
        }
    }

    #[test]
    fn files_and_folders_say_what_is_in_them() {
        let good = ["crates/a/src/pool.rs", "README.md", ".ci/run", "docs/life-of-a-token.md", "a/news.rs"];
        let bad = ["crates/common/src/a.rs", "crates/a/src/utils.rs", "a/pool_v2.rs", "a/matmul-fast.cu"];
        for (paths, wanted) in [(good.as_slice(), 0), (bad.as_slice(), 1)] {
            for path in paths {
                assert_eq!(check(&tree(&[(path, "")])).len(), wanted, "{path}");
            }
        }
    }
}
