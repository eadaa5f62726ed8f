//! What `sort` means.

/// Each column goes as far back as there are columns before it: the larger, the equal ones to its left, and for
/// what is not a number all that are.
pub(super) fn sort(x: &[f32], width: usize) -> Vec<u32> {
    let mut out = vec![0; x.len()];
    for (r, row) in x.chunks(width.max(1)).enumerate() {
        for (i, &x) in row.iter().enumerate() {
            let before = |j: usize, y: f32| match (x.is_nan(), y.is_nan()) {
                (false, false) => y > x || y == x && j < i,
                (true, true) => j < i,
                (x_is_none, _) => x_is_none,
            };
            let place = row.iter().enumerate().filter(|&(j, &y)| before(j, y)).count();
            out[r * width + place] = i as u32;
        }
    }
    out
}
