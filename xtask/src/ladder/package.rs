//! What would be published: that each shipped crate packs, is small enough and carries its licences.
//!
//! Nothing is uploaded, and nothing that is packed is built; the other rungs build the same sources.

use anyhow::{Context, Result, ensure};

use super::run::Run;

/// What the registry takes at most, in bytes.
const LARGEST: u64 = 10 << 20;
/// What every published crate carries.
const CARRIED: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "Cargo.toml"];

/// Packs every crate that is published and looks at the result.
pub(super) fn check(run: &mut Run<'_>) -> Result<()> {
    let shipped: Vec<_> = run.workspace.packages.iter().filter(|package| !package.private).collect();
    let mut args = vec!["package", "--no-verify", "--allow-dirty", "--locked"];
    args.extend(shipped.iter().flat_map(|package| ["--package", &package.name]));
    run.cargo(&args).check()?;
    let folder = run.workspace.root.join("target").join("package");
    for package in &shipped {
        let path = folder.join(format!("{}-{}.crate", package.name, package.version));
        let size = path.metadata().with_context(|| format!("there is no {}", path.display()))?.len();
        ensure!(size <= LARGEST, "{} is {size} bytes packed; the registry takes {LARGEST}", package.name);
        let files = run
            .cargo(&["package", "--list", "--allow-dirty", "--locked", "--package", &package.name])
            .check()?;
        for file in CARRIED {
            ensure!(files.lines().any(|line| line == *file), "{} does not carry {file}", package.name);
        }
    }
    Ok(())
}
