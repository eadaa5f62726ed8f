//! The test kernels: small, exact on every device, and one that is slow on purpose.
//!
//! All elements are `u32` and all sums wrap, so that results are equal to the bit whatever the order of a device's
//! threads. Each definition holds the code of one more device as soon as there is some; the helpers below record a
//! launch over whole buffers. Next: `gate`, which holds work back for as long as a test wants.

use std::{thread, time::Duration};

use forebay_device::{Buffer, Device, Grid, ImageFormat, Kernel, KernelDef, Param, Result, Signature, Stage};

use crate::pace::rounds_a_micro;

/// Elements that one group of a grid works on.
pub const BLOCK: u32 = 256;

/// A buffer of which each group has its own block.
const READ: Param = Param::read::<u32>().per_group(BLOCK);
const WRITE: Param = Param::write::<u32>().per_group(BLOCK);

/// What `cargo xtask kernels` made of a CUDA source.
macro_rules! bundle {
    ($name:literal) => {
        include_bytes!(concat!("../kernels/", $name, ".bundle"))
    };
}
pub(crate) use bundle;

/// An MSL source.
macro_rules! msl {
    ($name:literal) => {
        include_bytes!(concat!("../kernels/", $name, ".metal")).as_slice()
    };
}
pub(crate) use msl;

/// `add(a, b, out, n)`: sums of the first n elements, wrapping.
fn add() -> KernelDef {
    KernelDef::new("add", Signature::new([READ, READ, WRITE, Param::u32()]))
        .cpu(|group| {
            let (a, b, out) = (group.read::<u32>(0), group.read::<u32>(1), group.write::<u32>(2));
            let n = left(group.index(), group.u32(3));
            for ((out, a), b) in out[..n].iter_mut().zip(&a[..n]).zip(&b[..n]) {
                *out = a.wrapping_add(*b);
            }
        })
        .bundle(bundle!("add"), "add")
        .image(ImageFormat::Msl, msl!("add"), "add")
}

/// `fill(out, value, n)`: sets the first n elements.
fn fill() -> KernelDef {
    KernelDef::new("fill", Signature::new([WRITE, Param::u32(), Param::u32()]))
        .cpu(|group| {
            let n = left(group.index(), group.u32(2));
            group.write::<u32>(0)[..n].fill(group.u32(1));
        })
        .bundle(bundle!("fill"), "fill")
        .image(ImageFormat::Msl, msl!("fill"), "fill")
}

/// `copy(from, to, n)`: copies the first n elements.
fn copy() -> KernelDef {
    KernelDef::new("copy", Signature::new([READ, WRITE, Param::u32()]))
        .cpu(|group| {
            let n = left(group.index(), group.u32(2));
            group.write::<u32>(1)[..n].copy_from_slice(&group.read::<u32>(0)[..n]);
        })
        .bundle(bundle!("copy"), "copy")
        .image(ImageFormat::Msl, msl!("copy"), "copy")
}

/// `reduce_sum(from, sum, n)`: the sum of the first n elements, wrapping, in one group.
fn reduce_sum() -> KernelDef {
    let signature = Signature::new([Param::read::<u32>(), Param::write::<u32>(), Param::u32()]);
    KernelDef::new("reduce_sum", signature)
        .cpu(|group| {
            let n = group.u32(2) as usize;
            let sum = group.read::<u32>(0)[..n].iter().fold(0u32, |sum, &x| sum.wrapping_add(x));
            group.write::<u32>(1)[0] = sum;
        })
        .bundle(bundle!("reduce_sum"), "reduce_sum")
        .image(ImageFormat::Msl, msl!("reduce_sum"), "reduce_sum")
}

/// `spin(out, value, n, time)`: lets the time pass, then sets the first n elements, in one group. The time is in
/// microseconds, or in rounds where kernels have no clock.
pub(crate) fn spin() -> KernelDef {
    let signature = Signature::new([Param::write::<u32>(), Param::u32(), Param::u32(), Param::u32()]);
    KernelDef::new("spin", signature)
        .cpu(|group| {
            // Asleep, so that many slow tests on few cores do not slow each other.
            thread::sleep(Duration::from_micros(group.u32(3).into()));
            group.write::<u32>(0)[..group.u32(2) as usize].fill(group.u32(1));
        })
        .bundle(bundle!("spin"), "spin")
        .image(ImageFormat::Msl, msl!("spin"), "spin")
}

