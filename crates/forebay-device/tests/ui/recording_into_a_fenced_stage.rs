//! A stage is over when it was fenced.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let buffer = device.alloc(64)?;
    let mut session = device.session()?;
    let mut stage = session.stage("one");
    let fence = stage.fence()?;
    stage.fill(&buffer, 1)?;
    fence.wait()
}
