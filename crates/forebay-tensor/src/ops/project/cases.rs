//! Every format of panels; one, two and three maps of different rows; norms, biases, sums and gates; widths around stages; more panels
//! than blocks; a few rows and many in rooms; numbers that are not finite; and arguments that do not fit.

use forebay_device::BackendKind;
use half::f16;

use super::{Finish, Gating, Map, Project, Scaling, few, reference};
use crate::{
    Affine, DType, Level, Result, Tensor, Weight, WeightBytes,
    conformance::{Rig, Work},
    ops::{
        activate::Curve,
        matmul::{
            bands,
            cases::{packed, tolerance},
            images,
        },
    },
    quant::rounded::{self, Rounded},
    tiles,
};

const STORE: Finish = Finish::Store;
const SILU: Finish = Finish::Gate(Gating::Curve(Curve::Silu));

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (dtype, scale_type, layout) in tiles::in_panels() {
        let span = layout.span;
        for (width, rows) in [(span, 1), (3 * span, 17), (256 + span, 33), (4096 + span, 21)] {
            compare(rig, &[(dtype, scale_type, rows)], width, false, STORE)?;
        }
        compare(rig, &[(dtype, scale_type, 40), (dtype, scale_type, 40)], 2 * span, true, SILU)?;
    }
    let (k4, k6, q8) = ((DType::Q4_K, None), (DType::Q6_K, None), (DType::Q8_0, None));
    let of = |(dtype, scales): (DType, Option<DType>), rows| (dtype, scales, rows);
    compare(rig, &[of(k4, 70), of(k4, 35), of(k4, 1)], 1024, true, STORE)?;
    compare(rig, &[of(q8, 16), of(q8, 19)], 512, false, Finish::Add)?;
    compare(rig, &[of(k6, 33)], 4608, true, Finish::Add)?;
    compare(rig, &[of(q8, 4096), of(q8, 48)], 96, true, STORE)?;
    compare(rig, &[of(k4, 6000)], 768, false, Finish::Add)?;
    compare(rig, &[of(k4, 5000), of(k4, 5000)], 256, true, SILU)?;
    compare(rig, &[(DType::Affine(Affine::new(4, 64)?), Some(DType::F32), 9)], 12_288, false, STORE)?;
    compare(rig, &[of(k6, 160_000 / 8)], 256, true, STORE)?;
    for curve in Curve::ALL {
        compare(rig, &[of(q8, 20), of(q8, 20)], 64, true, Finish::Gate(Gating::Curve(curve)))?;
    }
    let clamped = Gating::Clamped { alpha: 1.702, limit: 2.0 };
    compare(rig, &[of(q8, 20), of(q8, 20)], 64, false, Finish::Gate(clamped))?;
    not_finite(rig)?;
    nothing(rig)?;
    few_rows(rig)?;
    in_rooms(rig)?;
    refused(rig)?;
    overlaps(rig)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    const WIDTH: usize = 4096;
    for (dtype, scale_type, _) in tiles::in_panels() {
        let (weight, _) = packed(rig, dtype, scale_type, [1024, WIDTH])?;
        let x = rig.floats(WIDTH);
        let (x, out) = (rig.tensor(&[1, WIDTH], &x)?, rig.output(DType::F32, &[1, 1024])?);
        let maps = [Map { weight: &weight, bias: None }];
        let op = Project { x: &x, norm: None, maps: &maps, finish: STORE, out: &[&out], room: None };
        let work = Work { bytes: weight.buffer().len() as usize, operations: 2 * 1024 * WIDTH };
        rig.time(format!("1024 x {WIDTH} {dtype}"), work, &op)?;
    }
    Ok(())
}

/// Compares one row's products with the oracle.
fn compare(rig: &mut Rig, types: &[Type], width: usize, whole: bool, finish: Finish) -> Result<()> {
    compare_rows(rig, types, [1, width], whole, finish)
}

