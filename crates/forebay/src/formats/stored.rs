//! Where a tensor of a model lies: in rows of some files, one after another or scattered, in one plane or in several.
//!
//! A matrix that is several in one, and several that the models here want as one, differ in nothing but which rows they are.
//! Ranges come out of the readers of the formats, which have checked them. Next room: `weights`, which makes tensors.

use std::{borrow::Cow, ops::Range, path::Path, sync::Arc};

use forebay_tensor::{DType, quant};

use super::{gguf, mlx, source::Source};
use crate::error::{Error, Result};

/// A tensor as the files of a model hold it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// The file of its first row, as it is named in messages.
    pub(super) file: Arc<Path>,
    /// Its name in the file, for messages.
    pub(super) name: Arc<str>,
    /// Slowest dimension first.
    pub(super) shape: Vec<u64>,
    pub(super) kind: Kind,
    pub(super) change: Change,
    /// Bytes of a row in each plane.
    row: [u64; 3],
    runs: Vec<Run>,
}

/// What a tensor is made of.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Elements or blocks, one after another.
    Plain(DType),
    /// Codes, scales and biases of a type of MLX.
    Planes { dtype: DType, scale_type: DType },
    /// Computed from what the configuration says.
    Given(Arc<[f32]>),
    /// Nobody knows; so the file calls it.
    Unknown(String),
}

/// How elements differ from those that the models here expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    Nothing,
    /// They are less by one.
    AddOne,
    /// They are more by one.
    TakeOne,
    /// Their exponentials are meant, and negative.
    NegativeExp,
    /// They are such exponentials.
    LogOfNegative,
}

/// Rows of one source at equal distances: a range for each plane.
#[derive(Clone, Debug)]
struct Run {
    file: [usize; 3],
    start: [u64; 3],
    rows: u64,
    /// Rows from one to the next.
    step: u64,
}

/// Some rows of a tensor: so many from one on, at equal distances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) step: u64,
}

impl Stored {
    /// A tensor of a GGUF file.
    pub(super) fn of_gguf(part: usize, tensor: &gguf::Tensor) -> Self {
        let kind = match tensor.dtype() {
            Ok(dtype) => Kind::Plain(dtype),
            Err(_) => Kind::Unknown(format!("number {}", tensor.kind())),
        };
        let range = tensor.range();
        let plane = |bytes: &Range<u64>| (part, bytes.clone());
        Self::whole(tensor.file(), tensor.name(), tensor.shape(), kind, [Some(plane(&range)), None, None])
    }

    /// A tensor that is to be, of which there are no bytes yet.
    pub(super) fn planned(file: &Arc<Path>, tensor: &gguf::Planned) -> Result<Self> {
        let shape: Vec<u64> = tensor.shape.iter().map(|size| *size as u64).collect();
        let width = tensor.shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product::<u64>();
        let range = 0..rows * tensor.dtype.row_bytes(width)? as u64;
        let kind = Kind::Plain(tensor.dtype);
        Ok(Self::whole(file, &tensor.name, &shape, kind, [Some((0, range)), None, None]))
    }

    /// A weight of a folder.
    pub(super) fn of_weight(weight: &mlx::Weight<'_>) -> Result<Self> {
        let (_, codes) = weight.codes;
        let kind = match (weight.dtype, weight.scales) {
            (None, _) => Kind::Unknown(format!("{:?}", codes.kind())),
            (Some(dtype), None) => Kind::Plain(dtype),
            (Some(dtype), Some((_, scales))) => Kind::Planes { dtype, scale_type: scales.dtype()? },
        };
        let planes = [Some(weight.codes), weight.scales, weight.biases];
        let planes = planes.map(|plane| plane.map(|(part, tensor)| (part, tensor.range())));
        Ok(Self::whole(codes.file(), weight.name, &weight.shape, kind, planes))
    }

    /// Numbers that no file holds.
    pub(super) fn given(file: &Arc<Path>, name: &str, numbers: &[f32]) -> Self {
        let kind = Kind::Given(numbers.into());
        Self::whole(file, name, &[numbers.len() as u64], kind, [None, None, None])
    }

