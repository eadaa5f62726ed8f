//! The rig: gives cases their tensors, runs ops on one device, and compares.
//!
//! Tensors have guard bytes around them, outputs are full of nonsense before an op runs, and the guards are looked at
//! after every run. The bits of all results are kept, so that two devices of one kind can be compared.

use std::{any::Any, collections::HashMap, time::Instant};

use forebay_device::{BackendKind, Buffer, Device, Session};

use super::{Chance, Facts, Rate, Work};
use crate::{DType, Element, Error, Layout, Level, Op, Result, Tensor, op, quant};

/// Guard bytes on each side of a tensor.
const GUARD: u64 = 256;
/// What guards hold.
const FENCE: u8 = 0xA5;
/// What outputs hold before they are written: not a number in every float type.
const NONSENSE: u8 = 0xFF;
/// Tensors whose guards are looked at after a run: the latest ones.
const LOOKED_AT: usize = 32;
/// Measured runs: so many stages of so many launches.
const STAGES: usize = 7;
const LAUNCHES: usize = 8;

/// What cases are run with.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{conformance::Rig, subjects};
///
/// let device = Device::open(&DeviceOptions::cpu().threads(2))?;
/// let add = subjects().iter().find(|subject| subject.name == "add").unwrap();
/// let mut rig = Rig::new(&device, 1)?;
/// (add.cases)(&mut rig)?;
/// assert!(rig.facts().missing().is_empty());
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
pub struct Rig {
    device: Device,
    session: Session,
    /// Kernels of the ops that were run, by the name of the op.
    kernels: HashMap<&'static str, Box<dyn Any>>,
    chance: Chance,
    guarded: Vec<Buffer>,
    seen: Vec<Vec<u8>>,
    facts: Facts,
    rates: Vec<Rate>,
    level: Level,
}

impl Rig {
    /// A rig on a device, with random numbers of a seed.
    ///
    /// # Errors
    /// What the device says.
    pub fn new(device: &Device, seed: u64) -> Result<Self> {
        Ok(Self {
            device: device.clone(),
            session: device.session()?,
            kernels: HashMap::new(),
            chance: Chance::new(seed),
            guarded: Vec::new(),
            seen: Vec::new(),
            facts: Facts::default(),
            rates: Vec::new(),
            level: Level::best(),
        })
    }

    /// The same on a level of the CPU, which this machine has.
    #[must_use]
    pub fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// The kinds of cases that were met.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The bits of everything that was compared so far.
    pub fn seen(&self) -> &[Vec<u8>] {
        &self.seen
    }

    /// What was measured so far.
    pub fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The kernels of an op, to change how they run.
    pub(crate) fn kernels_of<O: Op>(&mut self) -> Result<&mut O::Kernels> {
        kernels::<O>(&mut self.kernels, &self.device, self.level)
    }

