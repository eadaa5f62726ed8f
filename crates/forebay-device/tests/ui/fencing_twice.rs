//! A stage is submitted once.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut session = device.session()?;
    let stage = session.stage("one");
    stage.fence()?.wait()?;
    stage.fence()?.wait()
}
