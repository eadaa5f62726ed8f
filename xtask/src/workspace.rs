//! What the workspace consists of: where it is, its packages with their targets and dependencies, its files.
//!
//! Cargo and git are asked; nothing is guessed from folder names, and nothing is judged here.
//! Next: `rungs.rs` and the checks that use these facts.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace that this program was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its manifest, from the root of the workspace.
    pub(crate) manifest: String,
    /// Never published.
    pub(crate) private: bool,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// Something that a package depends on.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// A member of the workspace, too.
    pub(crate) inside: bool,
    /// For tests, examples and benchmarks only.
    pub(crate) dev: bool,
}

/// Something that cargo builds from a package.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `example`, ...
    pub(crate) kind: String,
}

/// A command that runs the cargo that runs us.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo told this program about its own package must not reach the builds it starts.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

impl Workspace {
    /// Asks cargo about the workspace around this program.
    pub(crate) fn open() -> Result<Workspace> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no workspace")?;
        let output = cargo(root)
            .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
        let packages = list(&metadata["packages"]).iter().map(|value| package(value, root)).collect();
        Ok(Workspace { root: root.to_owned(), packages })
    }

    /// The files that git knows, or would know if they were added now, from the root and in order.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let output = Command::new("git")
            .current_dir(&self.root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .output()
            .context("cannot start git")?;
        if !output.status.success() {
            bail!("git ls-files failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut files: Vec<_> =
            names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        files.sort_unstable();
        Ok(files)
    }

    /// All targets of one kind, of the packages that are asked for by name.
    pub(crate) fn targets(&self, kind: &str, of: impl Fn(&str) -> bool) -> impl Iterator<Item = &Target> {
        let packages = self.packages.iter().filter(move |package| of(&package.name));
        packages.flat_map(|package| &package.targets).filter(move |target| target.kind == kind)
    }
}

fn package(value: &Value, root: &Path) -> Package {
    let manifest = text(&value["manifest_path"]);
    let manifest = Path::new(&manifest).strip_prefix(root).unwrap_or(Path::new(&manifest));
    let dependencies = list(&value["dependencies"]).iter().map(|used| Dependency {
        name: text(&used["name"]),
        inside: used["path"].is_string(),
        dev: used["kind"] == "dev",
    });
    let targets = list(&value["targets"])
        .iter()
        .map(|target| Target { name: text(&target["name"]), kind: text(&target["kind"][0]) });
    Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        manifest: manifest.to_string_lossy().into_owned(),
        private: value["publish"].as_array().is_some_and(Vec::is_empty),
        dependencies: dependencies.collect(),
        targets: targets.collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_knows_this_very_program() {
        let workspace = Workspace::open().unwrap();
        assert!(workspace.root.join("Cargo.lock").is_file());
        assert!(workspace.targets("bin", |package| package == "xtask").any(|target| target.name == "xtask"));
        let own = workspace.packages.iter().find(|package| package.name == "xtask").unwrap();
        assert!(own.private && own.manifest == "xtask/Cargo.toml");
        assert!(own.dependencies.iter().any(|used| used.name == "anyhow" && !used.inside && !used.dev));
        assert!(workspace.files().unwrap().iter().any(|path| path == "xtask/src/workspace.rs"));
    }
}
