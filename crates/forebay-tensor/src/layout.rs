//! Where the elements of a tensor lie in its bytes: type, shape, and the distance between neighbours of each axis.
//!
//! Distances count elements. In a type of blocks the fastest axis is made of whole blocks in a row, so every distance
//! but the last is a multiple of a block. All checks of views are here; nothing here touches memory.

use std::ops::Range;

use crate::{DType, Error, Result, Shape, shape::MAX_RANK};

/// Type, shape and strides.
///
/// ```
/// use forebay_tensor::{DType, Layout};
///
/// let layout = Layout::new(DType::Q8_0, &[8, 64])?;
/// assert_eq!(layout.bytes(), 8 * 68);
/// let (rows, bytes) = layout.narrow(0, 2..5)?;
/// assert_eq!((rows.shape().sizes(), bytes), (&[3, 64][..], 136..340));
/// assert!(layout.narrow(1, 0..33).is_err(), "a block cannot be cut");
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    dtype: DType,
    shape: Shape,
    strides: [usize; MAX_RANK],
}

impl Layout {
    /// Elements in a row, slowest axis first.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::PartialBlock`] if the fastest axis is no whole number of blocks.
    pub fn new(dtype: DType, shape: &[usize]) -> Result<Self> {
        let shape = Shape::new(shape)?;
        dtype.row_bytes(shape.last())?;
        Ok(Self { dtype, shape, strides: contiguous(&shape) })
    }

    /// The type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// For each axis the distance between neighbours, in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.shape.rank()]
    }

    /// Whether the elements lie in a row without gaps. An axis of one element can have any stride.
    pub fn is_contiguous(&self) -> bool {
        let wanted = contiguous(&self.shape);
        let sizes = self.shape.sizes();
        self.shape.elements() == 0
            || (0..sizes.len()).all(|axis| sizes[axis] == 1 || self.strides[axis] == wanted[axis])
    }

    /// Bytes from the first element to the end of the last one.
    pub fn bytes(&self) -> usize {
        let (sizes, block) = (self.shape.sizes(), self.dtype.block_elements());
        if self.shape.elements() == 0 {
            return 0;
        }
        let last: usize = sizes.iter().zip(&self.strides).map(|(size, stride)| (size - 1) * stride).sum();
        (last / block + 1) * self.dtype.block_bytes()
    }

    /// Part of an axis, and which bytes of this layout's bytes it takes.
    ///
    /// # Errors
    /// [`Error::Axis`], or [`Error::Range`] if the range reaches past the end or cuts a block.
    pub fn narrow(&self, axis: usize, range: Range<usize>) -> Result<(Self, Range<usize>)> {
        let sizes = self.shape.sizes();
        let Some(&size) = sizes.get(axis) else {
            return Err(Error::Axis { axis, shape: sizes.to_vec() });
        };
        let block = if axis + 1 == sizes.len() { self.dtype.block_elements() } else { 1 };
        let Range { start, end } = range;
        let whole = start.is_multiple_of(block) && end.is_multiple_of(block);
        if start > end || end > size || !whole {
            return Err(Error::Range { axis, start, end, shape: sizes.to_vec(), block });
        }
        let part = Self { shape: self.shape.with(axis, end - start), ..*self };
        if part.shape.elements() == 0 {
            return Ok((part, 0..0));
        }
        let first = start * self.strides[axis] / self.dtype.block_elements() * self.dtype.block_bytes();
        Ok((part, first..first + part.bytes()))
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// [`Error::Reshape`] if the number of elements differs or they do not lie in a row, [`Error::PartialBlock`].
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let to = Self::new(self.dtype, shape)?;
        let contiguous = self.is_contiguous();
        if !contiguous || to.shape.elements() != self.shape.elements() {
            let from = self.shape.sizes().to_vec();
            return Err(Error::Reshape { from, to: shape.to_vec(), contiguous });
        }
        Ok(to)
    }

    /// Two axes exchanged. In a type of blocks the fastest axis stays.
    ///
    /// # Errors
    /// [`Error::Axis`] for an axis that is not there or cannot be moved.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Self> {
        let rank = self.shape.rank();
        let free = if self.dtype.is_plain() { rank } else { rank.saturating_sub(1) };
        match [a, b].into_iter().find(|&axis| axis >= free && a != b || axis >= rank) {
            Some(axis) => Err(Error::Axis { axis, shape: self.shape.sizes().to_vec() }),
            None => {
                let mut strides = self.strides;
                strides.swap(a, b);
                Ok(Self { shape: self.shape.swapped(a, b), strides, ..*self })
            }
        }
    }
}

fn contiguous(shape: &Shape) -> [usize; MAX_RANK] {
    let mut strides = [1; MAX_RANK];
    let sizes = shape.sizes();
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis].max(1);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_an_outer_axis_stays_in_a_row_and_an_inner_one_does_not() {
        let layout = Layout::new(DType::F32, &[4, 6]).unwrap();
        let (rows, bytes) = layout.narrow(0, 1..3).unwrap();
        assert!(rows.is_contiguous());
        assert_eq!(bytes, 24..72);
        let (columns, bytes) = layout.narrow(1, 2..5).unwrap();
        assert!(!columns.is_contiguous());
        assert_eq!((columns.strides(), bytes), (&[6, 1][..], 8..4 * (2 + 3 * 6 + 3)));
        assert_eq!(
            columns.reshape(&[12]),
            Err(Error::Reshape { from: vec![4, 3], to: vec![12], contiguous: false })
        );
        assert!(layout.narrow(0, 2..5).is_err());
        assert!(layout.narrow(2, 0..0).is_err());
        assert_eq!(layout.narrow(0, 4..4).unwrap().1, 0..0);
    }

    #[test]
    fn one_row_of_a_column_view_is_a_row() {
        let (columns, _) = Layout::new(DType::F32, &[1, 8]).unwrap().narrow(1, 0..4).unwrap();
        assert!(columns.is_contiguous());
        assert_eq!(columns.reshape(&[2, 2]).unwrap().strides(), [2, 1]);
    }

    #[test]
    fn transposing_moves_sizes_with_strides_and_leaves_blocks_whole() {
        let turned = Layout::new(DType::F16, &[2, 3]).unwrap().transpose(0, 1).unwrap();
        assert_eq!((turned.shape().sizes(), turned.strides()), (&[3, 2][..], &[1, 3][..]));
        assert_eq!(turned.bytes(), 12);
        let blocks = Layout::new(DType::Q4_0, &[2, 3, 32]).unwrap();
        assert_eq!(blocks.transpose(0, 1).unwrap().bytes(), blocks.bytes());
        assert!(blocks.transpose(1, 2).is_err());
        assert!(blocks.transpose(0, 3).is_err());
    }
}