/// Elements of a group's block that are among the first n.
fn left(group: usize, n: u32) -> usize {
    (n as usize).saturating_sub(group * BLOCK as usize).min(BLOCK as usize)
}

/// All test kernels as data, in the order of their names.
pub fn definitions() -> [KernelDef; 5] {
    [add(), copy(), fill(), reduce_sum(), spin()]
}

/// The test kernels as one device has loaded them.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// `add(a, b, out, n)`.
    pub add: Kernel,
    /// `copy(from, to, n)`.
    pub copy: Kernel,
    /// `fill(out, value, n)`.
    pub fill: Kernel,
    /// `reduce_sum(from, sum, n)`.
    pub reduce_sum: Kernel,
    /// `spin(out, value, n, time)`.
    pub spin: Kernel,
    /// What the time of `spin` is for a microsecond.
    pace: u32,
}

impl Kernels {
    /// Loads them.
    ///
    /// # Errors
    /// As [`Device::load`].
    pub fn load(device: &Device) -> Result<Self> {
        let [add, copy, fill, reduce_sum, spin] = definitions();
        Ok(Self {
            add: device.load(&add)?,
            copy: device.load(&copy)?,
            fill: device.load(&fill)?,
            reduce_sum: device.load(&reduce_sum)?,
            spin: device.load(&spin)?,
            pace: rounds_a_micro(device.kind())?,
        })
    }

    /// Records `out = a + b` over whole buffers.
    ///
    /// # Errors
    /// As [`Stage::launch`].
    pub fn add(&self, stage: &mut Stage<'_>, a: &Buffer, b: &Buffer, out: &Buffer) -> Result<()> {
        stage.launch(&self.add, blocks(out), &[a.arg(), b.arg(), out.arg(), elements(out).into()])
    }

    /// Records `to = from` over whole buffers, by the kernel.
    ///
    /// # Errors
    /// As [`Stage::launch`].
    pub fn copy(&self, stage: &mut Stage<'_>, from: &Buffer, to: &Buffer) -> Result<()> {
        stage.launch(&self.copy, blocks(to), &[from.arg(), to.arg(), elements(to).into()])
    }

    /// Records `out = value` over a whole buffer, by the kernel.
    ///
    /// # Errors
    /// As [`Stage::launch`].
    pub fn fill(&self, stage: &mut Stage<'_>, out: &Buffer, value: u32) -> Result<()> {
        stage.launch(&self.fill, blocks(out), &[out.arg(), value.into(), elements(out).into()])
    }

    /// Records `sum[0] = from[0] + from[1] + ...`.
    ///
    /// # Errors
    /// As [`Stage::launch`].
    pub fn reduce_sum(&self, stage: &mut Stage<'_>, from: &Buffer, sum: &Buffer) -> Result<()> {
        let args = [from.arg(), sum.arg(), elements(from).into()];
        stage.launch(&self.reduce_sum, Grid::linear(1, BLOCK), &args)
    }

    /// Records `out = value` over a whole buffer, after so much time.
    ///
    /// # Errors
    /// As [`Stage::launch`].
    pub fn spin(&self, stage: &mut Stage<'_>, out: &Buffer, value: u32, time: Duration) -> Result<()> {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let time = micros.saturating_mul(self.pace);
        let args = [out.arg(), value.into(), elements(out).into(), time.into()];
        stage.launch(&self.spin, Grid::linear(1, BLOCK), &args)
    }
}

/// Elements of a buffer. Test buffers have far fewer than a `u32` counts.
fn elements(buffer: &Buffer) -> u32 {
    u32::try_from(buffer.len() / 4).unwrap_or(u32::MAX)
}

/// A grid with a block of the buffer for each group.
fn blocks(buffer: &Buffer) -> Grid {
    Grid::linear(elements(buffer).div_ceil(BLOCK), BLOCK)
}
