//! NVIDIA's compiler, as it lies on PyPI: fetched once into `target/nvcc`, in one version, and called for each card.
//!
//! No toolkit has to be installed. What is fetched is not committed, and nothing that is shipped depends on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::bundle::{CUBIN, Image, PTX};

/// The packages that make up the compiler. The version decides which drivers can use the code.
pub(crate) const PACKAGES: &[&str] = &[
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
];
const FLAGS: &[&str] = &["-O3", "-std=c++17"];
/// What machine code is made for. The letter allows what only that generation has.
const CARDS: &[&str] = &["80", "86", "89", "90a", "100", "120"];
/// What cards that are not in the list get, to be compiled by their driver.
const ANY_CARD: &str = "80";

/// Everything that decides what a source compiles to, beside its text.
pub(super) fn recipe() -> String {
    [PACKAGES, FLAGS, CARDS, &[ANY_CARD]].map(|part| part.join(" ")).join("\n")
}

/// The compiler, ready to be called.
pub(super) struct Compiler {
    root: PathBuf,
    work: PathBuf,
}

impl Compiler {
    /// Fetches the compiler, unless it is there.
    pub(super) fn fetch(root: &Path) -> Result<Self> {
        let folder = root.join("target").join("nvcc");
        let compiler = Self { root: folder.join("root/nvidia/cu13"), work: folder.join("work") };
        let done = folder.join("packages");
        let wanted = PACKAGES.join("\n");
        if fs::read_to_string(&done).is_ok_and(|have| have == wanted) {
            return Ok(compiler);
        }
        let wheels = folder.join("wheels");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&compiler.work).with_context(|| format!("cannot make {}", folder.display()))?;
        let python = |args: &[&str]| -> Result<()> { succeed(Command::new("python3").arg("-m").args(args)) };
        let into = wheels.to_string_lossy().into_owned();
        let download = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", &into];
        python(&[download.as_slice(), PACKAGES].concat())?;
        let target = folder.join("root").to_string_lossy().into_owned();
        for wheel in fs::read_dir(&wheels)? {
            python(&["zipfile", "-e", &wheel?.path().to_string_lossy(), &target])?;
        }
        for bin in ["bin", "nvvm/bin"] {
            for program in fs::read_dir(compiler.root.join(bin))? {
                make_executable(&program?.path())?;
            }
        }
        fs::write(&done, wanted)?;
        Ok(compiler)
    }

    /// Compiles a source for every card, as many at a time as there are processors.
    pub(super) fn images(&self, source: &Path) -> Result<Vec<Image>> {
        let wanted: Vec<_> = CARDS.iter().map(|card| (*card, CUBIN)).chain([(ANY_CARD, PTX)]).collect();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let mut images = Vec::new();
        for some in wanted.chunks(processors) {
            thread::scope(|scope| -> Result<()> {
                let start = |&(card, format)| scope.spawn(move || self.image(source, card, format));
                let started: Vec<_> = some.iter().map(start).collect();
                for image in started {
                    images.push(image.join().map_err(|_| anyhow!("a compiler's thread has failed"))??);
                }
                Ok(())
            })?;
        }
        Ok(images)
    }

    fn image(&self, source: &Path, card: &str, format: u32) -> Result<Image> {
        let (kind, code) = if format == PTX { ("-ptx", "compute") } else { ("-cubin", "sm") };
        let out = self.work.join(format!("image-{card}-{kind}"));
        let mut command = Command::new(self.root.join("bin/nvcc"));
        command.args(FLAGS).arg(kind).arg(format!("-gencode=arch=compute_{card},code={code}_{card}"));
        command.arg("-o").arg(&out).arg(source).current_dir(&self.work);
        succeed(&mut command).with_context(|| format!("cannot compile {}", source.display()))?;
        let architecture = card.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse()?;
        let mut bytes = fs::read(&out)?;
        if format == PTX {
            bytes = without_comments(&bytes);
        }
        Ok(Image { format, architecture, bytes })
    }
}

/// PTX without its comments, which name the compiler's build and no more.
fn without_comments(ptx: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(ptx);
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    code.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if path.is_file() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{name} failed:\n{}", String::from_utf8_lossy(&said));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_code_stays() {
        let ptx = b"//\n// Build 1\n.version 9.0\n\n\tmov.u32 %r1, 2; // two\n";
        assert_eq!(without_comments(ptx), b".version 9.0\nmov.u32 %r1, 2;\n");
    }
}
