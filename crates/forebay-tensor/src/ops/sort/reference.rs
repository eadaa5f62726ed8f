//! What `sort` means.

/// The columns of each row.
pub(super) fn sort(x: &[f32], width: usize) -> Vec<u32> {
    let mut out = Vec::new();
    for row in x.chunks(width.max(1)) {
        let (mut numbers, others): (Vec<_>, Vec<_>) = (0..row.len()).partition(|&i| !row[i].is_nan());
        // A stable sort leaves equal ones in the order of their columns. Both zeros are equal.
        numbers.sort_by(|&a, &b| (row[b] + 0.0).total_cmp(&(row[a] + 0.0)));
        out.extend(numbers.iter().chain(&others).map(|&i| i as u32));
    }
    out
}
