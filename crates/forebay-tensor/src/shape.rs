//! Shapes: how many elements an array has along each axis, slowest axis first.
//!
//! A shape is a plain value of fixed size, so that views cost no allocation. It never says where elements lie; that
//! is `layout`.

use std::fmt;

use crate::{Error, Result};

/// The most axes a shape can have.
pub const MAX_RANK: usize = 4;

/// Sizes of the axes, slowest first.
///
/// ```
/// use forebay_tensor::Shape;
///
/// let shape = Shape::new(&[3, 4, 5])?;
/// assert_eq!((shape.rank(), shape.elements(), shape.last()), (3, 60, 5));
/// assert!(Shape::new(&[usize::MAX, 2]).is_err());
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    sizes: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape of these sizes; none are a single element.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are too many axes, or more elements than can be counted.
    pub fn new(sizes: &[usize]) -> Result<Self> {
        let fault = || Error::Shape { shape: sizes.to_vec(), most: MAX_RANK };
        // Zeros are left out, so that a view that widens an axis never meets a product that was not checked.
        let product = sizes.iter().filter(|&&n| n > 0).try_fold(1usize, |product, &n| product.checked_mul(n));
        if sizes.len() > MAX_RANK || product.is_none_or(|n| n > isize::MAX as usize / 16) {
            return Err(fault());
        }
        let mut shape = Self { sizes: [1; MAX_RANK], rank: sizes.len() as u8 };
        shape.sizes[..sizes.len()].copy_from_slice(sizes);
        Ok(shape)
    }

    /// The sizes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes[..self.rank()]
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank.into()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.sizes().iter().product()
    }

    /// Size of the fastest axis: the length of a row.
    pub fn last(&self) -> usize {
        self.sizes().last().copied().unwrap_or(1)
    }

    pub(crate) fn with(mut self, axis: usize, size: usize) -> Self {
        self.sizes[axis] = size;
        self
    }

    pub(crate) fn swapped(mut self, a: usize, b: usize) -> Self {
        self.sizes.swap(a, b);
        self
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sizes().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_checked_with_and_without_zeros() {
        assert_eq!(Shape::new(&[]).unwrap().elements(), 1);
        assert_eq!(Shape::new(&[3, 0]).unwrap().elements(), 0);
        assert!(Shape::new(&[1 << 40, 0, 1 << 40]).is_err());
        assert!(Shape::new(&[1, 1, 1, 1, 1]).is_err());
        assert_eq!(format!("{:?}", Shape::new(&[2, 7]).unwrap()), "[2, 7]");
    }
}
