//! Every format in rows and in panels, on every level, with one and several rows of activations, sizes around the parts,
//! and arguments that do not fit.

mod around;

use forebay_device::BackendKind;
use half::f16;

use super::{Matmul, PART, bands, reference};
use crate::{
    Affine, DType, Error, Level, Result, Tensor, Weight, WeightBytes,
    conformance::{Rig, Work},
    op::Loaded,
    ops::Round,
    quant::{
        self, mlx,
        panel::PanelLayout,
        rounded::{self, Rounded},
    },
    tiles::{self, cuda::panels::MOST_FEW},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let block = format.dtype().block_elements();
        for (count, rows, width) in
            [(1, PART + 1, 3 * block), (3, 5, 5 * block), (19, 21, 3 * block), (0, 3, block), (2, 0, block)]
        {
            product(rig, format.dtype(), [count, rows, width])?;
        }
    }
    // Around the tiles of a card, and where rows begin at any address.
    for (dtype, sizes) in
        [(DType::F32, [70, 67, 131]), (DType::BF16, [17, 64, 64]), (DType::F16, [65, 129, 33])]
    {
        product(rig, dtype, sizes)?;
    }
    product(rig, DType::Q5_K, [130, 65, 512])?;
    for (dtype, sizes) in
        [(DType::F32, [129, 6100, 9]), (DType::F16, [257, 4090, 24]), (DType::BF16, [140, 6111, 40])]
    {
        product(rig, dtype, sizes)?;
    }
    for (dtype, width) in [(DType::MXFP4, 96), (DType::Q6_K, 512), (DType::F16, 131), (DType::F32, 7)] {
        for count in [1, 9, 20] {
            product_of_last_rows(rig, dtype, [count, 9, width])?;
        }
    }
    // Around the piece that is decoded at a time.
    for width in [480, 512, 544, 1056] {
        product(rig, DType::Q8_0, [2, 3, width])?;
    }
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for shape in
            [[1, 2 * PART, 1], [2, 3, 15], [7, PART + 1, 513], [13, 35, 172], [5, 9, 16], [9, 5, 4136]]
        {
            same_on_every_level(rig, dtype, shape)?;
        }
    }
    let nothing = Weight::rows(&rig.tensor::<f32>(&[2, 0], &[])?)?;
    let x = rig.tensor::<f32>(&[2, 0], &[])?;
    let out = rig.output(DType::F32, &[2, 2])?;
    rig.run(&Matmul::new(&nothing, &x, &out))?;
    rig.same("no columns", &out, &[0.0; 4])?;

    for (dtype, scale_type, layout) in tiles::in_panels() {
        let span = layout.span;
        for shape in [[1, 1, span], [2, 17, 3 * span], [5, 19, 256 + span], [13, 17, span], [5, 0, span]] {
            packed_product(rig, dtype, scale_type, shape)?;
        }
    }
    for dtype in with_points(rig) {
        for shape in [[1, 1, 256], [2, 17, 768], [5, 70, 256], [7, 3, 512], [5, 0, 256]] {
            let (weight, values) = in_rows(rig, dtype, [shape[1], shape[2]])?;
            on_every_level(rig, &weight.by_integers(), &values, shape[0])?;
        }
    }
    for scale_type in [DType::F16, DType::F32] {
        packed_product(rig, DType::Affine(Affine::new(4, 64)?), Some(scale_type), [3, 33, 192])?;
    }
    // More panels than a group has, some of them by one worker and some by another.
    for dtype in [DType::Q4_K, DType::Q6_K, DType::Q8_0] {
        packed_product(rig, dtype, None, [7, 150, 512])?;
    }
    not_finite(rig)?;
    in_rooms(rig)?;
    around::cases(rig)?;

    let (weight, _) = rig.weight(DType::Q8_0, &[4, 64])?;
    let (rows, bytes) = (Weight::rows(&weight)?, weight.buffer().to_vec::<u8>()?);
    let x = rig.tensor(&[1, 32], &[0.0f32; 32])?;
    let out = rig.output(DType::F32, &[1, 4])?;
    let bad = Matmul::new(&rows, &x, &out);
    rig.refuses(&bad, "matmul: x has shape [1, 32], [1, 64] is wanted")?;
    rig.refuses(&Matmul { x: &weight, ..bad }, "matmul: x is of type q8_0, f32 is wanted")?;
    let whole = rig.tensor(&[1, 64], &[0.0f32; 64])?;
    let no_room = Matmul { x: &whole, room: Some(&x), ..bad };
    rig.refuses(&no_room, "matmul: room is of type f32, f16 is wanted")?;
    let bytes = WeightBytes::of(DType::Q8_0, [4, 64], &bytes)?;
    let packed = Weight::pack(rig.device(), &bytes, Level::Plain, "packed", |_| ())?;
    rig.refuses(&Matmul { weight: &packed, ..bad }, "matmul: x is of type f32, rounded is wanted")?;
    assert!(matches!(Weight::<2>::rows(&weight.narrow(1, 32..64)?), Err(Error::Strided { .. })));
    let (square, x) = (rig.tensor(&[2, 2], &[1.0f32; 4])?, rig.tensor(&[1, 2], &[f32::NAN, 1.0])?);
    let square = Weight::rows(&square)?;
    rig.refuses_overlap(&Matmul::new(&square, &x, &x))?;
    let out = rig.output(DType::F32, &[1, 2])?;
    rig.run(&Matmul::new(&square, &x, &out))?;
    rig.same("what is not a number", &out, &[f32::NAN; 2])
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    const SHAPE: [usize; 2] = [1024, 2048];
    for format in quant::formats() {
        let (weight, _) = in_rows(rig, format.dtype(), SHAPE)?;
        let x = rig.floats(SHAPE[1]);
        time(rig, &weight, &x)?;
    }
    let mut weights = Vec::new();
    for (dtype, scale_type, _) in tiles::in_panels() {
        weights.push(packed(rig, dtype, scale_type, SHAPE)?.0);
    }
    for dtype in with_points(rig) {
        weights.push(in_rows(rig, dtype, SHAPE)?.0.by_integers());
    }
    for weight in weights {
        for count in [1, 64] {
            let x = rig.floats(count * SHAPE[1]);
            time(rig, &weight, &x)?;
        }
    }
    Ok(())
}

