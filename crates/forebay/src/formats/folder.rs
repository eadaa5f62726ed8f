//! What a path names: a GGUF file, or a folder with the files of a model, and which files those are.
//!
//! It looks for files and reads the small ones; what is in them is read elsewhere. Next rooms: `gguf` and `checkpoint`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{Error, FolderFault, Result};

/// What a path names.
///
/// ```
/// use forebay::formats::folder::Model;
///
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-folder-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// let error = Model::find(&dir).unwrap_err().to_string();
/// assert!(error.ends_with("holds no model: neither a config.json nor a GGUF file"), "{error}");
/// std::fs::write(dir.join("small.gguf"), "").unwrap();
/// assert!(matches!(Model::find(&dir)?, Model::Gguf(path) if path.ends_with("small.gguf")));
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Model {
    /// A GGUF file, or the first of several.
    Gguf(PathBuf),
    /// A folder with a `config.json`.
    Folder(Folder),
}

/// A folder with the files of a model.
#[derive(Clone, Debug)]
pub struct Folder {
    root: Arc<Path>,
}

impl Model {
    /// Looks what there is. A file that is one of a folder's stands for the folder.
    ///
    /// # Errors
    /// [`Error::Io`] where nothing is there, [`Error::Folder`] where a folder holds no model or several.
    pub fn find(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let kind = fs::metadata(path).map_err(|source| failed(path, "open", source))?;
        if !kind.is_dir() {
            let ending = path.extension().and_then(|ending| ending.to_str());
            let folder = path.parent().filter(|_| matches!(ending, Some("json" | "safetensors")));
            return Ok(match folder {
                // The parent of a bare name is the empty path.
                Some(folder) if folder == Path::new("") => {
                    Self::Folder(Folder { root: Path::new(".").into() })
                }
                Some(folder) => Self::Folder(Folder { root: folder.into() }),
                None => Self::Gguf(path.to_owned()),
            });
        }
        let folder = Folder { root: path.into() };
        let ggufs = folder.ggufs()?;
        let fault = |fault| Error::Folder { folder: folder.root.clone(), fault };
        if folder.path("config.json").exists() {
            return Ok(Self::Folder(folder));
        }
        match &ggufs[..] {
            [] => Err(fault(FolderFault::NoModel)),
            [only] => Ok(Self::Gguf(only.clone())),
            [first, rest @ ..] => match part_of(first) {
                Some(set) if rest.iter().all(|other| part_of(other) == Some(set)) => {
                    Ok(Self::Gguf(first.clone()))
                }
                _ => {
                    Err(fault(FolderFault::Several { files: ggufs.iter().map(|path| name(path)).collect() }))
                }
            },
        }
    }
}

impl Folder {
    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The bytes of a small file that may be missing.
    ///
    /// # Errors
    /// [`Error::Io`] where it is there and cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, "read", error)),
        }
    }

    /// The bytes of a small file that has to be there.
    ///
    /// # Errors
    /// [`Error::Folder`] where it is missing, [`Error::Io`] where it cannot be read.
    pub fn read(&self, name: &'static str) -> Result<Vec<u8>> {
        self.find(name)?.ok_or_else(|| self.lacks(name))
    }

    /// A file that is needed is not there.
    pub(crate) fn lacks(&self, name: &'static str) -> Error {
        Error::Folder { folder: self.root.clone(), fault: FolderFault::Lacks { name } }
    }

    /// The GGUF files, but for those that belong to another model and not to a text's.
    fn ggufs(&self) -> Result<Vec<PathBuf>> {
        let listing = fs::read_dir(&self.root).map_err(|source| failed(&self.root, "list", source))?;
        let mut found = Vec::new();
        for entry in listing {
            let path = entry.map_err(|source| failed(&self.root, "list", source))?.path();
            let is_one = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
            if is_one && !name(&path).starts_with("mmproj") && path.is_file() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io { file: path.into(), action, source: Arc::new(source) }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What the names of all parts of one model have in common: what comes before the number, and the count.
fn part_of(path: &Path) -> Option<(&str, &str)> {
    let stem = path.file_stem()?.to_str()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (before, number) = rest.rsplit_once('-')?;
    let counted =
        [number, count].iter().all(|text| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit()));
    counted.then_some((before, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_model_are_known_by_their_names() {
        let part = |name: &str| part_of(Path::new(name)).map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(part("d/m-00001-of-00003.gguf"), Some(("m".to_owned(), "00003".to_owned())));
        assert_eq!(part("m-00002-of-00003.gguf"), part("d/m-00001-of-00003.gguf"));
        for other in ["m.gguf", "m-1-of-3.gguf", "m-of-00003.gguf", "m-0000x-of-00003.gguf"] {
            assert_eq!(part(other), None, "{other}");
        }
    }
}
