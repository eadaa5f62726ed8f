//! A buffer of a scope ends with the scope.

use forebay_device::{Arena, Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut arena = Arena::new(device.pool());
    let scratch = arena.scope(|scope| scope.alloc(64))?;
    println!("{}", scratch.len());
    Ok(())
}
