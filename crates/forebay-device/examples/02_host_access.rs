//! The host touches bytes only through guards, which wait for the device and refuse what would alias.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let buffer = device.upload(&[1.0f32, 2.0, 3.0, 4.0])?;

    // Any number of readers, or one writer, of bytes that overlap.
    let (all, tail) = (buffer.read::<f32>()?, buffer.slice(8..)?);
    assert_eq!(tail.read::<f32>()?[..], all[2..]);
    println!("while it is read: {}", buffer.write::<f32>().map(drop).unwrap_err());
    drop(all);

    // Two writers of bytes that do not overlap are fine.
    let (low, high) = (buffer.slice(..8)?, buffer.slice(8..)?);
    let (mut a, mut b) = (low.write::<f32>()?, high.write::<f32>()?);
    a[0] = 10.0;
    b[0] = 30.0;
    // Work that would touch bytes under a guard is refused, and nothing is submitted.
    let mut session = device.session()?;
    let mut stage = session.stage("clear");
    stage.fill(&buffer, 0)?;
    println!("while it is written: {}", stage.fence().map(drop).unwrap_err());
    drop((a, b));
    assert_eq!(buffer.to_vec::<f32>()?, [10.0, 2.0, 30.0, 4.0]);

    // The element type has to suit the bytes.
    println!("as u64 from byte 4 on: {}", buffer.slice(4..12)?.read::<u64>().map(drop).unwrap_err());
    println!("as u64 of 12 bytes: {}", buffer.slice(..12)?.read::<u64>().map(drop).unwrap_err());
    Ok(())
}
