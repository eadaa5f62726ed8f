//! Memory that host and card see alike, for tests that need some beside the device that they look at.
//!
//! It is pinned memory of one more device on the same card, opened once for all tests and never closed, so that no test
//! sees it in its own counts. Next: `gate`.

use std::sync::OnceLock;

use forebay_device::{BackendKind, Buffer, Device, DeviceOptions, MemoryKind, Pool, PoolOptions, Result};

/// Pinned bytes, set to zero. Their address is the same for the card and for the host.
///
/// # Errors
/// As [`Device::open`] and [`Pool::alloc`].
pub fn pinned(bytes: u64) -> Result<Buffer> {
    static POOL: OnceLock<Result<Pool>> = OnceLock::new();
    let open = || {
        let device = Device::open(&DeviceOptions::new(BackendKind::Cuda))?;
        let mut options = PoolOptions::default();
        options.kind = MemoryKind::Staging;
        Pool::new(&device, options)
    };
    let buffer = POOL.get_or_init(open).clone()?.alloc(bytes)?;
    buffer.write::<u8>()?.fill(0);
    Ok(buffer)
}
