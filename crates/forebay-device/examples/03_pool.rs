//! A pool with a limit: reuse, budgets, an out-of-memory error that explains itself, and giving memory back.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, Pool, PoolOptions, Request, Result, Tag};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let options = PoolOptions::default().limit(64 << 20).budget(Tag::Kv, 16 << 20);
    let pool = Pool::new(&device, options)?;

    // What was let go serves the next request without a call into the driver.
    drop((pool.alloc(1024)?, pool.alloc(2048)?, pool.alloc(1024)?));
    let calls = pool.stats().driver_calls;
    let (a, b) = (pool.alloc(1024)?, pool.alloc(2048)?);
    assert_eq!((pool.stats().driver_calls, pool.stats().in_use), (calls, 2));
    drop((a, b));

    // Limits and budgets are errors with a report; the pool goes on working.
    let held = pool.alloc(Request::new(40 << 20).tag(Tag::Weights).label("weights"))?;
    println!("{}", pool.alloc(40 << 20).unwrap_err());
    println!("{}", pool.alloc(Request::new(17 << 20).tag(Tag::Kv)).unwrap_err());
    assert!(pool.would_fit(8 << 20) && !pool.would_fit(40 << 20));

    // All or nothing.
    let layers = vec![Request::new(9 << 20).label("layer"); 3];
    assert!(pool.alloc_batch(&layers).is_err());
    assert_eq!(pool.stats().in_use, 1);
    assert_eq!(pool.alloc_batch(&layers[..2])?.len(), 2);

    drop(held);
    let stats = pool.stats();
    println!(
        "free {} of {} reserved bytes; {} hits, {} misses",
        stats.free, stats.reserved, stats.hits, stats.misses
    );
    println!("gave back {} bytes", pool.trim(0)?);
    assert_eq!(pool.stats().reserved, 0);
    Ok(())
}