/// Compares maps of these types and rows with the oracle; with a norm and biases, or without. Several rows have a room.
fn compare_rows(
    rig: &mut Rig,
    types: &[Type],
    [count, width]: [usize; 2],
    whole: bool,
    finish: Finish,
) -> Result<()> {
    const EPSILON: f32 = 1e-5;
    let what = format!("{types:?}, {count} x {width}, {finish:?}, norm and bias: {whole}");
    let (x, norm) = (rig.floats(count * width), rig.floats(width));
    let mut rows: Vec<f32> =
        x.chunks(width).flat_map(|x| reference::row(x, whole.then_some((&norm, EPSILON)))).collect();
    let largest = rows.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    // Rows are rounded before they are multiplied.
    let blocks: Vec<Rounded> = rows.as_chunks().0.iter().map(Rounded::of).collect();
    rounded::decode(&blocks, &mut rows);

    let (mut weights, mut biases, mut products, mut before) =
        (vec![], vec![], Vec::<Vec<f32>>::new(), vec![]);
    let mut near = 0.0f32;
    for &(dtype, scale_type, height) in types {
        let (weight, values) = packed(rig, dtype, scale_type, [height, width])?;
        let bias = rig.floats(height);
        let product = |row| reference::product(&values, row, whole.then_some(bias.as_slice()));
        products.push(rows.chunks(width).flat_map(product).collect());
        before.push(rig.floats(count * height));
        let most = values.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        // A norm is not computed as the oracle's is, to the bit, so that a few numbers between two codes go the other way.
        let turned = if whole { 3.0 * most * largest / 127.0 } else { 0.0 };
        near = near.max(4.0 * tolerance(&values, width) + turned);
        weights.push(weight);
        biases.push(rig.tensor(&[height], &bias)?);
    }
    if let Finish::Gate(_) = finish {
        let size = products.iter().flatten().fold(1.0f32, |most, x| most.max(x.abs()));
        near *= 4.0 * size;
    }
    let wanted = reference::finish(&products, &before, finish);
    let x = rig.tensor(&[count, width], &x)?;
    let norm = rig.tensor(&[width], &norm)?;
    let maps: Vec<_> = weights
        .iter()
        .zip(&biases)
        .map(|(weight, bias)| Map { weight, bias: whole.then_some(bias) })
        .collect();
    let shape = |wanted: &Vec<f32>| [count, wanted.len() / count];
    let outs =
        wanted.iter().map(|wanted| rig.output(DType::F32, &shape(wanted))).collect::<Result<Vec<_>>>()?;
    let room = rig.output(DType::F16, &[few::elements(count, width)])?;
    let room = (count > 1).then_some(&room);
    for (out, before) in outs.iter().zip(&before) {
        out.copy_from(before)?;
    }
    let out: Vec<&Tensor> = outs.iter().collect();
    let norm = whole.then_some(Scaling { weight: &norm, epsilon: EPSILON });
    rig.run(&Project { x: &x, norm, maps: &maps, finish, out: &out, room })?;
    for (out, wanted) in outs.iter().zip(&wanted) {
        rig.within(&what, out, wanted, near)?;
    }
    Ok(())
}

type Type = (DType, Option<DType>, usize);

