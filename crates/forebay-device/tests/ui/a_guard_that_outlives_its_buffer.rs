//! A guard borrows the buffer whose bytes it shows.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut guard = {
        let buffer = device.alloc(64)?;
        buffer.write::<u32>()?
    };
    guard.fill(1);
    Ok(())
}
