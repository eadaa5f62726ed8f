//! Record once, replay often: what changes from step to step lives in the memory that the recording binds.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Arg, Device, DeviceOptions, Grid, KernelDef, Param, Result, Signature};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let count =
        KernelDef::new("count", Signature::new([Param::read_write::<u64>(), Param::u32()])).cpu(|group| {
            let step = u64::from(group.u32(1));
            group.write::<u64>(0).iter_mut().for_each(|counter| *counter += step);
        });
    let count = device.load(&count)?;
    let counter = device.upload(&[0u64])?;

    let mut session = device.session()?;
    let mut stage = session.stage("step");
    for _ in 0..10 {
        stage.launch(&count, Grid::linear(1, 1), &[counter.arg(), Arg::from(3u32)])?;
    }
    let step = stage.record()?;
    println!("{step:?}");
    for _ in 0..100 {
        let _ = session.replay(&step)?;
    }
    session.finish()?.wait()?;
    assert_eq!(counter.to_vec::<u64>()?, [3000]);
    Ok(())
}
