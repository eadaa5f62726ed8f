//! Memory for one step after another: bump, reset, scopes that nothing can leave, and plans for steps that repeat.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Arena, Device, DeviceOptions, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let mut arena = Arena::new(device.pool());

    // What is still held at a reset stays with its holder, and is reported.
    let kept = arena.alloc(4096)?;
    drop(arena.alloc(100_000)?);
    let report = arena.reset();
    println!("recycled {}, held {} bytes", report.recycled, report.held_bytes());
    kept.write::<u8>()?.fill(1);

    // In a scope nothing can be kept, except by promoting it.
    for step in 0..5u32 {
        let result = arena.scope(|scope| {
            let hidden = scope.alloc(64 << 10)?;
            hidden.write::<u32>()?.fill(step);
            drop(hidden);
            let out = scope.alloc(4)?;
            out.write::<u32>()?[0] = step;
            Ok::<_, forebay_device::Error>(scope.promote(out))
        })?;
        assert_eq!(result.to_vec::<u32>()?, [step]);
    }

    // Steps that ask for the same sizes are packed by lifetime: here 100 buffers, of which two live at once.
    let mut planned = Arena::new(device.pool());
    for _ in 0..4 {
        let mut before = planned.alloc(1 << 20)?;
        for _ in 1..100 {
            before = planned.alloc(1 << 20)?;
        }
        drop(before);
        planned.reset();
    }
    let stats = planned.stats();
    println!("{} planned, {} bumped, {} MiB held", stats.planned, stats.bumped, stats.reserved >> 20);
    Ok(())
}