/// Two to eight rows in a room: every format, several formats at once, widths around stages, and more panels than a block ends at a
/// time; each row apart from the others.
fn few_rows(rig: &mut Rig) -> Result<()> {
    if rig.device().kind() != BackendKind::Cuda || few::room(rig.device(), 2, 32) == 0 {
        return Ok(());
    }
    for (number, (dtype, scale_type, layout)) in tiles::in_panels().enumerate() {
        let (span, count) = (layout.span, 2 + number % 7);
        compare_rows(rig, &[(dtype, scale_type, 17)], [count, 3 * span], true, STORE)?;
        compare_rows(rig, &[(dtype, scale_type, 33)], [8, 256 + span], false, Finish::Add)?;
        compare_rows(rig, &[(dtype, scale_type, 21)], [9 - count, 4096 + span], false, STORE)?;
        compare_rows(
            rig,
            &[(dtype, scale_type, 40), (dtype, scale_type, 40)],
            [count, 2 * span],
            true,
            SILU,
        )?;
    }
    let (k4, k6, q8) = ((DType::Q4_K, None), (DType::Q6_K, None), (DType::Q8_0, None));
    let of = |(dtype, scales): (DType, Option<DType>), rows| (dtype, scales, rows);
    for count in 2..=8 {
        compare_rows(rig, &[of(k4, 70), of(k4, 35), of(k6, 19)], [count, 1024], true, STORE)?;
        compare_rows(rig, &[of(q8, 16), of(k4, 19), of(q8, 40)], [count, 512], true, Finish::Add)?;
    }
    compare_rows(rig, &[of(k6, 33)], [8, 12_288], false, Finish::Add)?;
    compare_rows(rig, &[of(q8, 33)], [3, 12_288], true, STORE)?;
    compare_rows(rig, &[of(k4, 5000), of(k4, 5000)], [7, 256], true, SILU)?;
    compare_rows(rig, &[of(q8, 40_000)], [8, 96], true, STORE)?;
    compare_rows(rig, &[of(k6, 9000)], [5, 512], true, Finish::Add)?;
    let clamped = Gating::Clamped { alpha: 1.702, limit: 2.0 };
    compare_rows(rig, &[of(q8, 20), of(q8, 20)], [4, 64], false, Finish::Gate(clamped))?;

    // An infinity spoils its own row.
    let weight = alike(rig, 17, 64)?;
    let mut x = vec![1.0; 3 * 64];
    x[64 + 40] = f32::INFINITY;
    let (x, norm) = (rig.tensor(&[3, 64], &x)?, rig.tensor(&[64], &[1.0f32; 64])?);
    let (out, room) = (rig.output(DType::F32, &[3, 17])?, rig.output(DType::F16, &[few::elements(3, 64)])?);
    let maps = [Map { weight: &weight, bias: None }];
    let norm = Some(Scaling { weight: &norm, epsilon: 0.0 });
    let op = Project { x: &x, norm, maps: &maps, finish: STORE, out: &[&out], room: Some(&room) };
    rig.run(&op)?;
    let values = out.to_vec::<f32>()?;
    let finite = |row: usize| values[17 * row..17 * (row + 1)].iter().all(|value| value.is_finite());
    assert!(finite(0) && finite(2) && values[17..34].iter().all(|value| value.is_nan()), "{values:?}");

    let small = rig.output(DType::F16, &[few::elements(3, 64) - 1])?;
    assert!(rig.serves(&Project { room: Some(&small), ..op }).is_err(), "there is no place for three rows");
    let (other, up) = (packed(rig, DType::Q4_0, None, [17, 64])?.0, rig.output(DType::F32, &[3, 17])?);
    let maps = [maps[0], Map { weight: &other, bias: None }];
    let op = Project { maps: &maps, finish: SILU, out: &[&up], ..op };
    assert!(rig.serves(&op).is_err(), "a gate of another format");
    Ok(())
}

/// Many rows, of every format, and of several at once; sizes around tiles and bands.
fn in_rooms(rig: &mut Rig) -> Result<()> {
    if rig.device().kind() != BackendKind::Cuda || !images::is_for(rig.device()) {
        return Ok(());
    }
    let of = |dtype: DType, rows: usize| (dtype, None, rows);
    for (dtype, scales, layout) in tiles::in_panels() {
        let span = layout.span;
        many(rig, &[(dtype, scales, 130)], [133, 3 * span], true, STORE, 0)?;
        many(rig, &[(dtype, scales, 40), (dtype, scales, 40)], [50, span], false, SILU, 0)?;
    }
    let (k4, k6, q8) = (DType::Q4_K, DType::Q6_K, DType::Q8_0);
    many(rig, &[of(k4, 300), of(k6, 100), of(q8, 70)], [257, 512], true, STORE, 0)?;
    many(rig, &[of(q8, 1), of(q8, 4201)], [300, 96], true, STORE, 0)?;
    many(rig, &[of(k6, 999)], [640, 768], false, Finish::Add, 0)?;
    many(rig, &[of(k6, 251), of(k4, 256)], [65, 1792], true, Finish::Add, 0)?;
    many(rig, &[of(q8, 257)], [385, 160], false, Finish::Add, 0)?;
    many(rig, &[of(k4, 1001)], [257, 512], true, Finish::Add, 256)?;
    many(rig, &[of(k4, 1000), of(k6, 1000)], [300, 512], true, SILU, 512)?;
    many(rig, &[of(q8, 4400), of(q8, 4400)], [1030, 64], false, SILU, 0)?;
    let gelu = Finish::Gate(Gating::Curve(Curve::GeluTanh));
    many(rig, &[of(q8, 129), of(k4, 129)], [140, 256], true, gelu, 0)?;

    let (weight, x) = (alike(rig, 4, 64)?, rig.tensor(&[9, 64], &[1.0f32; 9 * 64])?);
    let (out, bias) = (rig.output(DType::F32, &[9, 4])?, rig.tensor(&[4], &[1.0f32; 4])?);
    let (small, map) = (rig.output(DType::F16, &[64])?, Map { weight: &weight, bias: None });
    let op = Project { x: &x, norm: None, maps: &[map], finish: STORE, out: &[&out], room: Some(&small) };
    assert!(rig.serves(&op).is_err(), "there is no place for nine rows");
    let room = rig.output(DType::F16, &[bands::room(9, [4, 64])])?;
    assert!(rig.serves(&Project { room: Some(&room), ..op }).is_ok());
    let map = Map { bias: Some(&bias), ..map };
    assert!(rig.serves(&Project { room: Some(&room), maps: &[map], ..op }).is_err(), "a bias");
    Ok(())
}

