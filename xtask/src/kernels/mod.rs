//! `cargo xtask kernels`: compiles every CUDA source under `crates` and packs what comes out into one file beside it.
//!
//! The packed file carries the hash of all that it was made of, so that a source that was changed and not compiled is
//! found without a compiler. What is compiled for which card is the list in `compiler.rs`; the format of the file is
//! in `bundle.rs`, and is read by the device layer.

mod bundle;
mod compiler;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::{ladder::Run, workspace::Workspace};
use compiler::Compiler;

/// A CUDA source, with everything that its code depends on.
struct Source {
    path: PathBuf,
    hash: [u8; 32],
}

impl Source {
    fn open(root: &Path, name: &str) -> Result<Self> {
        let mut texts = BTreeMap::new();
        gather(&root.join(name), &mut texts)?;
        let mut hash = Sha256::new();
        hash.update(compiler::recipe());
        for (path, text) in texts {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            hash.update(format!("\n{name} {}\n", text.len()));
            hash.update(text);
        }
        Ok(Self { path: root.join(name), hash: hash.finalize().into() })
    }

    fn bundle(&self) -> PathBuf {
        self.path.with_extension("bundle")
    }
}

/// A file and all that it includes by a quoted name.
fn gather(path: &Path, texts: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    if texts.contains_key(path) {
        return Ok(());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let quoted = |line: &str| -> Option<PathBuf> {
        let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
        let (name, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(path.parent()?.join(name))
    };
    let included: Vec<_> = text.lines().filter_map(quoted).collect();
    texts.insert(path.to_owned(), text);
    included.iter().try_for_each(|path| gather(path, texts))
}

fn sources(workspace: &Workspace) -> Result<Vec<Source>> {
    let names = workspace.files()?;
    let cuda = names.iter().filter(|name| name.starts_with("crates/") && name.ends_with(".cu"));
    let sources = cuda.map(|name| Source::open(&workspace.root, name)).collect::<Result<Vec<_>>>()?;
    ensure!(!sources.is_empty(), "there is no CUDA source under crates");
    Ok(sources)
}

/// Runs the command; true if all is well.
pub(crate) fn command(args: &[String]) -> Result<bool> {
    let workspace = Workspace::open()?;
    match args {
        [] => compile(&workspace),
        [only] if only == "--check" => check(&workspace),
        _ => bail!("kernels takes nothing, or --check"),
    }
}

/// Compiles what was changed since it was packed.
fn compile(workspace: &Workspace) -> Result<bool> {
    let mut compiler = None;
    for source in sources(workspace)? {
        let name = source.path.strip_prefix(&workspace.root).unwrap_or(&source.path).display().to_string();
        if is_packed(&source) {
            println!("{name}: unchanged");
            continue;
        }
        let compiler = match &mut compiler {
            Some(compiler) => compiler,
            none => none.insert(Compiler::fetch(&workspace.root)?),
        };
        let images = compiler.images(&source.path)?;
        let packed = bundle::pack(&source.hash, &images);
        println!("{name}: {} images, {} bytes packed", images.len(), packed.len());
        fs::write(source.bundle(), packed).with_context(|| format!("cannot write the bundle of {name}"))?;
    }
    Ok(true)
}

fn is_packed(source: &Source) -> bool {
    fs::read(source.bundle()).is_ok_and(|bytes| bundle::hash(&bytes) == Some(&source.hash))
}

/// Whether every bundle was made of what its source is now. Needs no compiler.
fn check(workspace: &Workspace) -> Result<bool> {
    let mut fine = true;
    for source in sources(workspace)? {
        if !is_packed(&source) {
            let name = source.path.strip_prefix(&workspace.root).unwrap_or(&source.path).display();
            println!(
                "{name}: its bundle is missing or was made of something else; run `cargo xtask kernels`"
            );
            fine = false;
        }
    }
    Ok(fine)
}

/// A rung: compiles every source, and holds what comes out against what is packed.
pub(crate) fn rung(run: &mut Run<'_>) -> Result<()> {
    let compiler = Compiler::fetch(&run.workspace.root)?;
    for source in sources(run.workspace)? {
        let packed = fs::read(source.bundle()).unwrap_or_default();
        let same = bundle::pack(&source.hash, &compiler.images(&source.path)?) == packed;
        run.count(same);
        ensure!(
            same,
            "{} does not compile to what is packed; run `cargo xtask kernels`",
            source.path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_includes_is_part_of_its_hash() {
        let folder = std::env::temp_dir().join(format!("forebay-kernels-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("a.cu", "#include <stdint.h>\n  # include \"deep/b.cuh\"\nint a;\n");
        write("deep/b.cuh", "#pragma once\n#include \"c.cuh\"\n#include \"b.cuh\"\n");
        write("deep/c.cuh", "int c;\n");
        let hash = || Source::open(&folder, "a.cu").unwrap().hash;
        let before = hash();
        assert_eq!(before, hash());
        write("deep/c.cuh", "int d;\n");
        assert_ne!(before, hash());
        fs::remove_file(folder.join("deep/c.cuh")).unwrap();
        assert!(Source::open(&folder, "a.cu").is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn every_bundle_was_made_of_what_its_source_is() {
        assert!(check(&Workspace::open().unwrap()).unwrap());
    }
}
