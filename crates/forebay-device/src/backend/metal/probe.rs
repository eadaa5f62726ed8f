//! The self-test: what a device has to get right before it is opened, on its own queue and memory.
//!
//! It sets bytes, copies them from and to odd places, and runs a kernel that adds over a simdgroup, shares memory in a
//! group and rounds; each step needs what the one before it wrote. A device that fails is refused, not worked around.

use crate::{
    backend::{Backend, Submission, Work, timeline::Patience, waits::Waits},
    caps::{MemoryKind, QueueKind},
    error::{Error, Result},
    kernel::{ImageFormat, KernelDef},
    label::Label,
    launch::{ArgumentValue, Command, Grid, Param, Place, Signature},
};

use super::{device::MetalDevice, module::OWN};

/// Threads of the group that is launched.
const THREADS: u32 = 64;
/// Lanes of a simdgroup on every Apple GPU.
const LANES: u32 = 32;
const BYTES: u64 = 4096;
/// Where the parts are: values, sums, what is left after rounding, and copies of the first two.
const VALUES: u64 = 0;
const SUMS: u64 = 256;
const ROUNDED: u64 = 512;
const WORDS: u64 = 768;
const ODD: u64 = 1024 + 1;
const LARGE: f32 = 1e8;
const MARK: u8 = 0x5A;

/// Runs the test.
///
/// # Errors
/// `Unavailable`, with what went wrong.
pub(super) fn run(device: &MetalDevice) -> Result<()> {
    let outcome = test(device);
    device.close();
    let why = match outcome {
        Ok(None) => return Ok(()),
        Ok(Some(what)) => what.to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::Unavailable { backend: "metal", why: format!("the device fails its self-test: {why}") })
}

fn test(device: &MetalDevice) -> Result<Option<&'static str>> {
    let region = device.region_reserve(MemoryKind::Device, BYTES)?;
    let place =
        |offset: u64, len: u64| Place { region: region.id, offset, address: region.address + offset, len };
    let signature =
        Signature::new([Param::read::<f32>(), Param::write::<u32>(), Param::write::<f32>(), Param::f32()]);
    let def = KernelDef::new("probe", signature).image(ImageFormat::Msl, OWN.as_bytes(), "probe");
    let kernel = device.kernel_load(&def)?;
    let values: Vec<u8> =
        (0..THREADS).flat_map(|i| if i % 7 == 3 { f32::NAN } else { i as f32 / 8.0 }.to_ne_bytes()).collect();
    device.write(region.id, VALUES, &values)?;

    let mut list = device.recycle();
    let len = 4 * u64::from(THREADS);
    list.arguments.extend([
        ArgumentValue::Buffer(place(VALUES, len)),
        ArgumentValue::Buffer(place(SUMS, len)),
        ArgumentValue::Buffer(place(ROUNDED, len)),
        ArgumentValue::F32(LARGE),
    ]);
    list.commands.extend([
        Command::Fill { to: place(SUMS, BYTES - SUMS), byte: MARK },
        Command::Barrier,
        Command::Launch { kernel, grid: Grid::linear(1, THREADS), first: 0, count: 4 },
        Command::Barrier,
        Command::Copy { from: place(SUMS, len), to: place(WORDS, len) },
        // As long as whole words, and not where words may be.
        Command::Copy { from: place(SUMS + 3, len - 16), to: place(ODD, len - 16) },
        Command::Barrier,
        Command::Fill { to: place(SUMS, 5), byte: 0 },
    ]);
    let queue = device.queue_open(QueueKind::Compute)?;
    let (label, waits, work) = (Label::from("self-test"), Waits::default(), Work::Once(list));
    let submission = Submission { queue, tick: 1, label, after: None, waits, work, profile: None };
    device.submit(submission).map_err(|(error, _)| error)?;
    device.timeline().wait(queue, 1, Patience::default())?;

    let mut bytes = vec![0; BYTES as usize];
    device.read(region.id, 0, &mut bytes)?;
    device.region_release(region.id)?;
    Ok(fault(&bytes))
}

/// The first thing that is not as it has to be.
fn fault(bytes: &[u8]) -> Option<&'static str> {
    let part = |offset: u64, len: usize| &bytes[offset as usize..offset as usize + len];
    let sums: Vec<u8> = (0..THREADS)
        .flat_map(|i| {
            let first = i / LANES * LANES;
            let (sum, other) = ((first..first + LANES).sum::<u32>(), THREADS - 1 - i);
            (10_000 * sum + other * other).to_ne_bytes()
        })
        .collect();
    let rounded = |i: u32| if i % 7 == 3 { -1.0 } else { (i as f32 / 8.0 + LARGE) - LARGE };
    let rounded: Vec<u8> = (0..THREADS).flat_map(|i| rounded(i).to_ne_bytes()).collect();
    let len = sums.len();
    let checks = [
        (part(WORDS, len) == sums, "a kernel's sums, or a copy of words, are wrong"),
        (part(ODD, len - 16) == &sums[3..len - 13], "a copy of bytes is wrong"),
        (
            part(SUMS, 5) == [0; 5] && part(SUMS + 5, len - 5) == &sums[5..],
            "a fill is wrong, or out of order",
        ),
        (part(ROUNDED, len) == rounded, "floating-point maths is not done as written"),
        (part(ODD + len as u64 - 16, 100) == [MARK; 100], "something was written past its end"),
    ];
    checks.into_iter().find(|(right, _)| !right).map(|(_, what)| what)
}