/// The types whose rows have integer products on the device.
pub(crate) fn with_points(rig: &Rig) -> Vec<DType> {
    let here = rig.device().kind() == BackendKind::Cpu;
    tiles::with_points().filter(|_| here).collect()
}

fn time(rig: &mut Rig, weight: &Weight, x: &[f32]) -> Result<()> {
    let [rows, width] = weight.shape();
    let count = x.len() / width;
    let x = input(rig, weight, x)?;
    let out = rig.output(DType::F32, &[count, rows])?;
    let work = Work { bytes: weight.buffer().len() as usize, operations: 2 * count * rows * width };
    let case = format!("{count} x {rows} x {width} {}", weight.dtype());
    rig.time(case, work, &Matmul::new(weight, &x, &out))
}

/// The activations in the form that a weight multiplies.
fn input(rig: &mut Rig, weight: &Weight, x: &[f32]) -> Result<Tensor> {
    let shape = [x.len() / weight.shape()[1], weight.shape()[1]];
    let floats = rig.tensor(&shape, x)?;
    if weight.input() == DType::F32 {
        return Ok(floats);
    }
    let out = rig.output(DType::Rounded, &shape)?;
    rig.run(&Round { x: &floats, out: &out })?;
    Ok(out)
}

/// Many rows of activations with a room, of every format; sizes around tiles and bands, and more tiles than a card takes at once.
fn in_rooms(rig: &mut Rig) -> Result<()> {
    let on_card = rig.device().kind() == BackendKind::Cuda;
    let small = |(dtype, scales, layout): (_, _, PanelLayout)| {
        [[133, 130, 3 * layout.span], [50, 40, layout.span]].map(|shape| (dtype, scales, shape, 0))
    };
    let mut sizes: Vec<_> = tiles::in_panels().filter(|_| on_card).flat_map(small).collect();
    sizes.push((DType::Q8_0, None, [40, 21, 96], 0));
    let large: [(_, &[_]); 3] = [
        (
            DType::Q8_0,
            &[[192, 1, 32], [256, 128, 64], [385, 257, 160], [1100, 4201, 96], [17, 70, 32], [9, 200, 96]],
        ),
        (
            DType::Q4_K,
            &[[256, 256, 4352], [1030, 600, 256], [300, 2050, 512], [17, 1000, 2304], [128, 600, 1024]],
        ),
        (DType::Q6_K, &[[640, 999, 768], [65, 250, 1792]]),
    ];
    for (dtype, shapes) in large.into_iter().filter(|_| on_card) {
        sizes.extend(shapes.iter().map(|shape| (dtype, None, *shape, 0)));
    }
    if on_card {
        // Rooms with place for 256 and for 512 rows of the weight.
        sizes.extend([(DType::Q4_K, None, [257, 1001, 512], 256), (DType::Q8_0, None, [300, 1100, 96], 512)]);
    }
    for (dtype, scale_type, shape, band) in sizes {
        let (weight, values) = packed(rig, dtype, scale_type, [shape[1], shape[2]])?;
        in_a_room(rig, &weight, &values, shape, band)?;
    }
    Ok(())
}