    fn whole(
        file: &Arc<Path>,
        name: &str,
        shape: &[u64],
        kind: Kind,
        planes: [Option<(usize, Range<u64>)>; 3],
    ) -> Self {
        let rows = shape.iter().rev().skip(1).product::<u64>().max(1);
        let (mut run, mut row) = (Run { file: [0; 3], start: [0; 3], rows, step: 1 }, [0; 3]);
        for (i, (part, range)) in planes.into_iter().enumerate().filter_map(|(i, plane)| Some((i, plane?))) {
            (run.file[i], run.start[i], row[i]) = (part, range.start, (range.end - range.start) / rows);
        }
        let (file, name, shape) = (file.clone(), name.into(), shape.to_vec());
        Self { file, name, shape, kind, change: Change::Nothing, row, runs: vec![run] }
    }

    /// The same bytes, each element of the last axis a row of its own; only where elements are plain.
    pub(super) fn by_element(mut self) -> Self {
        if let (Kind::Plain(dtype), Some(width)) = (&self.kind, self.shape.last()) {
            self.row[0] = dtype.block_bytes() as u64;
            self.runs.iter_mut().for_each(|run| run.rows *= width);
        }
        self
    }

    /// Some rows, in this order, as a tensor of another shape.
    pub(super) fn pick(&self, shape: Vec<u64>, picked: impl IntoIterator<Item = Rows>) -> Self {
        let mut runs = Vec::new();
        for rows in picked {
            let mut before = 0;
            for run in &self.runs {
                let inside = before..before + run.rows;
                before = inside.end;
                // The first of the rows at or after the beginning of the run, and one past the last before its end.
                let reach = |limit: u64| limit.saturating_sub(rows.first).div_ceil(rows.step).min(rows.count);
                let (from, to) = (reach(inside.start), reach(inside.end));
                if from < to {
                    let skipped = (rows.first + from * rows.step - inside.start) * run.step;
                    let start = std::array::from_fn(|i| run.start[i] + skipped * self.row[i]);
                    let step = run.step * rows.step;
                    push(&mut runs, Run { file: run.file, start, rows: to - from, step }, &self.row);
                }
            }
        }
        let Self { file, name, kind, change, row, .. } = self;
        Self {
            file: file.clone(),
            name: name.clone(),
            shape,
            kind: kind.clone(),
            change: *change,
            row: *row,
            runs,
        }
    }

