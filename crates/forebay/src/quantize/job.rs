//! One tensor on its way: its rows are read, decoded, encoded by several threads, and handed on in their order.
//!
//! It holds a few pieces at a time, whatever the size of the tensor, and knows no file that is written.

use std::{ops::ControlFlow, thread};

use forebay_tensor::{DType, quant};

use super::importance::Columns;
use crate::{
    error::{Error, Result},
    formats::origin::{Origin, Part},
};

/// Elements that a thread works on at a time.
const PIECE: usize = 1 << 20;

/// One tensor, and what becomes of it.
pub(super) struct Job<'a> {
    pub(super) origin: &'a Origin,
    pub(super) part: &'a Part,
    /// The type that it gets.
    pub(super) to: DType,
    pub(super) importance: Option<&'a Columns>,
    pub(super) threads: usize,
}

impl Job<'_> {
    /// Hands on all bytes in order. `told` is told how many bytes of the source are done, and may break off.
    pub(super) fn write(
        &self,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
        told: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let Self { origin, part, .. } = *self;
        let (rows, width) = (part.rows(), part.width());
        let copied = part.dtype()? == self.to && part.is_as_written();
        let piece = (PIECE / width.max(1)).max(1);
        let step = if copied { piece } else { piece * self.threads };
        let mut done = 0;
        while done < rows {
            if told(part.bytes() / rows as u64 * done as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let count = step.min(rows - done);
            match copied {
                true => out(&part.raw(origin, done..done + count)?)?,
                false => out(&self.encoded(done, count, piece)?)?,
            }
            done += count;
            part.forget(origin, done);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Some rows in their new type, encoded a piece each by threads.
    fn encoded(&self, first: usize, count: usize, piece: usize) -> Result<Vec<u8>> {
        let width = self.part.width();
        let row = self.to.row_bytes(width)?;
        let mut out = vec![0; count * row];
        thread::scope(|scope| -> Result<()> {
            let work = out.chunks_mut(piece * row).enumerate().map(|(number, out)| {
                let first = first + number * piece;
                scope.spawn(move || self.encode(first, out))
            });
            let work: Vec<_> = work.collect();
            work.into_iter()
                .try_for_each(|work| work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(out)
    }

    /// Fills bytes with rows from one on.
    fn encode(&self, first: usize, out: &mut [u8]) -> Result<()> {
        let (width, to) = (self.part.width(), self.to);
        let row = to.row_bytes(width)?;
        let count = out.len() / row;
        let mut floats = vec![0.0; count * width];
        self.part.floats(self.origin, first..first + count, &mut floats)?;
        // Rows of the matrix of one expert.
        let matrix = self.part.shape.iter().rev().skip(1).take(1).product::<usize>().max(1);
        for (number, (floats, out)) in floats.chunks(width).zip(out.chunks_mut(row)).enumerate() {
            let columns = self.importance.map(|all| all.of((first + number) / matrix, width));
            quant::encode(to, floats, columns, out).map_err(|source| self.spoilt(&source))?;
        }
        Ok(())
    }

    /// Says which tensor an encoder could not take.
    fn spoilt(&self, source: &forebay_tensor::Error) -> Error {
        let file = self.origin.metadata.file().clone();
        Error::Conversion { file, what: format!("{}: {source}", self.part.name) }
    }
}
