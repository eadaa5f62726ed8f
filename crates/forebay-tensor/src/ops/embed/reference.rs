//! What `embed` means.

pub(super) fn embed(table: &[f32], width: usize, ids: &[u32]) -> Vec<f32> {
    ids.iter().flat_map(|&id| &table[id as usize * width..][..width]).copied().collect()
}