/// A product in a room with place for a band of so many rows, or for all, by an image of the weight and by what is faster; each of
/// both is the same every time.
fn in_a_room(
    rig: &mut Rig,
    weight: &Weight,
    values: &[f32],
    [count, rows, width]: [usize; 3],
    band: usize,
) -> Result<()> {
    let mut x = rig.floats(count * width);
    let rounded = input(rig, weight, &x)?;
    rounded::decode(&rig.blocks::<Rounded>(&rounded)?, &mut x);
    let wanted = reference::matmul(values, &x, width);
    let place = bands::room(count, [if band > 0 { band } else { rows }, width]);
    let room = rig.output(DType::F16, &[place])?;
    let what = format!("{weight:?}, {count} rows, in a room");
    let mut first: [Option<Vec<f32>>; 2] = [None, None];
    for flies in [false, true, false, true] {
        let out = rig.output(DType::F32, &[count, rows])?;
        rig.kernels_of::<Matmul<'_>>()?.set_flies(flies);
        rig.run(&Matmul { room: Some(&room), ..Matmul::new(weight, &rounded, &out) })?;
        let is_coarse = rig.device().kind() == BackendKind::Cuda;
        let tolerance = tolerance(values, width) * if is_coarse { 25.0 } else { 1.0 };
        rig.within(&what, &out, &wanted, tolerance)?;
        rig.same(&what, &out, first[usize::from(flies)].get_or_insert(out.to_vec()?))?;
    }
    Ok(())
}

/// An infinity among the activations spoils its own row; a scale that is not a number spoils its row of the weight.
fn not_finite(rig: &mut Rig) -> Result<()> {
    let mut bytes = vec![0x11; 17 * 34];
    bytes[3 * 34..3 * 34 + 2].copy_from_slice(&f16::NAN.to_le_bytes());
    let bytes = WeightBytes::of(DType::Q8_0, [17, 32], &bytes)?;
    let weight = Weight::pack(rig.device(), &bytes, Level::best(), "packed", |_| ())?;
    let mut x = vec![0.0; 3 * 32];
    x[40] = f32::INFINITY;
    let x = input(rig, &weight, &x)?;
    let out = rig.output(DType::F32, &[3, 17])?;
    rig.run(&Matmul::new(&weight, &x, &out))?;
    let mut wanted = [0.0; 3 * 17];
    wanted[17..34].fill(f32::NAN);
    (wanted[3], wanted[37]) = (f32::NAN, f32::NAN);
    rig.same("what is not finite", &out, &wanted)
}

