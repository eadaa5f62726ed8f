//! How important columns are, being counted: the squares of what weights are multiplied with, and the file of that.
//!
//! It never runs a model; whoever does hands in the rows. Next rooms: `importance`, which reads such files, and the engine,
//! which runs a model over a text for them.

use std::{collections::BTreeMap, path::Path};

use forebay_tensor::DType;

use crate::{
    error::{Error, Result},
    formats::gguf::{Array, GgufWriter, Planned, Value},
};

/// Sums of squares of the columns of all matrices of a model.
///
/// ```
/// use forebay::quantize::{Importance, Sums};
///
/// let mut sums = Sums::default();
/// sums.add("blk.0.ffn_up.weight", 2, &[1.0, 2.0, 3.0, 4.0], 1, &[])?;
/// assert_eq!(sums.get("blk.0.ffn_up.weight"), Some((&[10.0, 20.0][..], &[2][..])));
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-sums-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("tiny.imatrix.gguf");
/// sums.write(&path, "text.txt", [1, 2])?;
/// assert_eq!(Importance::open(&path)?.len(), 1);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sums {
    by_name: BTreeMap<String, Columns>,
}

/// The sums of one matrix: for each expert, those of its columns, and how many rows it got.
#[derive(Clone, Debug)]
struct Columns {
    squares: Vec<f64>,
    counts: Vec<u64>,
}

impl Sums {
    /// Adds rows of so many elements that a matrix was multiplied with. `experts` is 1 where there are none; where there are,
    /// `ids` names those of each row, as many for every row.
    ///
    /// # Errors
    /// [`Error::Option`] for rows that are not whole, for ids that are no experts, and where the matrix had another size before.
    pub fn add(&mut self, name: &str, width: usize, rows: &[f32], experts: usize, ids: &[u32]) -> Result<()> {
        let wrong = |wanted: &str| Error::Option { name: "rows", wanted: format!("{wanted} for {name}") };
        let count = rows.len().checked_div(width).unwrap_or(0);
        if count * width != rows.len() || experts == 0 {
            return Err(wrong("whole, and of one expert at least,"));
        }
        let each = ids.len().checked_div(count).unwrap_or(0);
        if each * count != ids.len() || ids.iter().any(|id| *id as usize >= experts) {
            return Err(wrong("for experts that there are"));
        }
        let new = || Columns { squares: vec![0.0; experts * width], counts: vec![0; experts] };
        let columns = self.by_name.entry(name.to_owned()).or_insert_with(new);
        if columns.counts.len() != experts || columns.squares.len() != experts * width {
            return Err(wrong("of one size"));
        }
        for (number, row) in rows.chunks_exact(width.max(1)).enumerate() {
            let mut add = |expert: usize| {
                columns.counts[expert] += 1;
                let sums = &mut columns.squares[expert * width..(expert + 1) * width];
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
            };
            match each {
                0 => add(0),
                each => ids[number * each..(number + 1) * each].iter().for_each(|id| add(*id as usize)),
            }
        }
        Ok(())
    }

    /// Of a matrix, the sums of all columns, expert after expert, and how many rows each expert got.
    pub fn get(&self, name: &str) -> Option<(&[f64], &[u64])> {
        self.by_name.get(name).map(|columns| (&columns.squares[..], &columns.counts[..]))
    }

    /// The names of all matrices.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The share of experts, over all matrices that have some, that got a row; none where there are no experts.
    pub fn asked_experts(&self) -> Option<f64> {
        let routed = self.by_name.values().filter(|columns| columns.counts.len() > 1);
        let counts = routed.flat_map(|columns| &columns.counts);
        let (asked, all) =
            counts.fold((0, 0), |(asked, all), count| (asked + u64::from(*count > 0), all + 1));
        (all > 0).then(|| asked as f64 / f64::from(all))
    }

    /// Writes the file that [`Importance::open`](super::Importance::open) and llama.cpp read: of which text it is, and of how many
    /// pieces of how many tokens.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for sums that are no numbers, before anything is written; those of writing.
    pub fn write(&self, path: impl AsRef<Path>, text: &str, [pieces, tokens]: [u32; 2]) -> Result<()> {
        let bad =
            |(_, columns): &(&String, &Columns)| columns.squares.iter().any(|x| !(*x as f32).is_finite());
        if let Some((name, _)) = self.by_name.iter().find(bad) {
            return Err(Error::NotFinite { weight: name.clone() });
        }
        let entries = [
            ("general.type", Value::from("imatrix")),
            ("imatrix.datasets", Value::Array(Array::from_iter([text]))),
            ("imatrix.chunk_count", Value::U32(pieces)),
            ("imatrix.chunk_size", Value::U32(tokens)),
        ];
        let planned = |(name, columns): (&String, &Columns)| {
            let experts = columns.counts.len();
            let of = |ending: &str, width| Planned {
                name: format!("{name}.{ending}"),
                dtype: DType::F32,
                // An axis of one element is left out, as others do.
                shape: if experts == 1 { vec![width] } else { vec![experts, width] },
            };
            [of("in_sum2", columns.squares.len() / experts), of("counts", 1)]
        };
        let tensors: Vec<Planned> = self.by_name.iter().flat_map(planned).collect();
        let entries = entries.iter().map(|(key, value)| (*key, value));
        let mut writer = GgufWriter::create(path, entries, &tensors)?;
        for Columns { squares, counts } in self.by_name.values() {
            let floats = squares.iter().copied().chain(counts.iter().map(|count| *count as f64));
            let bytes: Vec<u8> = floats.flat_map(|x| (x as f32).to_le_bytes()).collect();
            let (squares, counts) = bytes.split_at(4 * squares.len());
            writer.bytes(squares)?;
            writer.bytes(counts)?;
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_expert_counts_its_own_rows() {
        let mut sums = Sums::default();
        let rows = [1.0, -2.0, 3.0, 0.5];
        sums.add("m", 2, &rows, 3, &[0, 2, 2, 0]).unwrap();
        sums.add("m", 2, &rows[..2], 3, &[2]).unwrap();
        let (squares, counts) = sums.get("m").unwrap();
        assert_eq!((squares, counts), (&[10.0, 4.25, 0.0, 0.0, 11.0, 8.25][..], &[2, 0, 3][..]));
        assert!((sums.asked_experts().unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(Sums::default().asked_experts(), None);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let mut sums = Sums::default();
        assert!(sums.add("m", 2, &[1.0; 3], 1, &[]).is_err());
        assert!(sums.add("m", 2, &[1.0; 4], 2, &[0, 2]).is_err());
        assert!(sums.add("m", 2, &[1.0; 4], 2, &[0, 1, 1]).is_err());
        sums.add("m", 2, &[1.0; 4], 2, &[0, 1]).unwrap();
        assert!(sums.add("m", 4, &[1.0; 4], 2, &[0]).is_err());
        assert!(sums.add("m", 4, &[1.0; 4], 1, &[]).is_err());
        sums.add("n", 1, &[f32::NAN], 1, &[]).unwrap();
        let path = std::env::temp_dir().join(format!("forebay-sums-{}.gguf", std::process::id()));
        let error = sums.write(&path, "t", [1, 1]).unwrap_err().to_string();
        assert!(error.contains('n') && !path.exists(), "{error}");
    }
}
