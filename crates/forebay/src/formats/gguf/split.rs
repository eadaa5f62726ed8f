//! Models in several GGUF files: which files belong to the set, and which tensor lies in which.
//!
//! It computes names and checks that the parts fit together; it never opens a file.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::{Gguf, Metadata, Tensor};
use crate::error::{Error, Result, SetFault};

/// Parts that a set can have: the names count with five digits.
const MOST_PARTS: u64 = 99_999;

/// The paths of all parts of the model that this file belongs to, in order; the file alone where it is whole.
///
/// ```
/// # let mut bytes = b"GGUF\x03\0\0\0".to_vec();
/// # bytes.extend([0u64, 2].map(u64::to_le_bytes).concat());
/// # for (key, n) in [("split.count", 2u16), ("split.no", 0)] {
/// #     bytes.extend((key.len() as u64).to_le_bytes());
/// #     bytes.extend(key.as_bytes());
/// #     bytes.extend(2u32.to_le_bytes());
/// #     bytes.extend(n.to_le_bytes());
/// # }
/// use forebay::formats::gguf::{Gguf, part_paths};
///
/// let first = Gguf::parse("m-00001-of-00002.gguf", &bytes)?;
/// let paths = part_paths(&first)?;
/// assert_eq!(paths[1].to_str(), Some("m-00002-of-00002.gguf"));
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// [`Error::Set`] where the file says that it is a part and its name does not say which.
pub fn part_paths(gguf: &Gguf) -> Result<Vec<PathBuf>> {
    let file = gguf.file();
    let Some((number, count)) = part(gguf)? else { return Ok(vec![file.to_path_buf()]) };
    let suffix = |number: u64| format!("-{:05}-of-{count:05}.gguf", number + 1);
    let name = file.file_name().and_then(|name| name.to_str());
    let Some(prefix) = name.and_then(|name| name.strip_suffix(&suffix(number))) else {
        return Err(Error::Set {
            file: file.clone(),
            fault: SetFault::Name { wanted: format!("NAME{}", suffix(number)) },
        });
    };
    Ok((0..count).map(|number| file.with_file_name(format!("{prefix}{}", suffix(number)))).collect())
}

/// A model in one or several GGUF files; metadata comes from the first.
///
/// ```
/// # let bytes = [&b"GGUF\x03\0\0\0"[..], &[0; 16]].concat();
/// use forebay::formats::gguf::{Gguf, Split};
///
/// let model = Split::join(vec![Gguf::parse("model.gguf", &bytes)?])?;
/// assert_eq!(model.parts().len(), 1);
/// assert!(model.find("output.weight").is_none());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Split {
    parts: Vec<Gguf>,
    by_name: HashMap<Arc<str>, (usize, usize)>,
}

impl Split {
    /// Joins the parts, given in the order of [`part_paths`].
    ///
    /// # Errors
    /// [`Error::Set`] where a part is another one than expected or repeats a tensor.
    pub fn join(parts: Vec<Gguf>) -> Result<Self> {
        let wanted = parts.len().max(1) as u64;
        let mut by_name: HashMap<Arc<str>, (usize, usize)> = HashMap::new();
        for (i, gguf) in parts.iter().enumerate() {
            let fault = |fault| Error::Set { file: gguf.file().clone(), fault };
            let (number, count) = part(gguf)?.unwrap_or((0, 1));
            if (number, count) != (i as u64, wanted) {
                return Err(fault(SetFault::Part {
                    found: format!("part {} of {count}", number.saturating_add(1)),
                    wanted: format!("part {} of {wanted}", i + 1),
                }));
            }
            for (j, tensor) in gguf.tensors().iter().enumerate() {
                if let Some((other, _)) = by_name.insert(tensor.name.clone(), (i, j)) {
                    let other = parts[other].file().clone();
                    return Err(fault(SetFault::Duplicate { tensor: tensor.name().to_owned(), other }));
                }
            }
        }
        if let Some(first) = parts.first()
            && let Some(wanted) = first.metadata().find::<u64>("split.tensors.count")?
            && wanted != by_name.len() as u64
        {
            let fault = SetFault::Tensors { found: by_name.len() as u64, wanted };
            return Err(Error::Set { file: first.file().clone(), fault });
        }
        Ok(Self { parts, by_name })
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Gguf] {
        &self.parts
    }

    /// The metadata of the first part, which is that of the model.
    pub(in crate::formats) fn into_metadata(mut self) -> Metadata {
        self.parts.swap_remove(0).into_metadata()
    }

    /// The tensor of this name and the part it lies in, if there is one.
    pub fn find(&self, name: &str) -> Option<(usize, &Tensor)> {
        let (part, index) = *self.by_name.get(name)?;
        Some((part, self.parts.get(part)?.tensors().get(index)?))
    }

    /// All tensors with their parts, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &Tensor)> {
        self.parts.iter().enumerate().flat_map(|(part, gguf)| gguf.tensors().iter().map(move |t| (part, t)))
    }
}

/// Which part of how many this file is; `None` where it is whole.
fn part(gguf: &Gguf) -> Result<Option<(u64, u64)>> {
    let count = gguf.metadata().find::<u64>("split.count")?.unwrap_or(0);
    if count <= 1 {
        return Ok(None);
    }
    let number = gguf.metadata().get::<u64>("split.no")?;
    if count > MOST_PARTS || number >= count {
        let found = format!("part {} of {count}", number.saturating_add(1));
        let fault = SetFault::Part { found, wanted: format!("a part of at most {MOST_PARTS}") };
        return Err(Error::Set { file: gguf.file().clone(), fault });
    }
    Ok(Some((number, count)))
}