fn product(rig: &mut Rig, dtype: DType, [count, rows, width]: [usize; 3]) -> Result<()> {
    let (weight, values) = rig.weight(dtype, &[rows, width])?;
    let weight = Weight::rows(&weight)?;
    let x = rig.floats(count * width);
    let (input, out) = (rig.tensor(&[count, width], &x)?, rig.output(DType::F32, &[count, rows])?);
    rig.run(&Matmul::new(&weight, &input, &out))?;
    let wanted = reference::matmul(&values, &x, width);
    rig.within(&format!("{dtype}, {count} x {rows} x {width}"), &out, &wanted, tolerance(&values, width))
}

/// The product of all rows of a weight but its first, and of all rows of activations but the first.
fn product_of_last_rows(rig: &mut Rig, dtype: DType, [count, rows, width]: [usize; 3]) -> Result<()> {
    let (weight, values) = rig.weight(dtype, &[rows + 1, width])?;
    let weight = Weight::rows(&weight.narrow(0, 1..rows + 1)?)?;
    let x = rig.floats((count + 1) * width);
    let input = rig.tensor(&[count + 1, width], &x)?.narrow(0, 1..count + 1)?;
    let out = rig.output(DType::F32, &[count, rows])?;
    rig.run(&Matmul::new(&weight, &input, &out))?;
    let wanted = reference::matmul(&values[width..], &x[width..], width);
    rig.within(&format!("the last rows of {dtype}"), &out, &wanted, tolerance(&values, width))
}

/// The product of a weight of floats, which is the same on every level and for every number of rows.
fn same_on_every_level(rig: &mut Rig, dtype: DType, [count, rows, width]: [usize; 3]) -> Result<()> {
    let (weight, values) = in_rows(rig, dtype, [rows, width])?;
    let x = rig.floats(count * width);
    let input = rig.tensor(&[count, width], &x)?;
    let wanted = reference::matmul(&values, &x, width);
    let mut first: Option<Vec<f32>> = None;
    for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
        rig.kernels_of::<Matmul<'_>>()?.set_level(level);
        let what = format!("{dtype}, {count} x {rows} x {width}, {level}");
        let out = rig.output(DType::F32, &[count, rows])?;
        rig.run(&Matmul::new(&weight, &input, &out))?;
        rig.within(&what, &out, &wanted, tolerance(&values, width))?;
        rig.same(&what, &out, first.get_or_insert(out.to_vec()?))?;
        let one = rig.output(DType::F32, &[1, rows])?;
        let last = count - 1..count;
        rig.run(&Matmul::new(&weight, &input.narrow(0, last.clone())?, &one))?;
        rig.same(&format!("{what}, the last row alone"), &one, &out.narrow(0, last)?.to_vec()?)?;
    }
    Ok(())
}

/// Rounding grows with what is summed, not with the sum.
pub(crate) fn tolerance(values: &[f32], width: usize) -> f32 {
    let size = values.iter().fold(0.0f32, |most, w| most.max(w.abs())) * 4.0 * (width as f32).sqrt();
    1e-5 * size.max(1e-30)
}

fn packed_product(
    rig: &mut Rig,
    dtype: DType,
    scale_type: Option<DType>,
    [count, rows, width]: [usize; 3],
) -> Result<()> {
    let (weight, values) = packed(rig, dtype, scale_type, [rows, width])?;
    on_every_level(rig, &weight, &values, count)?;
    let weight = weight.by_floats();
    if weight.input() == DType::F32 {
        on_every_level(rig, &weight, &values, count)?;
    }
    Ok(())
}

