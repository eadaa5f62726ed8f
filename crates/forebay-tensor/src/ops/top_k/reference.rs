//! What `top_k` means.

/// The columns of the `k` largest of each row.
pub(super) fn top_k(x: &[f32], width: usize, k: usize) -> Vec<u32> {
    let mut out = Vec::new();
    for row in x.chunks(width.max(1)) {
        let mut left: Vec<usize> = (0..row.len()).collect();
        for _ in 0..k {
            let best = left
                .iter()
                .copied()
                .filter(|&i| !row[i].is_nan())
                .reduce(|a, b| if row[b] > row[a] { b } else { a });
            let best = best.unwrap_or(left[0]);
            left.retain(|&i| i != best);
            out.push(best as u32);
        }
    }
    out
}
