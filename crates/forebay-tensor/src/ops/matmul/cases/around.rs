//! What is around products: biases, sums and gates, of weights however they lie, on every level, and arguments that do
//! not fit.

use forebay_device::BackendKind;

use super::{in_rows, input, packed, tolerance, with_points};
use crate::{
    DType, Level, Result, Tensor, Weight,
    conformance::Rig,
    op::Loaded,
    ops::{
        Matmul,
        activate::Curve,
        gate::Gating,
        matmul::{Finish, reference},
    },
    quant::rounded::{self, Rounded},
    tiles,
};

pub(super) fn cases(rig: &mut Rig) -> Result<()> {
    let silu = Gating::Curve(Curve::Silu);
    if rig.device().kind() == BackendKind::Cuda {
        return on_card(rig);
    }
    for (dtype, scale_type, layout) in tiles::in_panels() {
        let (weight, values) = packed(rig, dtype, scale_type, [19, 256 + layout.span])?;
        for (count, finish) in [(1, Wanted::Add), (2, Wanted::Gate(silu)), (5, Wanted::Add)] {
            compare(rig, &weight, &values, count, finish)?;
            compare(rig, &weight.clone().by_floats(), &values, count, finish)?;
        }
    }
    for dtype in with_points(rig) {
        let (weight, values) = in_rows(rig, dtype, [70, 512])?;
        let weight = weight.by_integers();
        compare(rig, &weight, &values, 1, Wanted::Gate(silu))?;
        compare(rig, &weight, &values, 4, Wanted::Add)?;
    }
    // More panels than a group has, and more columns than are expanded at a time.
    let (weight, values) = packed(rig, DType::Q4_K, None, [150, 1024])?;
    for finish in Wanted::all() {
        for count in [1, 2, 13] {
            compare(rig, &weight, &values, count, finish)?;
        }
    }
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q4_0, DType::IQ2_S] {
        let (weight, values) = in_rows(rig, dtype, [35, 768])?;
        for finish in Wanted::all() {
            for count in [1, 8] {
                compare(rig, &weight, &values, count, finish)?;
            }
        }
    }
    refused(rig)
}

/// What is wanted of products.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Store,
    Add,
    Gate(Gating),
}

impl Wanted {
    fn all() -> impl Iterator<Item = Self> {
        let gates = Curve::ALL.map(Gating::Curve).into_iter();
        let gates = gates.chain([Gating::Clamped { alpha: 1.702, limit: 2.0 }]);
        [Self::Store, Self::Add].into_iter().chain(gates.map(Self::Gate))
    }
}

/// Compares a product with the oracle, with a bias and without, on every level, and its last row with that row alone.
fn compare(rig: &mut Rig, weight: &Weight, values: &[f32], count: usize, wanted: Wanted) -> Result<()> {
    let [rows, width] = weight.shape();
    let mut x = rig.floats(count * width);
    let input = input(rig, weight, &x)?;
    if weight.input() == DType::Rounded {
        rounded::decode(&rig.blocks::<Rounded>(&input)?, &mut x);
    }
    let [before, gate] = [0; 2].map(|_| rig.floats(count * rows));
    let biases = rig.floats(rows);
    let [gates, bias_of_all] = [rig.tensor(&[count, rows], &gate)?, rig.tensor(&[rows], &biases)?];
    let products = reference::matmul(values, &x, width);
    for bias in [None, Some(&bias_of_all)] {
        let sums = reference::biased(&products, bias.map(|_| biases.as_slice()));
        let (around, finish) = match wanted {
            Wanted::Store => (sums.clone(), Finish::Store),
            Wanted::Add => (reference::added(&sums, &before), Finish::Add),
            Wanted::Gate(gating) => (reference::gated(&sums, &gate, gating), Finish::Gate(&gates, gating)),
        };
        let size = |of: &[f32]| of.iter().fold(1.0f32, |most, x| most.max(x.abs()));
        let mut near = tolerance(values, width) + 1e-6 * (size(&before) + size(&biases));
        if let Wanted::Gate(_) = wanted {
            near = near * (1.0 + size(&gate)) + 4e-6 * size(&around);
        }
        let mut first: Option<Vec<f32>> = None;
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            rig.kernels_of::<Matmul<'_>>()?.set_level(level);
            let what = format!("{weight:?}, {count} rows, {wanted:?}, bias: {}, {level}", bias.is_some());
            let out = rig.output(DType::F32, &[count, rows])?;
            out.copy_from(&before)?;
            rig.run(&Matmul { bias, finish, ..Matmul::new(weight, &input, &out) })?;
            rig.within(&what, &out, &around, near)?;
            rig.same(&what, &out, first.get_or_insert(out.to_vec()?))?;
            let (one, last) = (rig.output(DType::F32, &[1, rows])?, count - 1..count);
            one.copy_from(&before[(count - 1) * rows..])?;
            let (x, last_gate) = (input.narrow(0, last.clone())?, gates.narrow(0, last.clone())?);
            let finish = match finish {
                Finish::Gate(_, gating) => Finish::Gate(&last_gate, gating),
                other => other,
            };
            rig.run(&Matmul { bias, finish, ..Matmul::new(weight, &x, &one) })?;
            rig.same(&format!("{what}, the last row alone"), &one, &out.narrow(0, last)?.to_vec()?)?;
        }
    }
    Ok(())
}

fn refused(rig: &mut Rig) -> Result<()> {
    let square = Weight::rows(&rig.tensor(&[2, 2], &[1.0f32; 4])?)?;
    let [x, out] = [rig.tensor(&[1, 2], &[1.0f32; 2])?, rig.output(DType::F32, &[1, 2])?];
    let short: Tensor = rig.tensor(&[1], &[1.0f32])?;
    let plain = Matmul::new(&square, &x, &out);
    rig.refuses(&Matmul { bias: Some(&short), ..plain }, "matmul: bias has shape [1], [2] is wanted")?;
    let silu = Gating::Curve(Curve::Silu);
    let gated = |gate, gating| Matmul { finish: Finish::Gate(gate, gating), ..plain };
    rig.refuses(&gated(&short, silu), "matmul: gate has shape [1], [1, 2] is wanted")?;
    let clamped = Gating::Clamped { alpha: 1.0, limit: 0.0 };
    rig.refuses(&gated(&x, clamped), "matmul: limit is 0, it has to be finite and above 0")?;
    rig.refuses_overlap(&gated(&out, silu))?;
    rig.refuses_overlap(&Matmul { finish: Finish::Add, out: &x, ..plain })?;
    let nothing = Weight::rows(&rig.tensor::<f32>(&[2, 0], &[])?)?;
    let x = rig.tensor::<f32>(&[1, 0], &[])?;
    let added = Matmul { finish: Finish::Add, ..Matmul::new(&nothing, &x, &out) };
    rig.refuses(&added, "matmul: width of weight is 0, it has to be at least 1")
}

/// A card says that what is around products is recorded apart.
fn on_card(rig: &mut Rig) -> Result<()> {
    let square = Weight::rows(&rig.tensor(&[2, 2], &[1.0f32; 4])?)?;
    let [x, out] = [rig.tensor(&[1, 2], &[1.0f32; 2])?, rig.output(DType::F32, &[1, 2])?];
    let bias = rig.tensor(&[2], &[1.0f32; 2])?;
    let plain = Matmul::new(&square, &x, &out);
    let biased = Matmul { bias: Some(&bias), ..plain };
    rig.refuses(&biased, "matmul: bias has to be an op of its own on this device")?;
    let added = Matmul { finish: Finish::Add, ..plain };
    rig.refuses(&added, "matmul: finish has to be an op of its own on this device")
}
