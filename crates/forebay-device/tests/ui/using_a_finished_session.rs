//! A session is over when it was finished.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut session = device.session()?;
    session.finish()?.wait()?;
    session.stage("late").submit()
}
