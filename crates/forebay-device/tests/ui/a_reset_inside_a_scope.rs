//! An arena cannot start its next epoch while a scope is open.

use forebay_device::{Arena, Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut arena = Arena::new(device.pool());
    arena.scope(|scope| -> Result<()> {
        let scratch = scope.alloc(64)?;
        arena.reset();
        println!("{}", scratch.len());
        Ok(())
    })
}
