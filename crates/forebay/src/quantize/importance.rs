//! Which columns of a matrix count most: the mean square of what a model multiplied them with, as `imatrix` files hold it.
//!
//! A file has, for each matrix, the sum of squares of every column and how many rows were summed; for experts, of each
//! expert. It is a GGUF file of type `imatrix`, as llama.cpp writes it; those that it wrote before, of means alone, are read
//! too. Next room: `sums`, which makes such files.

use std::{collections::HashMap, path::Path};

use forebay_device::MappedFile;
use forebay_tensor::quant;

use crate::{
    error::{Error, Result},
    formats::gguf::{Gguf, Tensor},
};

/// The importance of the columns of all matrices of a model.
#[derive(Clone, Debug, Default)]
pub struct Importance {
    by_name: HashMap<String, Columns>,
}

/// The importance of the columns of one matrix, or of the same matrix of every expert.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// None where the file does not say it.
    width: Option<usize>,
    squares: Vec<f32>,
}

/// Ends of names in such files.
const SQUARES: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl Importance {
    /// Reads a file.
    ///
    /// # Errors
    /// Those of reading it; [`Error::KeyValue`] and [`Error::MissingTensor`] if it is another kind of file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let map = MappedFile::open(path.as_ref())?;
        if !map.bytes().starts_with(b"GGUF") {
            let damaged = || Error::KeyValue {
                file: path.as_ref().into(),
                key: "importance matrix".to_owned(),
                found: "none, or a part of one".to_owned(),
                wanted: "a whole file of type imatrix",
            };
            return Means { bytes: map.bytes() }.read().ok_or_else(damaged);
        }
        let file = Gguf::parse(path.as_ref(), map.bytes())?;
        let found = file.metadata().find::<&str>("general.type")?.unwrap_or("model").to_owned();
        if found != "imatrix" {
            return Err(Error::KeyValue {
                file: file.file().clone(),
                key: "general.type".to_owned(),
                found: format!("{found:?}"),
                wanted: "\"imatrix\"",
            });
        }
        let floats = |tensor: &Tensor| -> Result<Vec<f32>> {
            let range = tensor.range();
            let mut out = vec![0.0; tensor.elements() as usize];
            quant::decode(tensor.dtype()?, &map.bytes()[range.start as usize..range.end as usize], &mut out)?;
            Ok(out)
        };
        let mut by_name = HashMap::new();
        for tensor in file.tensors() {
            let Some(name) = tensor.name().strip_suffix(SQUARES) else { continue };
            let width = tensor.shape().last().map_or(1, |&width| width as usize);
            let counts = floats(file.tensor(&format!("{name}{COUNTS}"))?)?;
            let mut squares = floats(tensor)?;
            for (expert, columns) in squares.chunks_mut(width).enumerate() {
                let count = counts.get(expert).or(counts.first()).copied().unwrap_or(0.0);
                // An expert that was never asked says nothing, so its columns count the same.
                columns.iter_mut().for_each(|sum| *sum = if count > 0.0 { *sum / count } else { 1.0 });
            }
            by_name.insert(name.to_owned(), Columns { width: Some(width), squares });
        }
        Ok(Self { by_name })
    }

    /// The importance of a matrix's columns, if there is any of this width.
    pub(super) fn of(&self, name: &str, width: usize) -> Option<&Columns> {
        let fits = |columns: &&Columns| {
            let whole = width > 0 && columns.squares.len().is_multiple_of(width);
            whole && columns.width.is_none_or(|own| own == width)
        };
        self.by_name.get(name).filter(fits)
    }

    /// How many matrices it knows.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl Columns {
    /// Those of an expert, of this width; of the only one where there are no experts.
    pub(super) fn of(&self, expert: usize, width: usize) -> &[f32] {
        let most = (self.squares.len() / width.max(1)).saturating_sub(1);
        let start = expert.min(most) * width;
        &self.squares[start..start + width]
    }
}

/// A file of means, as llama.cpp wrote it before: for each matrix its name, how many pieces of the text there were, and the
/// means times that.
struct Means<'a> {
    bytes: &'a [u8],
}

impl Means<'_> {
    /// All matrices; none where the file is another one or not whole.
    fn read(mut self) -> Option<Importance> {
        let mut by_name = HashMap::new();
        for _ in 0..self.number()? {
            let len = self.number()?;
            let name = std::str::from_utf8(self.take(len)?).ok()?.to_owned();
            let pieces = self.number()?.max(1) as f32;
            let count = self.number()?;
            let floats = self.take(count.checked_mul(4)?)?.as_chunks().0.iter();
            let squares = floats.map(|bytes| f32::from_le_bytes(*bytes) / pieces).collect();
            by_name.insert(name, Columns { width: None, squares });
        }
        (!by_name.is_empty()).then_some(Importance { by_name })
    }

    /// A number that is not below zero.
    fn number(&mut self) -> Option<usize> {
        i32::from_le_bytes(self.take(4)?.try_into().ok()?).try_into().ok()
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of means: a matrix of four columns or two experts of two, looked at in three pieces.
    fn means() -> Vec<u8> {
        let number = |n: i32| n.to_le_bytes().to_vec();
        let floats: Vec<u8> = [3.0f32, 6.0, 0.0, 1.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        [
            number(1),
            number(3),
            b"m.w".to_vec(),
            number(3),
            number(4),
            floats,
            number(3),
            number(1),
            b"t".to_vec(),
        ]
        .concat()
    }

    fn open(bytes: &[u8], name: &str) -> Result<Importance> {
        let path = std::env::temp_dir().join(format!("forebay-means-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let read = Importance::open(&path);
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn files_of_means_are_read_too() {
        let read = open(&means(), "whole").unwrap();
        assert_eq!(read.of("m.w", 4).unwrap().of(0, 4), [1.0, 2.0, 0.0, 0.5]);
        assert_eq!(read.of("m.w", 2).unwrap().of(1, 2), [0.0, 0.5]);
        assert!(read.of("m.w", 3).is_none() && read.of("other", 4).is_none());
        // What comes behind the matrices does not matter.
        assert!(open(&means()[..35], "matrices").is_ok());
        for len in [0, 3, 4, 10, 34] {
            let error = open(&means()[..len], "part").unwrap_err().to_string();
            assert!(error.contains("a whole file of type imatrix"), "{len}: {error}");
        }
        let mut long = means();
        long[15..19].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(open(&long, "long").is_err());
    }
}
