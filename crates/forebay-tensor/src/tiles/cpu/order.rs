//! The order of numbers from the largest down, in which what is not a number comes last.

use std::cmp::Ordering;

/// Which of two comes first; equal ones and what is not a number stand side by side.
#[inline(always)]
pub(crate) fn larger_first(a: f32, b: f32) -> Ordering {
    match b.partial_cmp(&a) {
        Some(order) => order,
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_after_minus_infinity() {
        let mut x = [f32::NAN, f32::NEG_INFINITY, 1.0, f32::INFINITY, -0.0, f32::NAN];
        x.sort_by(|a, b| larger_first(*a, *b));
        assert_eq!(x[..4], [f32::INFINITY, 1.0, -0.0, f32::NEG_INFINITY]);
        assert_eq!(larger_first(0.0, -0.0), Ordering::Equal);
    }
}