    /// Random numbers.
    pub(crate) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Random numbers around zero, of which a few are large.
    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.chance.float()).collect()
    }

    fn guarded(&mut self, shape: &[usize], bytes: u64) -> Result<Buffer> {
        self.facts.empty |= shape.contains(&0);
        self.facts.single |= shape.contains(&1);
        self.facts.odd |= shape.iter().any(|size| size % 2 == 1 && *size > 1);
        let all = self.device.alloc(bytes + 2 * GUARD)?;
        all.write::<u8>()?.fill(FENCE);
        let inner = all.slice(GUARD..GUARD + bytes)?;
        self.guarded.push(all);
        Ok(inner)
    }

    /// A tensor with these elements.
    pub(crate) fn tensor<T: Element>(&mut self, shape: &[usize], elements: &[T]) -> Result<Tensor> {
        let buffer = self.guarded(shape, size_of_val(elements) as u64)?;
        buffer.copy_from(elements)?;
        if let Ok(floats) = bytemuck::try_cast_slice::<T, f32>(elements)
            && T::DTYPE == DType::F32
        {
            self.facts.not_finite |= floats.iter().any(|x| !x.is_finite());
        }
        Tensor::of(T::DTYPE, shape, buffer)
    }

    /// A tensor to be written.
    pub(crate) fn output(&mut self, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let bytes = Layout::new(dtype, shape)?.bytes() as u64;
        let buffer = self.guarded(shape, bytes)?;
        buffer.write::<u8>()?.fill(NONSENSE);
        Tensor::of(dtype, shape, buffer)
    }

    /// A tensor of a float type, or one that rows are rounded to, with these elements; and what it then holds.
    pub(crate) fn rounded(
        &mut self,
        dtype: DType,
        shape: &[usize],
        elements: &[f32],
    ) -> Result<(Tensor, Vec<f32>)> {
        let tensor = self.output(dtype, shape)?;
        quant::quantise_row(dtype, elements, &mut tensor.buffer().write::<u8>()?)?;
        let holds = tensor.to_f32()?;
        Ok((tensor, holds))
    }

    /// A weight of random blocks without infinities, and what they decode to.
    pub(crate) fn weight(&mut self, dtype: DType, shape: &[usize]) -> Result<(Tensor, Vec<f32>)> {
        let tensor = self.output(dtype, shape)?;
        let mut values = vec![0.0; tensor.elements()];
        let block_bytes = dtype.block_bytes();
        let mut bytes = vec![0; values.len() / dtype.block_elements() * block_bytes];
        for (values, bytes) in values.chunks_mut(dtype.block_elements()).zip(bytes.chunks_mut(block_bytes)) {
            loop {
                bytes.fill_with(|| self.chance.bits() as u8);
                quant::decode(dtype, bytes, values)?;
                if values.iter().all(|x| x.abs() < 1e4) {
                    break;
                }
            }
        }
        tensor.buffer().copy_from(&bytes)?;
        Ok((tensor, values))
    }

    fn record<O: Op>(&mut self, op: &O, times: usize) -> Result<forebay_device::Fence> {
        let kernels = kernels::<O>(&mut self.kernels, &self.device, self.level)?;
        let mut stage = self.session.stage(O::NAME);
        for _ in 0..times {
            op::record(op, kernels, &mut stage)?;
        }
        Ok(stage.fence()?)
    }

    /// Runs an op and looks at all guards.
    pub(crate) fn run<O: Op>(&mut self, op: &O) -> Result<()> {
        self.record(op, 1)?.wait()?;
        self.check_guards()
    }

    /// The name of the kernel that serves an op, without that of a level.
    pub(crate) fn serves<O: Op>(&mut self, op: &O) -> Result<String> {
        let level = format!("_{}", self.level);
        let name = op.kernel(kernels::<O>(&mut self.kernels, &self.device, self.level)?)?.name();
        Ok(name.strip_suffix(&level).unwrap_or(name).to_owned())
    }

    fn check_guards(&mut self) -> Result<()> {
        // Tensors of long ago were looked at often enough.
        self.guarded.drain(..self.guarded.len().saturating_sub(LOOKED_AT));
        for all in &self.guarded {
            for guard in [0..GUARD, all.len() - GUARD..all.len()] {
                let intact = all.slice(guard)?.read::<u8>()?.iter().all(|byte| *byte == FENCE);
                assert!(intact, "a guard byte around {} bytes was written", all.len() - 2 * GUARD);
            }
        }
        Ok(())
    }

    /// The op is refused with this message, and nothing runs.
    pub(crate) fn refuses<O: Op>(&mut self, op: &O, message: &str) -> Result<()> {
        let error = self.refused(op)?;
        self.facts.refused = true;
        assert_eq!(error.to_string(), message);
        Ok(())
    }

    /// The op is refused because what it writes overlaps something else that it takes.
    pub(crate) fn refuses_overlap<O: Op>(&mut self, op: &O) -> Result<()> {
        let error = self.refused(op)?;
        self.facts.aliased = true;
        let device = matches!(error, Error::Device(_));
        assert!(device && error.to_string().contains("overlap"), "{}: {error}", O::NAME);
        Ok(())
    }

    /// The op takes one tensor, so that nothing can overlap.
    pub(crate) fn has_one_tensor(&mut self) {
        self.facts.aliased = true;
    }

    /// The op takes no floats, so that all numbers are finite.
    pub(crate) fn has_no_floats(&mut self) {
        self.facts.not_finite = true;
    }

    fn refused<O: Op>(&mut self, op: &O) -> Result<Error> {
        let kernels = kernels::<O>(&mut self.kernels, &self.device, self.level)?;
        let mut stage = self.session.stage(O::NAME);
        let error = op::record(op, kernels, &mut stage);
        assert!(stage.is_empty(), "{} recorded something although it was refused", O::NAME);
        match error {
            Err(error) => Ok(error),
            Ok(()) => panic!("{} was not refused", O::NAME),
        }
    }

    /// The op is recorded, fails while it runs, and says why. The session begins anew. On a card, which cannot fail a launch
    /// halfway, it runs to its end and touches nothing that is not its own.
    pub(crate) fn fails<O: Op>(&mut self, op: &O, message: &str) -> Result<()> {
        self.facts.refused = true;
        if self.device.kind() == BackendKind::Cuda {
            return self.run(op);
        }
        match self.record(op, 1)?.wait() {
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(message) && error.contains(O::NAME), "{error}");
            }
            Ok(()) => panic!("{} did not fail: {message}", O::NAME),
        }
        self.session = self.device.session()?;
        self.guarded.clear();
        Ok(())
    }

    /// The elements are these, to the bit; what is not a number only has to be none.
    pub(crate) fn same(&mut self, what: &str, got: &Tensor, wanted: &[f32]) -> Result<()> {
        let values = self.look(got)?;
        let bits = |values: &[f32]| -> Vec<u32> {
            values.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
        };
        assert_eq!(bits(&values), bits(wanted), "{what}");
        Ok(())
    }

    /// The whole numbers are these.
    pub(crate) fn equal(&mut self, what: &str, got: &Tensor, wanted: &[u32]) -> Result<()> {
        self.facts.compared += 1;
        self.seen.push(got.buffer().to_vec()?);
        assert_eq!(got.to_vec::<u32>()?, wanted, "{what}");
        Ok(())
    }

    /// The elements are these, as near as `tolerance` relative to one or to their size.
    pub(crate) fn near(&mut self, what: &str, got: &Tensor, wanted: &[f32], tolerance: f32) -> Result<()> {
        self.compare(what, got, wanted, |wanted| tolerance * wanted.abs().max(1.0))
    }

    /// The elements are these, as near as `distance`.
    pub(crate) fn within(&mut self, what: &str, got: &Tensor, wanted: &[f32], distance: f32) -> Result<()> {
        self.compare(what, got, wanted, |_| distance)
    }

    fn compare(
        &mut self,
        what: &str,
        got: &Tensor,
        wanted: &[f32],
        distance: impl Fn(f32) -> f32,
    ) -> Result<()> {
        let values = self.look(got)?;
        assert_eq!(values.len(), wanted.len(), "{what}");
        for (i, (&got, &wanted)) in values.iter().zip(wanted).enumerate() {
            let fine =
                got == wanted || got.is_nan() && wanted.is_nan() || (got - wanted).abs() <= distance(wanted);
            assert!(fine, "{what}, element {i}: {got} is not {wanted}");
        }
        Ok(())
    }

    /// The blocks of a tensor, which are compared between devices as well.
    pub(crate) fn blocks<T: bytemuck::Pod>(&mut self, tensor: &Tensor) -> Result<Vec<T>> {
        self.facts.compared += 1;
        self.seen.push(tensor.buffer().to_vec()?);
        Ok(tensor.buffer().to_vec()?)
    }

    fn look(&mut self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.facts.compared += 1;
        let values = tensor.to_f32()?;
        self.seen.push(match tensor.dtype() {
            // Which of the bits that are no number comes out, no language promises.
            DType::F32 => {
                values.iter().flat_map(|x| if x.is_nan() { f32::NAN } else { *x }.to_le_bytes()).collect()
            }
            _ => tensor.buffer().to_vec()?,
        });
        Ok(values)
    }

    /// Measures an op, on memory that was used just before.
    pub(crate) fn time<O: Op>(&mut self, case: impl Into<String>, work: Work, op: &O) -> Result<()> {
        let kernel = self.serves(op)?;
        self.run(op)?;
        let mut seconds = f64::INFINITY;
        for _ in 0..STAGES {
            let begin = Instant::now();
            self.record(op, LAUNCHES)?.wait()?;
            seconds = seconds.min(begin.elapsed().as_secs_f64() / LAUNCHES as f64);
        }
        self.rates.push(Rate { op: O::NAME, kernel, case: case.into(), work, seconds });
        Ok(())
    }
}

