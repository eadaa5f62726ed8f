//! Stages and fences: work is recorded, submitted without waiting, and ordered on the device.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let (a, b) = (device.upload(&[1u32; 1024])?, device.alloc(4096)?);
    let mut session = device.session()?;

    // Each stage waits for the one before it on the device, not on the host.
    for layer in 0..4 {
        let mut stage = session.stage(format!("layer {layer}"));
        let (from, to) = if layer % 2 == 0 { (&a, &b) } else { (&b, &a) };
        stage.copy(from, to)?;
        stage.fill(&to.slice(..4)?, layer)?;
        println!("{stage:?} needed {} barrier", stage.barriers());
        let _ = stage.fence()?;
    }
    println!("{:?}", session.stats());

    // A stage that is dropped is discarded.
    let mut stage = session.stage("thought better of it");
    stage.fill(&a, 0xFF)?;
    drop(stage);

    session.finish()?.wait()?;
    assert_eq!(a.to_vec::<u32>()?[..2], [0x0303_0303, 1]);
    Ok(())
}
