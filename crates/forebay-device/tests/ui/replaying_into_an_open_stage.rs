//! A recording is a stage of its own: none can be open beside it.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut session = device.session()?;
    let recording = session.stage("kept").record()?;
    let stage = session.stage("open");
    session.replay(&recording)?.wait()?;
    stage.submit()
}
