//! Memory that the device uses and the host sees, so that neither asks a driver for a few words of the other.
//!
//! Where they share all memory it is any; else it is pinned memory of the host, taken piece by piece as it is little.

use forebay_device::{Device, MemoryKind, Pool, PoolOptions, Tag};
use forebay_tensor::{DType, Tensor};

use crate::error::Result;

/// Where such memory comes from.
#[derive(Debug)]
pub(in crate::generate) struct Seen {
    pool: Pool,
    pinned: bool,
}

impl Seen {
    pub(in crate::generate) fn new(device: &Device) -> Result<Self> {
        let pinned = !device.caps().unified;
        let mut options = PoolOptions::default();
        options.kind = MemoryKind::Staging;
        let pool = if pinned { Pool::new(device, options)? } else { device.pool().clone() };
        Ok(Self { pool, pinned })
    }

    /// A tensor in such memory.
    pub(in crate::generate) fn tensor(
        &self,
        dtype: DType,
        shape: &[usize],
        label: &'static str,
    ) -> Result<Tensor> {
        let request = Tensor::request(dtype, shape)?.tag(Tag::Staging).label(label);
        let request = if self.pinned { request.dedicated() } else { request };
        Ok(Tensor::of(dtype, shape, self.pool.alloc(request)?)?)
    }
}