/// The kernels of an op, loaded when they are first needed.
fn kernels<'k, O: Op>(
    all: &'k mut HashMap<&'static str, Box<dyn Any>>,
    device: &Device,
    level: Level,
) -> Result<&'k mut O::Kernels> {
    if !all.contains_key(O::NAME) {
        all.insert(O::NAME, Box::new(O::load_at(device, level)?));
    }
    match all.get_mut(O::NAME).and_then(|kernels| kernels.downcast_mut()) {
        Some(kernels) => Ok(kernels),
        None => panic!("two ops are called {}", O::NAME),
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig").field("facts", &self.facts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_device::DeviceOptions;

    #[test]
    fn guards_notice_a_byte_past_the_end() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let mut rig = Rig::new(&device, 1).unwrap();
        rig.tensor(&[3], &[1.0f32; 3]).unwrap();
        rig.check_guards().unwrap();
        let all = rig.guarded[0].clone();
        let last = all.len() - 1;
        all.slice(last..last + 1).unwrap().write::<u8>().unwrap()[0] = 0;
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.check_guards())).is_err());
    }

    #[test]
    fn a_run_that_left_something_out_says_what() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let mut rig = Rig::new(&device, 1).unwrap();
        rig.tensor(&[3, 1], &[1.0f32, f32::NAN, 2.0]).unwrap();
        let missing = rig.facts().missing();
        assert_eq!(missing.len(), 4, "{missing:?}");
        assert!(missing.contains(&"a tensor without elements"));
    }
}
