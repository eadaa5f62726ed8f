//! What `append` means.

/// `caches` is `[caches, heads, capacity, width]`, `x` is `[count, heads, width]`; `slots` has a cache and a slot in it for each of `count`.
pub(super) fn append(
    caches: &mut [f32],
    x: &[f32],
    slots: &[(usize, usize)],
    [heads, capacity, width]: [usize; 3],
) {
    for (i, (place, slot)) in slots.iter().enumerate() {
        for head in 0..heads {
            for column in 0..width {
                let at = ((place * heads + head) * capacity + slot) * width + column;
                caches[at] = x[(i * heads + head) * width + column];
            }
        }
    }
}
