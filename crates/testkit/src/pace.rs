//! How much of the slow kernel fills a microsecond, for devices whose kernels have no clock.
//!
//! Measured once, on a device of its own, so that no test sees it in its counts. It errs towards too much: a slow kernel
//! takes at least the time that was asked for. Next: `kernels`.

use std::sync::OnceLock;

use forebay_device::{BackendKind, Device, DeviceOptions, Grid, Kernel, Result};

use crate::kernels::spin;

/// A run that takes shorter than this measures little but its start.
const ENOUGH_MICROS: u128 = 1_000;
/// Runs of which the quickest counts. They are short and many, so that one is left alone by what else the machine does.
const RUNS: usize = 12;
/// Threads of the group that is measured: only one of them does something, and the others only cost.
const THREADS: u32 = 32;
/// How many times what was measured is taken: whatever else runs beside it may end, and clocks rise under load.
const SPARE: u128 = 3;

/// What the argument of `spin` has to be for a microsecond.
///
/// # Errors
/// As [`Device::open`], and what the driver says.
pub(crate) fn rounds_a_micro(kind: BackendKind) -> Result<u32> {
    if kind != BackendKind::Metal {
        return Ok(1);
    }
    static PACE: OnceLock<Result<u32>> = OnceLock::new();
    PACE.get_or_init(|| measure(kind)).clone()
}

fn measure(kind: BackendKind) -> Result<u32> {
    let device = Device::open(&DeviceOptions::new(kind))?;
    let kernel = device.load(&spin())?;
    let mut rounds = 1024;
    let least = loop {
        let mut least = u128::MAX;
        for _ in 0..RUNS {
            least = least.min(micros(&device, &kernel, rounds)?.max(1));
        }
        if least >= ENOUGH_MICROS || rounds >= 1 << 28 {
            break least;
        }
        rounds *= 2;
    };
    let pace = (u128::from(rounds) * SPARE).div_ceil(least);
    Ok(u32::try_from(pace).unwrap_or(u32::MAX))
}

/// How long so many rounds take.
fn micros(device: &Device, kernel: &Kernel, rounds: u32) -> Result<u128> {
    let out = device.alloc(4)?;
    let mut session = device.session()?;
    session.set_profiling(true);
    let mut stage = session.stage("pace");
    stage.launch(kernel, Grid::linear(1, THREADS), &[out.arg(), 1u32.into(), 1u32.into(), rounds.into()])?;
    let fence = stage.fence()?;
    fence.wait()?;
    let profile = fence.profile();
    let took = profile.iter().flat_map(|profile| &profile.launches).map(|launch| launch.took.as_micros());
    Ok(took.sum())
}
