//! Every format, experts chosen twice, rows shared by experts or not, with and without bias, and experts that are not
//! there.

use super::{RoutedMatmul, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    quant,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let block = format.dtype().block_elements();
        for (sizes, count, k) in [([3, 5, 3 * block], 2, 3), ([1, 1, block], 1, 1), ([4, 3, block], 0, 2)] {
            product(rig, format.dtype(), sizes, count, k)?;
        }
    }
    for width in [1, 511, 513, 1025] {
        product(rig, DType::F16, [2, 3, width], 2, 5)?;
    }
    product(rig, DType::F32, [2, 0, 8], 2, 1)?;
    product(rig, DType::F32, [2, 3, 8], 2, 0)?;

    let (weight, _) = rig.weight(DType::Q8_0, &[2, 4, 64])?;
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
    rig.refuses_overlap(&RoutedMatmul { weight: &square, x: &x, ids: &ids, bias: None, out: &floats })?;
    rig.fails(&op, "expert 2 is not among 2")
}

fn product(
    rig: &mut Rig,
    dtype: DType,
    [experts, rows, width]: [usize; 3],
    count: usize,
    k: usize,
) -> Result<()> {
    let (weight, values) = rig.weight(dtype, &[experts, rows, width])?;
    let (ids, bias): (Vec<u32>, _) =
        ((0..count * k).map(|_| rig.chance().below(experts) as u32).collect(), rig.floats(experts * rows));
    let (i, b) = (rig.tensor(&[count, k], &ids)?, rig.tensor(&[experts, rows], &bias)?);
    for shared in [true, false] {
        let taken = if shared { count } else { count * k };
        let x = rig.floats(taken * width);
        let shape: &[usize] = &if shared { vec![count, width] } else { vec![count, k, width] };
        let input = rig.tensor(shape, &x)?;
        let out = rig.output(DType::F32, &[count, k, rows])?;
        let bias = shared.then_some(&bias);
        let op = RoutedMatmul { weight: &weight, x: &input, ids: &i, bias: shared.then_some(&b), out: &out };
        rig.run(&op)?;
        let mut wanted = Vec::new();
        for (slot, &id) in ids.iter().enumerate() {
            let x = &x[if shared { slot / k } else { slot } * width..][..width];
            let own = &values[id as usize * rows * width..][..rows * width];
            wanted.extend(reference::product(own, x, bias.map(|bias| &bias[id as usize * rows..][..rows])));
        }
        // Rounding grows with what is summed, not with the sum.
        let size = values.iter().fold(1.0f32, |most, w| most.max(w.abs())) * 4.0 * (width as f32).sqrt();
        let what = format!("{dtype}, {count} x {k} of {experts} x {rows} x {width}, shared {shared}");
        rig.within(&what, &out, &wanted, 1e-5 * size)?;
    }
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for dtype in [DType::F32, DType::Q4_K, DType::MXFP4] {
        let (weight, _) = rig.weight(dtype, &[8, 256, 1024])?;
        let x = rig.floats(1024);
        let (x, ids) = (rig.tensor(&[1, 1024], &x)?, rig.tensor(&[1, 4], &[0u32, 3, 5, 7])?);
        let out = rig.output(DType::F32, &[1, 4, 256])?;
        let work = Work { bytes: weight.layout().bytes() / 2, operations: weight.elements() };
        let op = RoutedMatmul { weight: &weight, x: &x, ids: &ids, bias: None, out: &out };
        rig.time(format!("4 of 8 x 256 x 1024 {dtype}"), work, &op)?;
    }
    Ok(())
}
