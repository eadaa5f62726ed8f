//! The largest logits of each row of a step, found on the device: all that some samplers look at, and little to bring to the host.
//!
//! Larger logits come first, of equal ones the lower id, as candidates of samplers do. Next room: `replay`.

use forebay_device::{Device, Read, Tag};
use forebay_tensor::{DType, Recorder, Tensor, ops::TopK};

use super::seen::Seen;
use crate::error::Result;

/// The longest list: finding more is no less work than looking at all.
const LONGEST: usize = 256;

/// So many of the largest logits of each row.
#[derive(Debug)]
pub(in crate::generate) struct Shortlist {
    ids: Tensor,
    logits: Tensor,
    /// The same, row by row.
    rows: Vec<[Tensor; 2]>,
}

impl Shortlist {
    pub(in crate::generate) fn new(seen: &Seen, rows: usize, count: usize) -> Result<Self> {
        let list = |dtype| seen.tensor(dtype, &[rows, count], "shortlist");
        Self::of(rows, list(DType::U32)?, list(DType::F32)?)
    }

    /// The same in memory of the device, for what goes on there.
    pub(in crate::generate) fn inside(device: &Device, rows: usize, count: usize) -> Result<Self> {
        let list = |dtype| -> Result<Tensor> {
            let shape = &[rows, count];
            let request = Tensor::request(dtype, shape)?.tag(Tag::Activations).label("shortlist");
            Ok(Tensor::of(dtype, shape, device.alloc(request)?)?)
        };
        Self::of(rows, list(DType::U32)?, list(DType::F32)?)
    }

    fn of(rows: usize, ids: Tensor, logits: Tensor) -> Result<Self> {
        let row = |row| Ok([ids.narrow(0, row..row + 1)?, logits.narrow(0, row..row + 1)?]);
        let rows = (0..rows).map(row).collect::<Result<_>>()?;
        Ok(Self { ids, logits, rows })
    }

    /// How many are worth finding, of so many that are asked for; none where the host sees all of them at once, or the list would be
    /// long.
    pub(in crate::generate) fn worth(count: Option<usize>, apart: bool, vocabulary: usize) -> Option<usize> {
        let most = LONGEST.min(vocabulary.saturating_sub(1));
        count.filter(|count| apart && (1..=most).contains(count))
    }

    /// How many there are.
    pub(in crate::generate) fn len(&self) -> usize {
        self.ids.shape()[1]
    }

    /// Records the search among the logits of the first rows, `[rows, vocabulary]`.
    pub(in crate::generate) fn record(&self, ops: &mut Recorder<'_, '_>, logits: &Tensor) -> Result<()> {
        let rows = 0..logits.shape()[0];
        let (values, ids) = (&self.logits.narrow(0, rows.clone())?, &self.ids.narrow(0, rows)?);
        Ok(ops.record(&TopK { x: logits, values, ids })?)
    }

    /// The logits and tokens of the first rows, where they lie.
    pub(in crate::generate) fn lists(&self, rows: usize) -> Result<[Tensor; 2]> {
        Ok([self.logits.narrow(0, 0..rows)?, self.ids.narrow(0, 0..rows)?])
    }

    /// The tokens of a row and their logits.
    pub(in crate::generate) fn read(&self, row: usize) -> Result<(Read<'_, u32>, Read<'_, f32>)> {
        let [ids, logits] = &self.rows[row];
        Ok((ids.read()?, logits.read()?))
    }
}
