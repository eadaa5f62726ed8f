//! The bytes can be seen only while the guard stands.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let buffer = device.alloc(64)?;
    let bytes: &[u32] = {
        let guard = buffer.read::<u32>()?;
        &guard
    };
    println!("{bytes:?}");
    Ok(())
}
