//! A buffer of a scope cannot be stored outside it.

use forebay_device::{Arena, Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut arena = Arena::new(device.pool());
    let mut kept = Vec::new();
    arena.scope(|scope| -> Result<()> {
        kept.push(scope.alloc(64)?);
        Ok(())
    })
}