/// Compares many rows with the oracle, in a room with place for a band of so many rows of weights, or for all of the largest; by
/// images of weights and by what is faster, each of which is the same every time.
fn many(
    rig: &mut Rig,
    types: &[Type],
    [count, width]: [usize; 2],
    whole: bool,
    finish: Finish,
    band: usize,
) -> Result<()> {
    const EPSILON: f32 = 1e-5;
    let (mut x, norm) = (rig.floats(count * width), rig.floats(width));
    if whole {
        x[3 * width + 1] = f32::INFINITY;
    }
    // Rows are rounded to halves of a sixteenth.
    let half = |x: &f32| f16::from_f32(x / 16.0).to_f32() * 16.0;
    let row = |x: &[f32]| reference::row(x, whole.then_some((&norm, EPSILON))).iter().map(half).collect();
    let rows: Vec<Vec<f32>> = x.chunks(width).map(row).collect();
    let largest = rows.iter().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
    let (mut weights, mut products, mut before, mut near) = (vec![], vec![], vec![], 0.0f32);
    for &(dtype, scale_type, height) in types {
        let (weight, values) = packed(rig, dtype, scale_type, [height, width])?;
        products.push(rows.iter().flat_map(|row| reference::product(&values, row, None)).collect());
        before.push(rig.floats(count * height));
        let most = values.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        // A norm is not computed as the oracle's is, to the bit, so that a few numbers between two halves go the other way.
        let turned = if whole { 3.0 * most * largest / 2048.0 } else { 0.0 };
        near = near.max(25.0 * tolerance(&values, width) + turned);
        weights.push(weight);
    }
    if let Finish::Gate(_) = finish {
        let finite = products.iter().flat_map(|product: &Vec<f32>| product).filter(|x| x.is_finite());
        near *= 4.0 * finite.fold(1.0f32, |most, x| most.max(x.abs()));
    }
    let wanted = reference::finish(&products, &before, finish);
    let (x, norm) = (rig.tensor(&[count, width], &x)?, rig.tensor(&[width], &norm)?);
    let norm = whole.then_some(Scaling { weight: &norm, epsilon: EPSILON });
    let maps: Vec<_> = weights.iter().map(|weight| Map { weight, bias: None }).collect();
    // Each weight of a gate begins a brick.
    let most = types.iter().map(|(.., height)| height.next_multiple_of(128) * types.len()).max().unwrap_or(0);
    let room = bands::room(count, [if band > 0 { band } else { most }, width]);
    let room = rig.output(DType::F16, &[room])?;
    let mut first: [Option<Vec<Vec<f32>>>; 2] = [None, None];
    for flies in [false, true, false, true] {
        rig.kernels_of::<Project<'_>>()?.set_flies(flies);
        let shape = |wanted: &Vec<f32>| [count, wanted.len() / count];
        let outs =
            wanted.iter().map(|wanted| rig.output(DType::F32, &shape(wanted))).collect::<Result<Vec<_>>>()?;
        for (out, before) in outs.iter().zip(&before) {
            out.copy_from(before)?;
        }
        let out: Vec<&Tensor> = outs.iter().collect();
        let op = Project { x: &x, norm, maps: &maps, finish, out: &out, room: Some(&room) };
        if flies && matches!(finish, Finish::Gate(_)) && rig.serves(&op).is_err() {
            // Where weights are multiplied as they are, gates are left to another op.
            continue;
        }
        rig.run(&op)?;
        let what = format!("{types:?}, {count} x {width}, {finish:?}, norm: {whole}, as they are: {flies}");
        let values = outs.iter().map(Tensor::to_vec::<f32>).collect::<Result<Vec<_>>>()?;
        let first = first[usize::from(flies)].get_or_insert(values);
        for ((out, wanted), first) in outs.iter().zip(&wanted).zip(first) {
            rig.within(&what, out, wanted, near)?;
            rig.same(&what, out, first)?;
        }
    }
    rig.kernels_of::<Project<'_>>()?.set_flies(true);
    Ok(())
}

