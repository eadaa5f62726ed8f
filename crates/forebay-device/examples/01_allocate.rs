//! Allocate memory of a device, look at it from the host, and give it back by letting go.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, Error, Request, Result, Tag};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    println!("{}: {} workers", device.caps().name, device.caps().workers);

    // A size is enough; a request says more.
    let scratch = device.alloc(1000)?;
    let weights =
        device.alloc(Request::elements::<f32>(1 << 20).tag(Tag::Weights).label("output.weight").zeroed())?;
    println!("{scratch:?} sets {} bytes aside", scratch.capacity());
    println!("{weights:?} sets {} bytes aside", weights.capacity());

    // Clones and slices share the bytes; the last one to go gives them back.
    let row = weights.slice(0..4096)?;
    drop(weights);
    assert_eq!(row.read::<f32>()?[..], [0.0; 1024]);
    drop((row, scratch));
    assert_eq!(device.pool().stats().in_use, 0);

    // What cannot be is an error with the numbers.
    match device.alloc(u64::MAX) {
        Err(error @ Error::TooLarge { .. }) => println!("{error}"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}
