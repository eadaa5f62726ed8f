//! The reference files that travel to a machine with a card: one for each architecture and each class of formats.
//!
//! They lie in the folder that `FOREBAY_FIXTURES` names, whose `manifest.json` says which reference belongs to which file and
//! whose `check.py` judges a program by them. What travels is that folder with fewer files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Files and folders of models. All formats are small files of one architecture; all others have one file or two.
pub(super) const TRAVEL: &[&str] = &[
    "models/llama/gguf/llama.MXFP4.gguf",
    "models/llama/gguf/llama.Q3_K_M.gguf",
    "models/llama/gguf/llama.Q4_K_M.gguf",
    "models/llama/gguf/llama.Q5_K_M.gguf",
    "models/llama/gguf/llama.pure-IQ3_S.gguf",
    "models/llama/gguf/llama.pure-IQ4_NL.gguf",
    "models/llama/gguf/llama.pure-IQ4_XS.gguf",
    "models/llama/gguf/llama.pure-Q1_0.gguf",
    "models/llama/gguf/llama.pure-Q2_0.gguf",
    "models/llama/gguf/llama.pure-Q2_K.gguf",
    "models/llama/gguf/llama.pure-Q4_0.gguf",
    "models/llama/gguf/llama.pure-Q4_1.gguf",
    "models/llama/gguf/llama.pure-Q5_0.gguf",
    "models/llama/gguf/llama.pure-Q5_1.gguf",
    "models/llama/gguf/llama.pure-Q6_K.gguf",
    "models/llama/gguf/llama.pure-Q8_0.gguf",
    "models/llama/gguf/llama.pure-TQ1_0.gguf",
    "models/llama/gguf/llama.pure-TQ2_0.gguf",
    "models/llama/mlx-3g64",
    "models/llama/mlx-4g64",
    "models/llama/mlx-mxfp4",
    "models/qwen2/hf",
    "models/qwen2/mlx-4g64",
    "models/qwen3/gguf/qwen3.Q4_K_M.gguf",
    "models/qwen3moe/gguf/qwen3moe.Q4_K_M.gguf",
    "models/qwen3moe/mlx-4g64",
    "models/qwen35/gguf/qwen35.Q4_K_M.gguf",
    "models/qwen3next/gguf/qwen3next.Q4_0.gguf",
    "models/gemma2/gguf/gemma2.Q8_0.gguf",
    "models/gemma3/gguf/gemma3.Q5_1.gguf",
    "models/phi3/gguf/phi3.Q4_1.gguf",
    "models/gptoss/gguf/gptoss.MXFP4_MOE.gguf",
];

/// Those whose experts may be so nearly equal somewhere that rounded activations choose others: they are judged again in strict precision.
const ROUTED: &[&str] = &["qwen3moe/", "qwen3next/", "gptoss/"];
/// The program in strict precision.
const STRICT: &str = "#!/bin/sh\nexec \"$(dirname \"$0\")/../forebay\" \"$@\" --precision strict\n";

/// What belongs to them all: the manifest is cut to what travels.
const JUDGE: &str = "check.py";
const MANIFEST: &str = "manifest.json";
/// What compares long texts on a card with those on the CPU.
const DRIFT: &str = include_str!("drift.py");

/// Copies what travels, and lists it in `travel.txt`.
pub(super) fn gather(from: &Path, to: &Path) -> Result<()> {
    let manifest = fs::read(from.join(MANIFEST))
        .with_context(|| format!("FOREBAY_FIXTURES has no {MANIFEST} in {}", from.display()))?;
    let manifest = travelling(&serde_json::from_slice(&manifest).context("the manifest is no JSON")?)?;
    for file in files_of(&manifest) {
        for name in ["path", "ref"].map(|key| file[key].as_str().unwrap_or_default()) {
            copy(&from.join(name), &to.join(name))?;
        }
    }
    copy(&from.join(JUDGE), &to.join(JUDGE))?;
    fs::write(to.join(MANIFEST), manifest.to_string())?;
    fs::write(to.join("drift.py"), DRIFT)?;
    let routed = TRAVEL.iter().filter(|path| ROUTED.iter().any(|family| path.contains(family)));
    fs::write(to.join("routed.txt"), routed.map(|path| format!("{path}\n")).collect::<String>())?;
    let strict = to.join("strict");
    fs::write(&strict, STRICT)?;
    fs::set_permissions(&strict, fs::Permissions::from_mode(0o755))?;
    Ok(fs::write(to.join("travel.txt"), TRAVEL.join("\n") + "\n")?)
}

