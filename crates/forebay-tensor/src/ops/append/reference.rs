//! What `append` means.

/// `cache` is `[heads, capacity, width]`, `x` is `[count, heads, width]`; `slots` has one for each of `count`.
pub(super) fn append(cache: &mut [f32], x: &[f32], slots: &[usize], [heads, width]: [usize; 2]) {
    let capacity = cache.len() / (heads * width);
    for (i, slot) in slots.iter().enumerate() {
        for head in 0..heads {
            for column in 0..width {
                cache[(head * capacity + slot) * width + column] = x[(i * heads + head) * width + column];
            }
        }
    }
}
