//! Which columns of a matrix count most: the mean square of what a model multiplied them with, as `imatrix` files hold it.
//!
//! A file has, for each matrix, the sum of squares of every column and how many rows were summed; for experts, of each
//! expert. It is a GGUF file of type `imatrix`, as llama.cpp writes it.

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
    width: usize,
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
            by_name.insert(name.to_owned(), Columns { width, squares });
        }
        Ok(Self { by_name })
    }

    /// The importance of a matrix's columns, if there is any of this width.
    pub(super) fn of(&self, name: &str, width: usize) -> Option<&Columns> {
        self.by_name.get(name).filter(|columns| columns.width == width && width > 0)
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
    /// Those of an expert; of the only one where there are no experts.
    pub(super) fn of(&self, expert: usize) -> &[f32] {
        let most = self.squares.len() / self.width - 1;
        let start = expert.min(most) * self.width;
        &self.squares[start..start + self.width]
    }
}
