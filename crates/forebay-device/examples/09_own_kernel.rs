//! A kernel of your own: a name, a signature, and a Rust function that gets slices which cannot alias.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Arg, Device, DeviceOptions, Error, Grid, KernelDef, Param, Result, Signature};

/// Elements that one group works on.
const BLOCK: u32 = 4096;

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;

    // y = a * x + y. `per_group` gives every group of the grid its own part of x and y.
    let signature = Signature::new([
        Param::read::<f32>().per_group(BLOCK),
        Param::read_write::<f32>().per_group(BLOCK),
        Param::f32(),
    ]);
    let axpy = KernelDef::new("axpy", signature).cpu(|group| {
        let (x, y, a) = (group.read::<f32>(0), group.write::<f32>(1), group.f32(2));
        x.iter().zip(y).for_each(|(x, y)| *y += a * x);
    });
    let axpy = device.load(&axpy)?;

    let elements = 1_000_003;
    let (x, y) = (device.upload(&vec![1.0f32; elements])?, device.upload(&vec![2.0f32; elements])?);
    let mut session = device.session()?;
    let mut stage = session.stage("axpy");
    let groups = (elements as u32).div_ceil(BLOCK);
    stage.launch(&axpy, Grid::linear(groups, 1), &[x.arg(), y.arg(), Arg::from(3.0f32)])?;

    // Mistakes are refused when they are recorded, with the argument named.
    for wrong in [
        &[x.arg(), y.arg()][..],
        &[x.arg(), x.arg(), Arg::from(1.0f32)],
        &[x.arg(), y.arg(), Arg::from(1u32)],
    ] {
        println!("{}", stage.launch(&axpy, Grid::linear(1, 1), wrong).unwrap_err());
    }
    println!("{}", device.kernel("axpi").unwrap_err());
    stage.fence()?.wait()?;
    assert!(y.read::<f32>()?.iter().all(|&y| y == 5.0));

    // A kernel that panics fails its stage, and no more.
    let broken =
        device.load(&KernelDef::new("broken", Signature::new([])).cpu(|_| panic!("as an example")))?;
    let mut other = device.session()?;
    let mut stage = other.stage("fails");
    stage.launch(&broken, Grid::linear(1, 1), &[])?;
    let fence = stage.fence()?;
    match fence.wait() {
        Err(error @ Error::KernelFault { .. }) => println!("{error}"),
        outcome => println!("unexpected: {outcome:?}"),
    }
    session.stage("goes on").fence()?.wait()
}
