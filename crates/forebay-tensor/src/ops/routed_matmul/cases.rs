//! Every format in rows and in panels, experts chosen twice or not at all, rows shared by experts or not, with and without
//! bias, more results of an expert than are made at a time, and experts that are not there.

use super::{RoutedMatmul, reference};
use crate::{
    DType, Level, Result, Tensor, Weight,
    conformance::{Rig, Work},
    op::Loaded,
    ops::{
        Round,
        matmul::cases::{packed, tolerance, with_points},
    },
    quant::{
        self,
        rounded::{self, Rounded},
    },
    tiles,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let block = format.dtype().block_elements();
        for (sizes, count, k) in [([3, 5, 3 * block], 2, 3), ([1, 1, block], 1, 1), ([4, 3, block], 0, 2)] {
            in_rows(rig, format.dtype(), sizes, [count, k])?;
        }
    }
    for width in [1, 511, 513, 1025] {
        in_rows(rig, DType::F16, [2, 3, width], [2, 5])?;
        in_rows(rig, DType::BF16, [3, 37, width], [7, 3])?;
    }
    // So many results that an expert makes many at a time on a card.
    for (dtype, width) in [(DType::F32, 45), (DType::F16, 40), (DType::BF16, 33), (DType::IQ3_S, 256)] {
        in_rows(rig, dtype, [3, 70, width], [40, 3])?;
        in_rows(rig, dtype, [1, 5, width], [131, 1])?;
    }
    in_rows(rig, DType::F32, [2, 0, 8], [2, 1])?;
    in_rows(rig, DType::F32, [2, 3, 8], [2, 0])?;

    for (dtype, scale_type, layout) in tiles::in_panels() {
        let span = layout.span;
        for (sizes, taken) in [([3, 19, span], [1, 2]), ([2, 5, 256 + span], [5, 3])] {
            in_panels(rig, dtype, scale_type, sizes, taken)?;
        }
    }
    for dtype in with_points(rig) {
        let (weight, values) = rig.weight(dtype, &[3, 19, 512])?;
        on_every_level(rig, &Weight::rows(&weight)?.by_integers(), &values, [5, 3])?;
    }
    // More experts than are looked for at once, more panels than are expanded together, and more than one batch.
    in_panels(rig, DType::Q4_K, None, [70, 17, 256], [9, 8])?;
    in_panels(rig, DType::MXFP4, None, [2, 90, 64], [4, 2])?;
    in_panels(rig, DType::Q8_0, None, [2, 17, 32], [300, 2])?;
    in_panels(rig, DType::Q8_0, None, [2, 17, 32], [0, 2])?;

    let (weight, _) = rig.weight(DType::Q8_0, &[2, 4, 64])?;
    let weight = Weight::rows(&weight)?;
    let (x, ids) = (rig.tensor(&[1, 64], &[1.0f32; 64])?, rig.tensor(&[1, 2], &[1u32, 2])?);
    let out = rig.output(DType::F32, &[1, 2, 4])?;
    let op = RoutedMatmul { weight: &weight, x: &x, ids: &ids, bias: None, out: &out };
    let wide = rig.tensor(&[1, 3, 64], &[1.0f32; 192])?;
    rig.refuses(
        &RoutedMatmul { x: &wide, ..op },
        "routed_matmul: x has shape [1, 3, 64], [1, 2, 64] is wanted",
    )?;
    rig.refuses(
        &RoutedMatmul { bias: Some(&x), ..op },
        "routed_matmul: bias has shape [1, 64], [2, 4] is wanted",
    )?;
    let floats = rig.tensor(&[1, 2, 4], &[f32::NAN; 8])?;
    let x = floats.narrow(1, 0..1)?.reshape(&[1, 4])?;
    let square = rig.tensor(&[2, 4, 4], &[1.0f32; 32])?;
    let square = Weight::rows(&square)?;
    rig.refuses_overlap(&RoutedMatmul { weight: &square, x: &x, ids: &ids, bias: None, out: &floats })?;
    rig.fails(&op, "expert 2 is not among 2")?;
    let (x, ids) = (rig.tensor(&[70, 64], &[1.0f32; 70 * 64])?, rig.tensor(&[70, 1], &[u32::MAX; 70])?);
    let out = rig.output(DType::F32, &[70, 1, 4])?;
    rig.fails(&RoutedMatmul { x: &x, ids: &ids, out: &out, ..op }, "expert 4294967295 is not among 2")?;

    let (weight, _) = packed(rig, DType::Q8_0, None, [2, 4, 64])?;
    let (x, ids) = (rig.tensor(&[1, 64], &[1.0f32; 64])?, rig.tensor(&[1, 2], &[1u32, 2])?);
    let out = rig.output(DType::F32, &[1, 2, 4])?;
    let op = RoutedMatmul { weight: &weight, x: &x, ids: &ids, bias: None, out: &out };
    rig.refuses(&op, "routed_matmul: x is of type f32, rounded is wanted")?;
    let x = input(rig, &weight, &[1, 64], &[1.0; 64])?;
    rig.fails(&RoutedMatmul { x: &x, ..op }, "expert 2 is not among 2")
}