/// The product of a weight with rows that it takes, which is the same on every level and for every number of rows.
fn on_every_level(rig: &mut Rig, weight: &Weight, values: &[f32], count: usize) -> Result<()> {
    let [rows, width] = weight.shape();
    let mut x = rig.floats(count * width);
    let taken = input(rig, weight, &x)?;
    if weight.input() == DType::Rounded {
        rounded::decode(&rig.blocks::<Rounded>(&taken)?, &mut x);
    }
    let wanted = reference::matmul(values, &x, width);

    let mut first: Option<Vec<f32>> = None;
    for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
        rig.kernels_of::<Matmul<'_>>()?.set_level(level);
        let what = format!("{weight:?}, {count} rows, {level}");
        let out = rig.output(DType::F32, &[count, rows])?;
        rig.run(&Matmul::new(weight, &taken, &out))?;
        // Tensor cores multiply numbers of 11 bits, which a row alone is not rounded to.
        let is_coarse = rig.device().kind() == BackendKind::Cuda && count > MOST_FEW;
        let tolerance = tolerance(values, width) * if is_coarse { 25.0 } else { 1.0 };
        rig.within(&what, &out, &wanted, tolerance)?;
        rig.same(&what, &out, first.get_or_insert(out.to_vec()?))?;
        for row in [0, count - 1].into_iter().filter(|_| !is_coarse) {
            let one = rig.output(DType::F32, &[1, rows])?;
            let x = taken.narrow(0, row..row + 1)?;
            rig.run(&Matmul::new(weight, &x, &one))?;
            rig.same(&format!("{what}, row {row} alone"), &one, &out.narrow(0, row..row + 1)?.to_vec()?)?;
        }
    }
    Ok(())
}

/// A packed weight of random bytes, and what it decodes to.
pub(crate) fn packed<const AXES: usize>(
    rig: &mut Rig,
    dtype: DType,
    scale_type: Option<DType>,
    shape: [usize; AXES],
) -> Result<(Weight<AXES>, Vec<f32>)> {
    let level = Level::best();
    let Some(scale_type) = scale_type else {
        let (tensor, values) = rig.weight(dtype, &shape)?;
        let bytes = tensor.buffer().to_vec::<u8>()?;
        let bytes = WeightBytes::of(dtype, shape, &bytes)?;
        return Ok((Weight::pack(rig.device(), &bytes, level, "packed", |_| ())?, values));
    };
    let elements = shape.iter().product();
    let sizes = mlx::plane_bytes(dtype, scale_type, elements)?;
    let codes: Vec<u8> = (0..sizes.codes).map(|_| rig.chance().bits() as u8).collect();
    let mut plane = |bytes: usize| -> Result<Vec<u8>> {
        let numbers = rig.floats(bytes / scale_type.block_bytes());
        if scale_type == DType::U8 {
            return Ok(numbers.iter().map(|x| (120.0 + 2.0 * x) as u8).collect());
        }
        let mut plane = vec![0; bytes];
        quant::quantise_row(scale_type, &numbers, &mut plane)?;
        Ok(plane)
    };
    let (scales, biases) = (plane(sizes.scales)?, plane(sizes.biases)?);
    let planes = mlx::Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
    let mut values = vec![0.0; elements];
    mlx::decode(dtype, &planes, &mut values)?;
    let bytes = WeightBytes::of_planes(dtype, shape, &planes)?;
    Ok((Weight::pack(rig.device(), &bytes, level, "packed", |_| ())?, values))
}

/// A weight in rows, and its values.
pub(crate) fn in_rows(rig: &mut Rig, dtype: DType, shape: [usize; 2]) -> Result<(Weight, Vec<f32>)> {
    let (tensor, values): (Tensor, _) = rig.weight(dtype, &shape)?;
    Ok((Weight::rows(&tensor)?, values))
}
