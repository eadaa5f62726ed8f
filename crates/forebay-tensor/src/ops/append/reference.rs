//! What `append` means.

/// `cache` is `[heads, capacity, width]`, `x` is `[count, heads, width]`.
pub(super) fn append(cache: &mut [f32], x: &[f32], positions: &[u32], [heads, width]: [usize; 2]) {
    let capacity = cache.len() / (heads * width);
    for (i, &position) in positions.iter().enumerate() {
        for head in 0..heads {
            for column in 0..width {
                cache[(head * capacity + position as usize) * width + column] =
                    x[(i * heads + head) * width + column];
            }
        }
    }
}
