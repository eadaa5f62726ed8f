//! What has to hold for any bytes of any format, whoever thinks them up: the tests beside this file, or a fuzzer.
//!
//! Decoders write all of their output and nothing else. A weight has the rows that the decoder says, and its product with
//! any numbers is the same on every level of the CPU.

use std::sync::OnceLock;

use forebay_device::{Buffer, Device, DeviceOptions};
use forebay_tensor::{
    DType, Error, Layout, Level, Ops, Tensor, Weight, WeightBytes,
    ops::{Embed, Matmul, Round},
    quant::{
        self,
        mlx::{self, Planes},
    },
};

/// Types that scales can have where they are a plane of their own.
pub(crate) const SCALE_TYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::U8];

/// Decodes between guards and over two different fillings, which shows that all of the output is written and nothing
/// beside it.
pub(crate) fn decode_guarded(name: &str, elements: usize, decode: impl Fn(&mut [f32])) -> Vec<f32> {
    const GUARD: usize = 64;
    let over = |filling: f32| {
        let mut out = vec![filling; elements + 2 * GUARD];
        decode(&mut out[GUARD..GUARD + elements]);
        let guards = out[..GUARD].iter().chain(&out[GUARD + elements..]);
        assert!(guards.into_iter().all(|x| *x == filling), "{name} wrote beside its output");
        out[GUARD..GUARD + elements].to_vec()
    };
    let (first, second) = (over(1.25), over(-77.0));
    let same = first.iter().zip(&second).all(|(a, b)| a.to_bits() == b.to_bits());
    assert!(same, "{name} left output unwritten");
    first
}

/// Makes a weight of these bytes, repeated until there are enough, and multiplies rows of these numbers by it.
///
/// Does nothing for a type that no weight has, or that does not go with scales of this type.
pub(crate) fn weight(
    dtype: DType,
    scale_type: DType,
    shape: [usize; 2],
    bytes: &[u8],
    rows_of_x: &[Vec<f32>],
) {
    let elements = shape[0] * shape[1];
    let mut endless = bytes.iter().copied().chain([0x3c]).cycle();
    let mut take = |bytes: usize| endless.by_ref().take(bytes).collect::<Vec<u8>>();
    if let Ok(sizes) = mlx::plane_bytes(dtype, scale_type, elements) {
        let (codes, scales, biases) = (take(sizes.codes), take(sizes.scales), take(sizes.biases));
        let planes = Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
        let rows = decode_guarded(dtype.name(), elements, |out| mlx::decode(dtype, &planes, out).unwrap());
        multiply(&WeightBytes::of_planes(dtype, shape, &planes).unwrap(), shape, &rows, rows_of_x);
    } else if quant::format_of(dtype).is_ok() {
        let bytes = take(dtype.row_bytes(elements).unwrap());
        let rows = decode_guarded(dtype.name(), elements, |out| quant::decode(dtype, &bytes, out).unwrap());
        multiply(&WeightBytes::of(dtype, shape, &bytes).unwrap(), shape, &rows, rows_of_x);
    }
}

/// A device, and the ops of each level that this machine has.
fn machine() -> &'static (Device, Vec<Ops>) {
    static MACHINE: OnceLock<(Device, Vec<Ops>)> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let open = |level| Ops::open_at(&device, level).unwrap();
        let ops = Level::ALL.into_iter().filter(|level| level.is_here()).map(open).collect();
        (device, ops)
    })
}

/// A tensor of f32 between guards, and all of its memory.
fn guarded(shape: [usize; 2]) -> (Tensor, Buffer) {
    let bytes = Layout::new(DType::F32, &shape).unwrap().bytes() as u64;
    let all = machine().0.alloc(bytes + 2 * GUARD).unwrap();
    all.write::<u8>().unwrap().fill(FENCE);
    (Tensor::of(DType::F32, &shape, all.slice(GUARD..GUARD + bytes).unwrap()).unwrap(), all)
}

const GUARD: u64 = 256;
const FENCE: u8 = 0xA5;

/// What is in a tensor, whose guards have to be as they were.
fn inside((tensor, all): &(Tensor, Buffer)) -> Vec<f32> {
    let bytes = all.to_vec::<u8>().unwrap();
    let (first, rest) = bytes.split_at(GUARD as usize);
    let last = &rest[rest.len() - GUARD as usize..];
    assert!(first.iter().chain(last).all(|byte| *byte == FENCE), "a guard was written");
    tensor.to_vec().unwrap()
}

/// Numbers that are equal, or no numbers in both.
fn agree(what: &str, got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len());
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            got == wanted || got.is_nan() && wanted.is_nan(),
            "{what}, number {i}: {got} is not {wanted}"
        );
    }
}

fn multiply(bytes: &WeightBytes<'_>, [rows, width]: [usize; 2], decoded: &[f32], rows_of_x: &[Vec<f32>]) {
    let (device, all_ops) = machine();
    let weight = match Weight::pack(device, bytes, Level::best(), "any", |_| ()) {
        Ok(weight) => weight,
        Err(error) => {
            assert!(matches!(error, Error::NoPanels { .. }) && !bytes.gains(), "{bytes:?}: {error}");
            return;
        }
    };
    assert_eq!(weight.shape(), [rows, width]);
    let count = rows_of_x.len();
    let row = |x: &Vec<f32>| x.iter().copied().chain([1.0]).cycle().take(width).collect::<Vec<_>>();
    let x: Vec<f32> = rows_of_x.iter().flat_map(row).collect();
    let x = Tensor::from_slice(device, &[count, width], &x).unwrap();
    let rounded = device.alloc(Tensor::request(DType::Rounded, &[count, width]).unwrap()).unwrap();
    let rounded = Tensor::of(DType::Rounded, &[count, width], rounded).unwrap();
    let ids: Vec<u32> = (0..rows as u32).collect();
    let ids = Tensor::from_slice(device, &[rows], &ids).unwrap();
    let mut first = None;
    for ops in all_ops {
        let (table, out) = (guarded([rows, width]), guarded([count, rows]));
        let mut session = device.session().unwrap();
        let mut stage = session.stage("any bytes");
        ops.record(&mut stage, &Embed { table: &weight, ids: &ids, out: &table.0 }).unwrap();
        ops.record(&mut stage, &Round { x: &x, out: &rounded }).unwrap();
        ops.record(&mut stage, &Matmul::new(&weight, &rounded, &out.0)).unwrap();
        stage.fence().unwrap().wait().unwrap();
        let what = format!("{bytes:?} on {}", ops.level());
        agree(&what, &inside(&table), decoded);
        let product = inside(&out);
        agree(&what, &product, first.get_or_insert_with(|| product.clone()));
    }
}
