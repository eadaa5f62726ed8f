//! Elements of caches: how rows of them become f32 and come from it.

use bytemuck::Pod;
use half::{f16, slice::HalfFloatSliceExt};

/// An element of a cache.
pub(crate) trait CacheElement: Pod {
    /// A row as f32; `scratch` is as long as the row.
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];

    /// Rounds a row to nearest.
    fn narrow(from: &[f32], row: &mut [Self]);
}

impl CacheElement for f32 {
    fn widen<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        row.copy_from_slice(from);
    }
}

impl CacheElement for f16 {
    fn widen<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        row.convert_to_f32_slice(scratch);
        scratch
    }

    fn narrow(from: &[f32], row: &mut [Self]) {
        row.convert_from_f32_slice(from);
    }
}
