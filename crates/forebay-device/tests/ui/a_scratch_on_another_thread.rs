//! A buffer of a scope stays on its thread.

use forebay_device::{Arena, Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut arena = Arena::new(device.pool());
    arena.scope(|scope| -> Result<()> {
        let scratch = scope.alloc(64)?;
        std::thread::scope(|threads| {
            threads.spawn(|| println!("{}", scratch.len()));
        });
        Ok(())
    })
}
