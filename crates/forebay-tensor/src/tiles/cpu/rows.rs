//! Rows that repeat beside longer ones.

/// Walks along `x` with `y` beside it, again and again from its beginning; `x` starts beside element `start` of
/// the endless row. Without elements of `y` nothing is walked.
pub(crate) fn beside(x: &mut [f32], y: &[f32], start: usize, mut each: impl FnMut(&mut f32, f32)) {
    if y.is_empty() {
        return;
    }
    let (mut rest, mut at) = (x, start % y.len());
    while !rest.is_empty() {
        let (run, after) = rest.split_at_mut(rest.len().min(y.len() - at));
        run.iter_mut().zip(&y[at..]).for_each(|(x, y)| each(x, *y));
        (rest, at) = (after, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_row_repeats_from_where_the_long_one_starts() {
        let mut x = [0.0; 8];
        beside(&mut x, &[1.0, 2.0, 3.0], 5, |x, y| *x += y);
        assert_eq!(x, [3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
        beside(&mut x, &[], 5, |x, _| *x = 9.0);
        assert_eq!(x[0], 3.0);
    }
}
