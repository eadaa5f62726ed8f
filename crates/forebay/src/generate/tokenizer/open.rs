//! Finds the files that hold a tokenizer.
//!
//! What is in them is read in `native` and `json`.

use std::path::Path;

use forebay_device::MappedFile;

use super::{JsonFiles, Tokenizer};
use crate::{
    error::Result,
    formats::{
        folder::{Folder, Model},
        gguf::Gguf,
    },
};

/// What a folder's tokenizer is called.
const NAME: &str = "tokenizer.json";

impl Tokenizer {
    /// The tokenizer of a GGUF file, of which a vocabulary alone will do; of a folder; or of a `tokenizer.json`.
    ///
    /// ```no_run
    /// use forebay::generate::tokenizer::Tokenizer;
    ///
    /// let tokenizer = Tokenizer::open("models/smollm2")?;
    /// println!("{:?}", tokenizer.encode("Once upon a time", true)?);
    /// # Ok::<(), forebay::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Device`](crate::Error::Device) and [`Error::Folder`](crate::Error::Folder)
    /// where there is none, and those of [`from_gguf`](Self::from_gguf) and [`from_json`](Self::from_json).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_file() && path.extension().is_some_and(|ending| ending == "json") {
            return Self::from_files(path);
        }
        if path.join(NAME).is_file() {
            return Self::from_files(&path.join(NAME));
        }
        match Model::find(path)? {
            Model::Folder(folder) => Self::of_folder(&folder),
            Model::Gguf(path) => {
                let file = MappedFile::open(&path)?;
                Self::from_gguf(Gguf::parse(&path, file.bytes())?.metadata())
            }
        }
    }

    /// The tokenizer of a model's folder.
    ///
    /// # Errors
    /// [`Error::Folder`](crate::Error::Folder) where it has none, and those of [`from_json`](Self::from_json).
    pub fn of_folder(folder: &Folder) -> Result<Self> {
        let path = folder.path(NAME);
        if path.is_file() { Self::from_files(&path) } else { Err(folder.lacks(NAME)) }
    }

    /// Reads a `tokenizer.json` and the files beside it, each of which may be missing.
    fn from_files(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let beside = |name: &str| std::fs::read(path.with_file_name(name)).ok();
        let [config, generation, model] =
            ["tokenizer_config.json", "generation_config.json", "config.json"].map(beside);
        let files = JsonFiles {
            tokenizer: file.bytes(),
            config: config.as_deref(),
            generation: generation.as_deref(),
            model: model.as_deref(),
        };
        Self::from_json(path, &files)
    }
}