    /// Of the rows of each expert, the first half and the second; none where they are no two halves.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let (whole, experts, each) = match self.shape[..] {
            // Biases have an element where matrices have a row.
            [experts, each] if matches!(self.kind, Kind::Plain(_)) => {
                (self.clone().by_element(), experts, each)
            }
            [experts, each, _] => (self.clone(), experts, each),
            _ => return None,
        };
        let (mut shape, count) = (self.shape.clone(), each / 2);
        shape[1] = count;
        each.is_multiple_of(2).then(|| {
            [0, 1].map(|half| {
                let rows =
                    (0..experts).map(|expert| Rows { first: expert * each + half * count, count, step: 1 });
                whole.pick(shape.clone(), rows)
            })
        })
    }

    /// Tensors of one shape and type, one after another along an axis of their own.
    pub(super) fn stack(parts: Vec<Self>) -> Option<Self> {
        let count = parts.len() as u64;
        let mut parts = parts.into_iter();
        let mut all = parts.next()?;
        for part in parts {
            let kinds = [&all.kind, &part.kind].map(|kind| match kind {
                Kind::Plain(dtype) => Some((*dtype, None)),
                Kind::Planes { dtype, scale_type } => Some((*dtype, Some(*scale_type))),
                _ => None,
            });
            if part.shape != all.shape || kinds[0] != kinds[1] {
                return None;
            }
            part.runs.into_iter().for_each(|run| push(&mut all.runs, run, &all.row));
        }
        all.shape.insert(0, count);
        Some(all)
    }

    /// Rows, over all axes but the last.
    pub(super) fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows).sum()
    }

    /// So many rows from one on, as a matrix.
    pub(super) fn part(&self, first: u64, count: u64) -> Self {
        let width = self.shape.iter().product::<u64>() / self.rows().max(1);
        self.pick(vec![count, width], [Rows { first, count, step: 1 }])
    }

    /// Bytes of all planes.
    pub(super) fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.rows * self.row.iter().sum::<u64>()).sum()
    }

    /// The type, of which a tensor can be made.
    pub(super) fn known(&self) -> Result<()> {
        match &self.kind {
            Kind::Unknown(found) => Err(Error::UnknownType {
                file: self.file.clone(),
                tensor: self.name.to_string(),
                found: found.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The only range of bytes of a plane, and its file; none where it is scattered.
    pub(super) fn range(&self, plane: usize) -> Option<(usize, Range<u64>)> {
        let [run] = &self.runs[..] else { return None };
        if run.step > 1 && run.rows > 1 {
            return None;
        }
        Some((run.file[plane], run.start[plane]..run.start[plane] + run.rows * self.row[plane]))
    }

    /// The bytes of a plane, gathered where they are scattered.
    pub(super) fn bytes<'a>(&self, files: &'a [Source], plane: usize) -> Result<Cow<'a, [u8]>> {
        if self.row[plane] == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if let Some((file, range)) = self.range(plane) {
            return files[file].bytes(range);
        }
        let mut bytes = vec![0; (self.rows() * self.row[plane]) as usize];
        self.gather(files, plane, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// Fills bytes with those of a plane, and lets the pages behind them go.
    pub(super) fn gather(&self, files: &[Source], plane: usize, bytes: &mut [u8]) -> Result<()> {
        let row = self.row[plane];
        let mut rest = bytes;
        for run in &self.runs {
            let (file, start) = (&files[run.file[plane]], run.start[plane]);
            let (count, rows) = if run.step == 1 { (1, run.rows) } else { (run.rows, 1) };
            for i in 0..count {
                let (part, after) = rest.split_at_mut((rows * row) as usize);
                file.read(part, start + i * run.step * row)?;
                rest = after;
            }
            // What lies between the rows is read again when its turn comes.
            file.forget(start..start + ((run.rows - 1) * run.step + 1) * row);
        }
        Ok(())
    }

    /// The elements, as models expect them.
    pub(super) fn decode(&self, files: &[Source], out: &mut [f32]) -> Result<()> {
        let bytes = |plane| self.bytes(files, plane);
        match &self.kind {
            Kind::Plain(dtype) => quant::decode(*dtype, &bytes(0)?, out)?,
            Kind::Planes { dtype, scale_type } => {
                let (codes, scales, biases) = (bytes(0)?, bytes(1)?, bytes(2)?);
                let scale_type = *scale_type;
                let planes =
                    quant::mlx::Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
                quant::mlx::decode(*dtype, &planes, out)?;
            }
            Kind::Given(numbers) => out.copy_from_slice(numbers),
            Kind::Unknown(_) => self.known()?,
        }
        match self.change {
            Change::Nothing => {}
            Change::AddOne => out.iter_mut().for_each(|x| *x += 1.0),
            Change::TakeOne => out.iter_mut().for_each(|x| *x -= 1.0),
            Change::NegativeExp => out.iter_mut().for_each(|x| *x = -x.exp()),
            Change::LogOfNegative => out.iter_mut().for_each(|x| *x = (-*x).ln()),
        }
        Ok(())
    }

    /// Lets the pages behind the first rows go.
    pub(super) fn forget(&self, files: &[Source], rows: u64) {
        for (plane, row) in self.row.iter().enumerate().filter(|(_, row)| **row > 0) {
            if let Some((file, range)) = self.range(plane) {
                let end = range.start.saturating_add(rows.saturating_mul(*row)).min(range.end);
                files[file].forget(range.start..end);
            }
        }
    }
}

/// Adds a run, to the one before if it goes on where that one ends.
fn push(runs: &mut Vec<Run>, run: Run, row: &[u64; 3]) {
    if let Some(last) = runs.last_mut()
        && last.file == run.file
        && (last.step, run.step) == (1, 1)
        && (0..3).all(|i| last.start[i] + last.rows * row[i] == run.start[i])
    {
        last.rows += run.rows;
        return;
    }
    runs.push(run);
}
