//! The conformance run: every op of the list against its oracle, on devices of one and of several workers.
//!
//! The rig gives cases their tensors with guard bytes around them and outputs full of nonsense, and looks at the guards
//! after every launch. What workers write has to be equal to the bit, however many they are.

use forebay_device::{Buffer, Device, DeviceOptions, Session};

use crate::{DType, Element, Ops, Registered, Result, Tensor, quant, registry::CASES};

/// The cases of one op.
pub(crate) type Cases = fn(&mut Rig) -> Result<()>;

/// Guard bytes on each side of a tensor.
const GUARD: u64 = 256;
/// What guards hold.
const FENCE: u8 = 0xA5;
/// What outputs hold before they are written: not a number in every float type.
const NONSENSE: u8 = 0xFF;

/// What cases are run with.
pub(crate) struct Rig {
    device: Device,
    ops: Ops,
    session: Session,
    seed: u64,
    guarded: Vec<Buffer>,
    /// The bits of everything that was compared, to be compared between devices.
    seen: Vec<Vec<u8>>,
}

impl Rig {
    fn open(threads: usize) -> Self {
        let device = Device::open(&DeviceOptions::cpu().threads(threads)).unwrap();
        let (ops, session) = (Ops::open(&device).unwrap(), device.session().unwrap());
        Self { device, ops, session, seed: 1, guarded: Vec::new(), seen: Vec::new() }
    }

    /// Random numbers around zero, of which a few are large.
    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        let mut float = || {
            let bits = self.next();
            let x = (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            if bits & 63 == 0 { 8.0 * x } else { x }
        };
        (0..count).map(|_| float()).collect()
    }

    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.seed;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    fn guarded(&mut self, bytes: u64) -> Result<Buffer> {
        let all = self.device.alloc(bytes + 2 * GUARD)?;
        all.write::<u8>()?.fill(FENCE);
        let inner = all.slice(GUARD..GUARD + bytes)?;
        self.guarded.push(all);
        Ok(inner)
    }

    /// A tensor with these elements.
    pub(crate) fn tensor<T: Element>(&mut self, shape: &[usize], elements: &[T]) -> Result<Tensor> {
        let buffer = self.guarded(size_of_val(elements) as u64)?;
        buffer.copy_from(elements)?;
        Tensor::of(T::DTYPE, shape, buffer)
    }

    /// A tensor to be written.
    pub(crate) fn output(&mut self, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        let bytes = crate::Layout::new(dtype, shape)?.bytes() as u64;
        let buffer = self.guarded(bytes)?;
        buffer.write::<u8>()?.fill(NONSENSE);
        Tensor::of(dtype, shape, buffer)
    }

    /// A tensor of a float type with these elements.
    pub(crate) fn cache(&mut self, dtype: DType, shape: &[usize], elements: &[f32]) -> Result<Tensor> {
        let tensor = self.output(dtype, shape)?;
        quant::quantise_row(dtype, elements, &mut tensor.buffer().write::<u8>()?)?;
        Ok(tensor)
    }

    /// A weight of random blocks without infinities, and what they decode to.
    pub(crate) fn weight(&mut self, dtype: DType, shape: &[usize]) -> Result<(Tensor, Vec<f32>)> {
        let tensor = self.output(dtype, shape)?;
        let mut values = vec![0.0; tensor.elements()];
        let (block, block_bytes) = (dtype.block_elements(), dtype.block_bytes());
        for (i, values) in values.chunks_mut(block).enumerate() {
            let bytes = tensor.buffer().slice((i * block_bytes) as u64..((i + 1) * block_bytes) as u64)?;
            loop {
                let random: Vec<u8> = (0..block_bytes).map(|_| self.next() as u8).collect();
                quant::decode(dtype, &random, values)?;
                if values.iter().all(|x| x.abs() < 1e4) {
                    bytes.copy_from(&random)?;
                    break;
                }
            }
        }
        Ok((tensor, values))
    }

    /// Runs an op and looks at all guards.
    pub(crate) fn run<O: Registered>(&mut self, op: &O) -> Result<()> {
        let mut stage = self.session.stage(O::NAME);
        self.ops.record(&mut stage, op)?;
        stage.fence()?.wait()?;
        self.check_guards()
    }

    fn check_guards(&mut self) -> Result<()> {
        for all in &self.guarded {
            let bytes = all.read::<u8>()?;
            let inner = GUARD as usize..bytes.len() - GUARD as usize;
            let broken = bytes.iter().enumerate().find(|(i, byte)| !inner.contains(i) && **byte != FENCE);
            assert_eq!(broken, None, "a guard byte around {} bytes was written", inner.len());
        }
        Ok(())
    }

    /// The op is refused with this message, and nothing runs.
    pub(crate) fn refuses<O: Registered>(&mut self, op: &O, message: &str) {
        let mut stage = self.session.stage(O::NAME);
        let error = self.ops.record(&mut stage, op).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(stage.is_empty());
    }

    /// The op is recorded, fails while it runs, and says why. The session begins anew.
    pub(crate) fn fails<O: Registered>(&mut self, op: &O, message: &str) {
        let mut stage = self.session.stage(O::NAME);
        self.ops.record(&mut stage, op).unwrap();
        let error = stage.fence().unwrap().wait().unwrap_err().to_string();
        assert!(error.contains(message) && error.contains(O::NAME), "{error}");
        self.session = self.device.session().unwrap();
        for all in std::mem::take(&mut self.guarded) {
            drop(all);
        }
    }

    /// The elements are these, to the bit.
    pub(crate) fn same(&mut self, what: &str, got: &Tensor, wanted: &[f32]) -> Result<()> {
        let values = self.look(got)?;
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(wanted), "{what}");
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

    fn look(&mut self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.seen.push(tensor.buffer().to_vec()?);
        tensor.to_f32()
    }
}

/// Runs all cases on a device of so many workers and gives back the bits of all results.
fn run_all(threads: usize) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let run = |&(name, cases): &(&'static str, Cases)| {
        let mut rig = Rig::open(threads);
        cases(&mut rig).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!rig.seen.is_empty() || name == "argmax", "{name} compared nothing");
        (name, rig.seen)
    };
    CASES.iter().map(run).collect()
}

#[test]
fn every_op_agrees_with_its_oracle_and_with_any_number_of_workers() {
    let one = run_all(1);
    for threads in [2, 3] {
        for ((name, one), (_, many)) in one.iter().zip(&run_all(threads)) {
            let odd = one.iter().zip(many).position(|(a, b)| a != b);
            assert_eq!(odd, None, "{name}: the result with this number differs with {threads} workers");
            assert_eq!(one.len(), many.len(), "{name}");
        }
    }
}

#[test]
fn guards_notice_a_byte_past_the_end() {
    let mut rig = Rig::open(1);
    rig.tensor(&[3], &[1.0f32; 3]).unwrap();
    rig.check_guards().unwrap();
    let all = rig.guarded[0].clone();
    let last = all.len() - 1;
    all.slice(last..last + 1).unwrap().write::<u8>().unwrap()[0] = 0;
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.check_guards())).is_err());
}