/// A manifest of what travels alone.
fn travelling(manifest: &Value) -> Result<Value> {
    let files: Vec<&Value> =
        files_of(manifest).filter(|file| TRAVEL.iter().any(|path| file["path"] == **path)).collect();
    let lacks = TRAVEL.iter().find(|path| files.iter().all(|file| file["path"] != ***path));
    ensure!(lacks.is_none(), "the manifest of FOREBAY_FIXTURES has no {}", lacks.unwrap_or(&""));
    Ok(json!({ "models": [{ "files": files }] }))
}

fn files_of(manifest: &Value) -> impl Iterator<Item = &Value> {
    let models = manifest["models"].as_array().into_iter().flatten();
    models.flat_map(|model| model["files"].as_array().into_iter().flatten())
}

/// Copies a file, or a folder with all in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let told = || format!("cannot copy {}", from.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(told)? {
            let entry: PathBuf = entry.with_context(told)?.path();
            copy(&entry, &to.join(entry.file_name().with_context(told)?))?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(told)?;
    }
    // The bytes alone: files that nobody may write could not be copied over the next time.
    let bytes = fs::read(from).with_context(told)?;
    fs::write(to, bytes).with_context(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_cut_to_what_travels() {
        let file = |path: &str| json!({ "path": path, "ref": format!("{path}.ref") });
        let mut files: Vec<Value> = TRAVEL.iter().map(|path| file(path)).collect();
        files.insert(3, file("models/llama/hf"));
        let (last, others) = files.split_last().unwrap();
        let whole =
            json!({ "models": [{ "name": "a", "files": others }, { "files": [last] }], "vectors": 1 });
        let cut = travelling(&whole).unwrap();
        let paths: Vec<&str> = files_of(&cut).map(|file| file["path"].as_str().unwrap()).collect();
        assert_eq!(paths, TRAVEL);
        let lacking = json!({ "models": [{ "files": others }] });
        let error = travelling(&lacking).unwrap_err().to_string();
        assert!(error.contains(TRAVEL[TRAVEL.len() - 1]), "{error}");
    }

    #[test]
    fn what_decodes_long_texts_travels() {
        let models = DRIFT.lines().filter_map(|line| line.trim().strip_prefix("\"models/"));
        let models: Vec<&str> = models.map(|line| line.trim_end_matches("\",")).collect();
        assert!(models.len() >= 4);
        for model in models {
            assert!(TRAVEL.contains(&format!("models/{model}").as_str()), "{model}");
        }
    }

    #[test]
    fn what_travels_is_whole_and_small() {
        let Some(from) = std::env::var_os("FOREBAY_FIXTURES") else {
            println!("left out: FOREBAY_FIXTURES is not set");
            return;
        };
        let to = std::env::temp_dir().join(format!("forebay-travel-{}", std::process::id()));
        gather(Path::new(&from), &to).unwrap();
        let manifest: Value = serde_json::from_slice(&fs::read(to.join(MANIFEST)).unwrap()).unwrap();
        let all = files_of(&manifest).flat_map(|file| [&file["path"], &file["ref"]]);
        let bytes: u64 = all.map(|path| size(&to.join(path.as_str().unwrap()))).sum();
        assert!((1 << 20..24 << 20).contains(&bytes), "{bytes} bytes travel");
        assert!(size(&to.join(JUDGE)) > 0);
        let routed = fs::read_to_string(to.join("routed.txt")).unwrap();
        assert!(routed.lines().count() >= 4 && routed.contains("gptoss"), "{routed}");
        fs::remove_dir_all(to).unwrap();
    }

    /// Bytes of a file, or of all in a folder.
    fn size(path: &Path) -> u64 {
        match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| size(&entry.unwrap().path())).sum(),
            Err(_) => fs::metadata(path).unwrap().len(),
        }
    }
}
