//! Every format with one and several rows of activations, sizes around the parts, and arguments that do not fit.

use super::{Matmul, PART, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    quant,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let block = format.dtype().block_elements();
        for (count, rows, width) in
            [(1, PART + 1, 3 * block), (3, 5, 5 * block), (0, 3, block), (2, 0, block)]
        {
            product(rig, format.dtype(), [count, rows, width])?;
        }
    }
    // Around the piece that is decoded at a time, and rows that are no multiple of anything.
    for width in [1, 511, 512, 513, 1025, 172] {
        product(rig, DType::F16, [2, 3, width])?;
        product(rig, DType::F32, [1, 2 * PART, width])?;
    }
    let nothing = rig.tensor::<f32>(&[2, 0], &[])?;
    let out = rig.output(DType::F32, &[2, 2])?;
    rig.run(&Matmul { weight: &nothing, x: &nothing, out: &out })?;
    rig.same("no columns", &out, &[0.0; 4])?;

    let (weight, _) = rig.weight(DType::Q8_0, &[4, 64])?;
    let x = rig.tensor(&[1, 32], &[0.0f32; 32])?;
    let out = rig.output(DType::F32, &[1, 4])?;
    let bad = Matmul { weight: &weight, x: &x, out: &out };
    rig.refuses(&bad, "matmul: x has shape [1, 32], [1, 64] is wanted")?;
    rig.refuses(&Matmul { x: &weight, ..bad }, "matmul: x is of type q8_0, f32 is wanted")?;
    let cut = weight.narrow(1, 32..64)?;
    let bad = Matmul { weight: &cut, x: &x, out: &out };
    rig.refuses(&bad, "matmul: weight has strides [64, 1]; its elements have to lie in a row")?;
    let (square, x) = (rig.tensor(&[2, 2], &[1.0f32; 4])?, rig.tensor(&[1, 2], &[f32::NAN, 1.0])?);
    rig.refuses_overlap(&Matmul { weight: &square, x: &x, out: &x })?;
    let out = rig.output(DType::F32, &[1, 2])?;
    rig.run(&Matmul { weight: &square, x: &x, out: &out })?;
    rig.same("what is not a number", &out, &[f32::NAN; 2])
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let (weight, _) = rig.weight(format.dtype(), &[1024, 2048])?;
        let x = rig.floats(2048);
        let (x, out) = (rig.tensor(&[1, 2048], &x)?, rig.output(DType::F32, &[1, 1024])?);
        let work = Work { bytes: weight.layout().bytes(), operations: 2 * weight.elements() };
        let op = Matmul { weight: &weight, x: &x, out: &out };
        rig.time(format!("1 x 1024 x 2048 {}", format.dtype()), work, &op)?;
    }
    Ok(())
}

fn product(rig: &mut Rig, dtype: DType, [count, rows, width]: [usize; 3]) -> Result<()> {
    let (weight, values) = rig.weight(dtype, &[rows, width])?;
    let x = rig.floats(count * width);
    let (input, out) = (rig.tensor(&[count, width], &x)?, rig.output(DType::F32, &[count, rows])?);
    rig.run(&Matmul { weight: &weight, x: &input, out: &out })?;
    let wanted = reference::matmul(&values, &x, width);
    // Rounding grows with what is summed, not with the sum.
    let size = values.iter().fold(0.0f32, |most, w| most.max(w.abs())) * 4.0 * (width as f32).sqrt();
    rig.within(&format!("{dtype}, {count} x {rows} x {width}"), &out, &wanted, 1e-5 * size.max(1e-30))
}
