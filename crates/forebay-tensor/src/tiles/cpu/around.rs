//! What is around products: what their sums begin with, and the gate that they go through while they are in cache.
//!
//! A sum begins with the number that it is added to, as if that were its first product, so that a row alone and a row
//! among others come to the same bits. Next room: `blocks`, whose outputs have it around them.

use std::ops::Range;

/// What a gate makes of some elements of an output, whose range comes with them.
pub(crate) type Gate<'a> = &'a dyn Fn(Range<usize>, &mut [f32]);

/// Nothing, unless something is said.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around<'a> {
    /// Products are added to what the output holds.
    pub(crate) adds: bool,
    /// A number for each row of the weight, or nothing.
    pub(crate) bias: &'a [f32],
    /// What becomes of the sums.
    pub(crate) gate: Option<Gate<'a>>,
}

impl Around<'_> {
    /// Whether sums begin with what the output holds.
    #[inline(always)]
    pub(super) fn begins(&self) -> bool {
        self.adds || !self.bias.is_empty()
    }

    /// Makes what sums begin with, for some rows of the weight.
    pub(super) fn begin(&self, rows: Range<usize>, out: &mut [f32]) {
        let bias = &self.bias[rows];
        if self.adds {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        } else {
            out.copy_from_slice(bias);
        }
    }
}