fn alike(rig: &Rig, rows: usize, width: usize) -> Result<Weight> {
    let bytes = vec![0x11; rows * width / 32 * 34];
    Weight::pack(
        rig.device(),
        &WeightBytes::of(DType::Q8_0, [rows, width], &bytes)?,
        Level::best(),
        "packed",
        |_| (),
    )
}

/// An infinity spoils the row, with and without a norm.
fn not_finite(rig: &mut Rig) -> Result<()> {
    let weight = alike(rig, 17, 64)?;
    let mut x = vec![1.0; 64];
    x[40] = f32::INFINITY;
    let (x, norm) = (rig.tensor(&[1, 64], &x)?, rig.tensor(&[64], &[1.0f32; 64])?);
    let maps = [Map { weight: &weight, bias: None }];
    for norm in [None, Some(Scaling { weight: &norm, epsilon: 0.0 })] {
        let out = rig.output(DType::F32, &[1, 17])?;
        rig.run(&Project { x: &x, norm, maps: &maps, finish: STORE, out: &[&out], room: None })?;
        rig.same("an infinity", &out, &[f32::NAN; 17])?;
    }
    Ok(())
}

/// Several rows; and no rows, of `x` or of the weight, which write nothing.
fn nothing(rig: &mut Rig) -> Result<()> {
    for (count, rows) in [(0, 16), (1, 0), (3, 5)] {
        let weight = alike(rig, rows, 32)?;
        let x = rig.tensor(&[count, 32], &vec![1.0f32; count * 32])?;
        let maps = [Map { weight: &weight, bias: None }];
        let out = rig.output(DType::F32, &[count, rows])?;
        rig.run(&Project { x: &x, norm: None, maps: &maps, finish: STORE, out: &[&out], room: None })?;
        let code = 0x11 as f32 * half::f16::from_le_bytes([0x11; 2]).to_f32() * 32.0;
        rig.near("rows of ones", &out, &vec![code; count * rows], 1e-5)?;
    }
    Ok(())
}

fn refused(rig: &mut Rig) -> Result<()> {
    let (weight, other) = (alike(rig, 4, 64)?, alike(rig, 5, 64)?);
    let x = rig.tensor(&[1, 64], &[1.0f32; 64])?;
    let (out, four) = (rig.output(DType::F32, &[1, 5])?, rig.output(DType::F32, &[1, 4])?);
    let (map, second) = (Map { weight: &weight, bias: None }, Map { weight: &other, bias: None });
    let good = Project { x: &x, norm: None, maps: &[map], finish: STORE, out: &[&four], room: None };
    rig.refuses(&Project { out: &[&out], ..good }, "project: out has shape [1, 5], [1, 4] is wanted")?;
    let message = "project: maps is 0, it has to be one to three, and two with a gate";
    rig.refuses(&Project { maps: &[], out: &[], ..good }, message)?;
    rig.refuses(&Project { maps: &[map], finish: SILU, ..good }, &message.replace("is 0", "is 1"))?;
    let message = "project: rows of the second map is 5, it has to be those of the first";
    rig.refuses(&Project { maps: &[map, second], finish: SILU, ..good }, message)?;
    let message = "project: out is 0, it has to be one for each product";
    rig.refuses(&Project { out: &[], ..good }, message)?;
    let narrow = rig.tensor(&[1, 32], &[1.0f32; 32])?;
    let message = "project: width of weight is 64, it has to be packed, and as wide as x";
    rig.refuses(&Project { x: &narrow, ..good }, message)?;
    let none = rig.tensor::<f32>(&[1, 0], &[])?;
    rig.refuses(&Project { x: &none, ..good }, "project: width is 0, it has to be above 0")?;
    let norm = Some(Scaling { weight: &narrow, epsilon: 0.0 });
    rig.refuses(&Project { norm, ..good }, "project: norm has shape [1, 32], [64] is wanted")?;
    Ok(())
}

fn overlaps(rig: &mut Rig) -> Result<()> {
    let (square, x) = (alike(rig, 64, 64)?, rig.tensor(&[1, 64], &[1.0f32; 64])?);
    let maps = [Map { weight: &square, bias: None }];
    rig.refuses_overlap(&Project {
        x: &x,
        norm: None,
        maps: &maps,
        finish: Finish::Add,
        out: &[&x],
        room: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_device::{Device, DeviceOptions};

    #[test]
    fn what_does_not_fit_is_refused_without_a_card() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        refused(&mut Rig::new(&device, 1).unwrap()).unwrap();
    }
}
