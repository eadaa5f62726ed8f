//! A session has one open stage at a time.

use forebay_device::{Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut session = device.session()?;
    let first = session.stage("one");
    let second = session.stage("two");
    second.submit()?;
    first.submit()
}