/// What the results of some rows are: `ids` of experts, of whose `values` each makes one with its row of `x`.
fn wanted(
    values: &[f32],
    [_, rows, width]: [usize; 3],
    ids: &[u32],
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<f32> {
    let takers = (ids.len() * width).checked_div(x.len()).unwrap_or(1);
    let mut wanted = Vec::new();
    for (place, &id) in ids.iter().enumerate() {
        let (x, id) = (&x[place / takers * width..][..width], id as usize);
        let bias = bias.map(|bias| &bias[id * rows..][..rows]);
        wanted.extend(reference::product(&values[id * rows * width..][..rows * width], x, bias));
    }
    wanted
}

fn in_rows(rig: &mut Rig, dtype: DType, sizes: [usize; 3], [count, k]: [usize; 2]) -> Result<()> {
    let [experts, rows, width] = sizes;
    let (weight, values) = rig.weight(dtype, &sizes)?;
    let weight = Weight::rows(&weight)?;
    let (ids, bias): (Vec<u32>, _) =
        ((0..count * k).map(|_| rig.chance().below(experts) as u32).collect(), rig.floats(experts * rows));
    let (i, b) = (rig.tensor(&[count, k], &ids)?, rig.tensor(&[experts, rows], &bias)?);
    for shared in [true, false] {
        let shape: &[usize] = if shared { &[count, width] } else { &[count, k, width] };
        let x = rig.floats(shape.iter().product());
        let input = rig.tensor(shape, &x)?;
        let out = rig.output(DType::F32, &[count, k, rows])?;
        let op = RoutedMatmul { weight: &weight, x: &input, ids: &i, bias: shared.then_some(&b), out: &out };
        rig.run(&op)?;
        let wanted = wanted(&values, sizes, &ids, shared.then_some(&bias), &x);
        let what = format!("{dtype}, {count} x {k} of {sizes:?}, shared {shared}");
        rig.within(&what, &out, &wanted, 1e-4_f32.max(tolerance(&values, width)))?;
    }
    Ok(())
}

/// Rows of activations in the form that a weight multiplies.
fn input(rig: &mut Rig, weight: &Weight<3>, shape: &[usize], x: &[f32]) -> Result<Tensor> {
    let floats = rig.tensor(shape, x)?;
    if weight.input() == DType::F32 {
        return Ok(floats);
    }
    let rows = [x.len() / weight.shape()[2], weight.shape()[2]];
    let out = rig.output(DType::Rounded, &rows)?;
    rig.run(&Round { x: &floats.reshape(&rows)?, out: &out })?;
    out.reshape(shape)
}

fn in_panels(
    rig: &mut Rig,
    dtype: DType,
    scale_type: Option<DType>,
    sizes: [usize; 3],
    taken: [usize; 2],
) -> Result<()> {
    let (weight, values) = packed(rig, dtype, scale_type, sizes)?;
    on_every_level(rig, &weight, &values, taken)?;
    let weight = weight.by_floats();
    if weight.input() == DType::F32 {
        on_every_level(rig, &weight, &values, taken)?;
    }
    Ok(())
}

/// Products are the same on every level, and for a row alone or among others.
fn on_every_level(rig: &mut Rig, weight: &Weight<3>, values: &[f32], [count, k]: [usize; 2]) -> Result<()> {
    let sizes = weight.shape();
    let [experts, rows, width] = sizes;
    let (ids, bias): (Vec<u32>, _) =
        ((0..count * k).map(|_| rig.chance().below(experts) as u32).collect(), rig.floats(experts * rows));
    let (i, b) = (rig.tensor(&[count, k], &ids)?, rig.tensor(&[experts, rows], &bias)?);
    for shared in [true, false] {
        let shape: &[usize] = if shared { &[count, width] } else { &[count, k, width] };
        let mut x = rig.floats(shape.iter().product());
        let taken = input(rig, weight, shape, &x)?;
        if weight.input() == DType::Rounded {
            rounded::decode(&rig.blocks::<Rounded>(&taken)?, &mut x);
        }
        let wanted = wanted(values, sizes, &ids, shared.then_some(&bias), &x);
        let bias = shared.then_some(&b);
        let mut first: Option<Vec<f32>> = None;
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            rig.kernels_of::<RoutedMatmul<'_>>()?.set_level(level);
            let what = format!("{weight:?}, {count} x {k}, shared {shared}, {level}");
            let out = rig.output(DType::F32, &[count, k, rows])?;
            rig.run(&RoutedMatmul { weight, x: &taken, ids: &i, bias, out: &out })?;
            rig.within(&what, &out, &wanted, 1e-5_f32.max(tolerance(values, width)))?;
            rig.same(&what, &out, first.get_or_insert(out.to_vec()?))?;
            if count > 0 {
                let last = count - 1..count;
                let (x, ids) = (taken.narrow(0, last.clone())?, i.narrow(0, last.clone())?);
                let one = rig.output(DType::F32, &[1, k, rows])?;
                rig.run(&RoutedMatmul { weight, x: &x, ids: &ids, bias, out: &one })?;
                let among: Vec<f32> = out.narrow(0, last)?.to_vec()?;
                rig.same(&format!("{what}, the last row alone"), &one, &among)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    const SIZES: [usize; 3] = [8, 256, 1024];
    for dtype in [DType::F32, DType::Q4_K, DType::MXFP4] {
        let (weight, _) = rig.weight(dtype, &SIZES)?;
        time(rig, &Weight::rows(&weight)?, 1)?;
    }
    for dtype in [DType::Q4_K, DType::MXFP4] {
        let (weight, _) = packed(rig, dtype, None, SIZES)?;
        time(rig, &weight, 1)?;
        time(rig, &weight, 64)?;
    }
    Ok(())
}

/// Four of all experts for every row.
fn time(rig: &mut Rig, weight: &Weight<3>, count: usize) -> Result<()> {
    let [experts, rows, width] = weight.shape();
    let x = rig.floats(count * width);
    let x = input(rig, weight, &[count, width], &x)?;
    let ids: Vec<u32> = (0..count * 4).map(|i| (i * 5 / 4 % experts) as u32).collect();
    let ids = rig.tensor(&[count, 4], &ids)?;
    let out = rig.output(DType::F32, &[count, 4, rows])?;
    let bytes = weight.buffer().len() as usize * experts.min(4 * count) / experts;
    let work = Work { bytes, operations: 2 * count * 4 * rows * width };
    let case = format!("{count} x 4 of {experts} x {rows} x {width} {}", weight.dtype());
    rig.time(case, work, &RoutedMatmul { weight, x: &x, ids: &ids, bias: None, out: &out })
}
