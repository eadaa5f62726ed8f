//! A kernel of your own for the GPU of a Mac: MSL text beside the Rust function that other devices run.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, Error, Grid, ImageFormat, KernelDef, Param, Result, Signature};

/// Elements that one group works on.
const BLOCK: u32 = 256;

/// Argument n of the signature is `[[buffer(n)]]`: buffers as pointers, scalars as `constant` references.
const AXPY: &str = "
#include <metal_stdlib>
using namespace metal;

kernel void axpy(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], constant float &a [[buffer(2)]],
                 constant uint &n [[buffer(3)]], uint i [[thread_position_in_grid]]) {
    if (i < n) y[i] += a * x[i];
}
";

fn main() -> Result<()> {
    let device = match Device::open(&DeviceOptions::metal()) {
        Err(error @ Error::Unavailable { .. }) => {
            println!("{error}");
            Device::open(&DeviceOptions::cpu())?
        }
        opened => opened?,
    };
    println!("on {}", device.caps().name);

    let signature = Signature::new([
        Param::read::<f32>().per_group(BLOCK),
        Param::read_write::<f32>().per_group(BLOCK),
        Param::f32(),
        Param::u32(),
    ]);
    let axpy = KernelDef::new("axpy", signature)
        .cpu(|group| {
            let (x, y, a) = (group.read::<f32>(0), group.write::<f32>(1), group.f32(2));
            x.iter().zip(y).for_each(|(x, y)| *y += a * x);
        })
        .image(ImageFormat::Msl, AXPY.as_bytes(), "axpy");
    // Text that does not compile is refused here, in the compiler's words.
    let axpy = device.load(&axpy)?;

    let elements = 100_003u32;
    let (x, y) = (device.upload(&vec![1.0f32; 100_003])?, device.upload(&vec![2.0f32; 100_003])?);
    let mut session = device.session()?;
    let mut stage = session.stage("axpy");
    let grid = Grid::linear(elements.div_ceil(BLOCK), BLOCK);
    stage.launch(&axpy, grid, &[x.arg(), y.arg(), 3.0f32.into(), elements.into()])?;
    stage.fence()?.wait()?;
    assert!(y.read::<f32>()?.iter().all(|&y| y == 5.0));
    Ok(())
}
