//! The residency set: what the driver is asked to keep at hand, told in one call a submission.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example shows what happens")]

use forebay_device::{Device, DeviceOptions, MappedFile, Request, Result};

fn main() -> Result<()> {
    let device = Device::open(&DeviceOptions::cpu())?;
    let residency = device.residency();
    println!("enabled: {}", residency.enabled());

    let buffers =
        (0..100).map(|_| device.alloc(Request::new(4096).dedicated())).collect::<Result<Vec<_>>>()?;
    assert_eq!(residency.count(), 100);
    drop(buffers);
    assert_eq!(
        (residency.count(), residency.driver_calls()),
        (0, 0),
        "nothing was submitted, so nobody was told"
    );
    device.session()?.stage("tell").submit()?;
    assert_eq!(residency.driver_calls(), 1);

    // Memory of somebody else: a mapped file joins the set without being owned.
    let path = std::env::temp_dir().join(format!("forebay-example-{}", std::process::id()));
    let io = |action| move |error| println!("cannot {action} {path:?}: {error}", path = "the example's file");
    std::fs::write(&path, vec![7u8; 1 << 20]).unwrap_or_else(io("write"));
    let weights = device.adopt_file(&MappedFile::open(&path)?)?;
    device.pool().register(&weights)?;
    device.pool().register(&weights)?;
    assert_eq!(residency.count(), 1, "twice is once");
    assert!(weights.write::<u8>().is_err(), "a mapped file can only be read");
    drop(weights);
    assert_eq!(residency.count(), 0);
    std::fs::remove_file(&path).unwrap_or_else(io("remove"));
    Ok(())
}
