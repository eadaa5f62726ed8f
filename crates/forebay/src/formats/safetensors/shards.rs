//! Models in several safetensors files: which there are, and which tensor lies in which.
//!
//! It reads the index and checks that the files fit it; it never opens a file.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{Safetensors, Tensor, format_error};
use crate::error::{Error, Fault, Place, Result, SetFault};

/// The index of a model in several files.
///
/// ```
/// use forebay::formats::safetensors::Index;
///
/// let json = br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}"#;
/// let index = Index::parse("dir/model.safetensors.index.json", json)?;
/// let files: Vec<_> = index.files().map(|file| file.to_str()).collect();
/// assert_eq!(files, [Some("dir/m-1.safetensors"), Some("dir/m-2.safetensors")]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Index {
    file: Arc<Path>,
    files: Vec<PathBuf>,
    /// Tensors with the numbers of their files.
    tensors: Vec<(String, usize)>,
}

#[derive(Deserialize)]
struct Json {
    weight_map: serde_json::Map<String, serde_json::Value>,
}

impl Index {
    /// Reads an index; `file` says where the others lie.
    ///
    /// # Errors
    /// [`Error::Format`] where it is no index, or names a file outside of its folder.
    pub fn parse(file: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let file: Arc<Path> = file.as_ref().into();
        let fault = |place, detail| format_error(&file, place, 0, Fault::Json { detail });
        let json: Json =
            serde_json::from_slice(bytes).map_err(|error| fault(Place::Header, error.to_string()))?;
        let (mut files, mut numbers) = (Vec::new(), HashMap::new());
        let mut tensors = Vec::with_capacity(json.weight_map.len());
        for (tensor, name) in json.weight_map {
            let name = name.as_str().unwrap_or_default();
            let mut parts = Path::new(name).components();
            // A file may say what it is called, never where on this machine it lies.
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                let detail = format!("lies in {name:?}, which is no file beside the index");
                return Err(fault(Place::Tensor(tensor), detail));
            }
            let number = *numbers.entry(name.to_owned()).or_insert_with(|| {
                files.push(file.with_file_name(name));
                files.len() - 1
            });
            tensors.push((tensor, number));
        }
        Ok(Self { file, files, tensors })
    }

    /// The index file as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// The paths of the files, each once.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// A model in one or several safetensors files.
///
/// ```
/// use forebay::formats::safetensors::{Safetensors, Shards};
///
/// let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
/// let model = Shards::join(vec![Safetensors::parse("model.safetensors", &file)?], None)?;
/// assert_eq!(model.tensors().count(), 0);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shards {
    parts: Vec<Safetensors>,
    by_name: HashMap<Arc<str>, (usize, usize)>,
}

impl Shards {
    /// Joins the files, given in the order of the index where there is one.
    ///
    /// # Errors
    /// [`Error::Set`] where a file is missing, repeats a tensor or lacks one that the index says it holds.
    pub fn join(parts: Vec<Safetensors>, index: Option<&Index>) -> Result<Self> {
        let mut by_name: HashMap<Arc<str>, (usize, usize)> = HashMap::new();
        for (i, part) in parts.iter().enumerate() {
            for (j, tensor) in part.tensors().iter().enumerate() {
                if let Some((other, _)) = by_name.insert(tensor.name.clone(), (i, j)) {
                    let other = parts[other].file().clone();
                    let fault = SetFault::Duplicate { tensor: tensor.name().to_owned(), other };
                    return Err(Error::Set { file: part.file().clone(), fault });
                }
            }
        }
        for (tensor, number) in index.iter().flat_map(|index| &index.tensors) {
            if by_name.get(tensor.as_str()).map(|(part, _)| part) == Some(number) {
                continue;
            }
            let (file, fault) = match (parts.get(*number), index) {
                (Some(part), _) => (part.file().clone(), SetFault::Lacks { tensor: tensor.clone() }),
                (None, Some(index)) => {
                    let file =
                        index.files.get(*number).map_or_else(|| index.file.clone(), |f| f.as_path().into());
                    (file, SetFault::Missing { named_by: index.file.clone() })
                }
                (None, None) => continue,
            };
            return Err(Error::Set { file, fault });
        }
        Ok(Self { parts, by_name })
    }

    /// The files in order.
    pub fn parts(&self) -> &[Safetensors] {
        &self.parts
    }

    /// The tensor of this name and the number of its file, if there is one.
    pub fn find(&self, name: &str) -> Option<(usize, &Tensor)> {
        let (part, index) = *self.by_name.get(name)?;
        Some((part, self.parts.get(part)?.tensors().get(index)?))
    }

    /// All tensors with the numbers of their files, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &Tensor)> {
        self.parts
            .iter()
            .enumerate()
            .flat_map(|(i, part)| part.tensors().iter().map(move |tensor| (i, tensor)))
    }
}
