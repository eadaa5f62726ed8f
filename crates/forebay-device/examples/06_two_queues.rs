//! Two queues: copies beside kernels, ordered by fences where it is said, and by the data where it is not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, QueueKind, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut compute = device.session()?;
    let mut copies = device.session_on(device.queue(QueueKind::Copy)?)?;
    let source = device.upload(&(0..1u32 << 20).collect::<Vec<_>>())?;
    let (staged, result) = (device.alloc(source.len())?, device.alloc(source.len())?);

    let mut stage = copies.stage("upload");
    stage.copy(&source, &staged)?;
    let uploaded = stage.fence()?;

    // Said: this stage comes after the upload.
    let mut stage = compute.stage("use");
    stage.after(&uploaded)?;
    stage.copy(&staged, &result)?;
    let _ = stage.fence()?;

    // Not said, and in order all the same: the fill writes what the stage above reads.
    let mut stage = copies.stage("use the staging memory again");
    stage.fill(&staged, 0)?;
    let _ = stage.fence()?;

    assert_eq!(result.to_vec::<u32>()?, source.to_vec::<u32>()?);
    assert_eq!(staged.to_vec::<u32>()?[..], vec![0; 1 << 20]);
    Ok(())
}
