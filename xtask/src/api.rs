//! What the library `forebay` offers, name by name, as its documentation has it: kept in a file, so that no change of it is an accident.
//!
//! It reads the pages that rustdoc writes, and of those what is declared, never what is said about it. Next room:
//! `ladder/rungs.rs`, which compares.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    ladder::Run,
    workspace::{self, Workspace},
};

/// The library, and the file with its names.
const LIBRARY: &str = "forebay";
const FILE: &str = "crates/forebay/api.txt";
/// What writes the pages. The program has the library's name, so that pages of both would lie in one folder.
const BUILD: [&str; 6] = ["doc", "--package", LIBRARY, "--no-deps", "--features", "schema"];
/// What pages of items are called.
const ITEMS: [&str; 7] = ["struct.", "enum.", "trait.", "fn.", "type.", "constant.", "macro."];

/// `cargo xtask api`: writes the file anew.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "api takes no arguments");
    let workspace = Workspace::open()?;
    let pages = clean(&workspace)?;
    let built = workspace::cargo(&workspace.root).args(BUILD).status().context("cannot start cargo")?;
    ensure!(built.success(), "the documentation cannot be built");
    let listing = listing(&pages)?;
    fs::write(workspace.root.join(FILE), &listing).with_context(|| format!("cannot write {FILE}"))?;
    println!("{FILE}: {} lines", listing.lines().count());
    Ok(true)
}

/// Builds the documentation anew and compares.
pub(crate) fn check(run: &mut Run<'_>) -> Result<()> {
    let (pages, file) = (clean(run.workspace)?, run.workspace.root.join(FILE));
    run.cargo(&BUILD).check()?;
    let (found, kept) = (listing(&pages)?, fs::read_to_string(&file).unwrap_or_default());
    let [now, before] = [&found, &kept].map(|text| text.lines().collect::<BTreeSet<&str>>());
    let all = now.difference(&before).map(|line| format!("+ {line}"));
    let all: Vec<String> = all.chain(before.difference(&now).map(|line| format!("- {line}"))).collect();
    let shown = all.iter().take(20).fold(String::new(), |text, line| format!("{text}\n  {line}"));
    ensure!(
        found == kept,
        "{} lines of {FILE} are no longer so; if that is meant, run cargo xtask api and commit it:{shown}",
        all.len()
    );
    Ok(())
}

/// Where pages will be; those of what is gone would stay, so all are removed.
fn clean(workspace: &Workspace) -> Result<PathBuf> {
    let pages = workspace.root.join("target/doc").join(LIBRARY);
    if pages.exists() {
        fs::remove_dir_all(&pages).context("cannot remove the documentation that was built before")?;
    }
    Ok(pages)
}

/// All that is declared, in the order of paths.
fn listing(folder: &Path) -> Result<String> {
    let mut paths = Vec::new();
    gather(folder, &mut paths)?;
    ensure!(!paths.is_empty(), "there is no documentation in {}; build it first", folder.display());
    paths.sort();
    let mut listing = String::new();
    for path in paths {
        let page = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let inner = path.strip_prefix(folder)?.with_extension("");
        let inner = inner.to_string_lossy().replace('/', "::");
        let (module, item) = inner.rsplit_once("::").map_or(("", &*inner), |(module, item)| (module, item));
        let name = item.split_once('.').map_or(item, |(_, name)| name);
        let lines = declared(&page);
        // Pages that only lead to another one declare nothing.
        if lines.is_empty() {
            continue;
        }
        let between = if module.is_empty() { "" } else { "::" };
        listing.push_str(&format!("\n{LIBRARY}::{module}{between}{name}\n"));
        lines.iter().for_each(|line| listing.push_str(&format!("    {line}\n")));
    }
    Ok(listing.trim_start().to_owned())
}

fn gather(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            gather(&path, paths)?;
        } else if name.ends_with(".html") && ITEMS.iter().any(|item| name.starts_with(item)) {
            paths.push(path);
        }
    }
    Ok(())
}

/// The item itself, its own methods, and the traits that it was given by hand.
fn declared(page: &str) -> Vec<String> {
    let between = |text: &str, open: &str, close: &str| -> Vec<String> {
        let parts = text.split(open).skip(1);
        parts.filter_map(|part| Some(words(part.split_once('>')?.1.split_once(close)?.0))).collect()
    };
    let page = page.split("id=\"synthetic-implementations\"").next().unwrap_or_default();
    let (own, traits) = page.split_once("id=\"trait-implementations\"").unwrap_or((page, ""));
    let mut lines = between(own, "<pre class=\"rust item-decl\"", "</pre>");
    lines.extend(between(own, "<h4 class=\"code-header\"", "</h4>"));
    let mut given = between(traits, "<h3 class=\"code-header\"", "</h3>");
    given.sort();
    lines.extend(given);
    lines
}

/// The text of a piece of a page, on one line.
fn words(html: &str) -> String {
    let mut text = String::new();
    for part in html.split("<summary").enumerate().map(|(number, part)| match number {
        0 => part,
        // What opens a list that is folded says nothing.
        _ => part.split_once("</summary>").map_or("", |(_, rest)| rest),
    }) {
        let mut rest = part;
        while let Some((before, tag)) = rest.split_once('<') {
            text.push_str(before);
            rest = tag.split_once('>').map_or("", |(_, rest)| rest);
        }
        text.push_str(rest);
    }
    for (written, meant) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")] {
        text = text.replace(written, meant);
    }
    text.replace("]pub ", "] pub ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found_and_what_is_said_is_not() {
        let page = r##"<pre class="rust item-decl"><code>pub struct <a href="x">A</a>&lt;T&gt; {
            <details><summary class="hideme"><span>Show 2 fields</span></summary>pub b: T, }</details></code></pre><p>pub fn said()</p>
            <h4 class="code-header">pub fn <a href="#method.c">c</a>(&amp;self)</h4>
            <h2 id="trait-implementations"></h2><h3 class="code-header">impl Debug for A</h3><h4 class="code-header">fn fmt()</h4>
            <h2 id="synthetic-implementations"></h2><h3 class="code-header">impl Send for A</h3>"##;
        assert_eq!(declared(page), ["pub struct A<T> { pub b: T, }", "pub fn c(&self)", "impl Debug for A"]);
    }
}
