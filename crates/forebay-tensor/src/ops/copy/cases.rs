//! Every pair of types, every kind of view of each, and what cannot become what.

use super::{Copy, conversions, reference};
use crate::{
    Affine, DType, Result, Tensor,
    conformance::{Rig, Work},
    quant,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (from, to) in conversions() {
        convert(rig, from, to)?;
    }
    for dtype in DType::all().filter(|dtype| quant::format_of(*dtype).is_ok()) {
        convert(rig, dtype, dtype)?;
    }
    blocks(rig)?;
    words(rig)?;
    let (x, out) = (rig.tensor(&[2, 3], &[1.0f32; 6])?, rig.output(DType::U32, &[2, 3])?);
    let message = "copy: out is of type u32, a type that the one of x can become is wanted";
    rig.refuses(&Copy { x: &x, out: &out }, message)?;
    let columns = rig.tensor(&[2, 4], &[0.0f32; 8])?.narrow(1, 0..3)?;
    let message = "copy: out has strides [4, 1]; its elements have to lie in a row";
    rig.refuses(&Copy { x: &x, out: &columns }, message)?;
    let turned = x.reshape(&[3, 2])?;
    rig.refuses_overlap(&Copy { x: &turned, out: &turned })
}

/// Views of a tensor, each with its place in the whole.
fn convert(rig: &mut Rig, from: DType, to: DType) -> Result<()> {
    let unit = from.block_elements().max(to.block_elements());
    let width = if unit == 1 { 7 } else { 3 * unit };
    let (x, values) = rig.weight(from, &[2, 5, 3, width])?;
    let last = if unit == 1 { 2..5 } else { unit..2 * unit };
    let mut views = vec![
        x.clone(),
        x.reshape(&[30 * width])?,
        x.narrow(3, last)?,
        x.narrow(1, 1..4)?,
        x.narrow(1, 0..4)?.transpose(0, 1)?,
        x.narrow(2, 1..2)?,
        x.narrow(0, 1..1)?,
    ];
    if unit == 1 {
        views.extend([
            x.transpose(1, 3)?,
            x.transpose(2, 3)?,
            x.narrow(3, 4..5)?,
            x.transpose(0, 3)?.narrow(1, 0..1)?,
        ]);
    }
    for view in views {
        let first = (view.buffer().address() - x.buffer().address()) as usize;
        let first = if view.elements() == 0 { 0 } else { first / from.block_bytes() * from.block_elements() };
        let places = reference::places(view.shape(), view.layout().strides());
        let wanted: Vec<f32> = places.iter().map(|place| values[first + place]).collect();
        let mut bytes = vec![0; to.row_bytes(wanted.len())?];
        let out = rig.output(to, view.shape())?;
        rig.run(&Copy { x: &view, out: &out })?;
        let what = format!("{from} to {to}, {:?} by {:?}", view.shape(), view.layout().strides());
        if from == to {
            rig.same(&what, &out, &wanted)?;
        } else {
            quant::quantise_row(to, &wanted, &mut bytes)?;
            let mut rounded = vec![0.0; wanted.len()];
            quant::decode(to, &bytes, &mut rounded)?;
            rig.same(&what, &out, &rounded)?;
        }
    }
    Ok(())
}

/// Types of blocks that copy as they are, also where blocks have as many bytes as elements.
fn blocks(rig: &mut Rig) -> Result<()> {
    for dtype in [DType::Rounded, DType::Affine(Affine::new(8, 32)?), DType::Affine(Affine::new(3, 64)?)] {
        let width = 3 * dtype.block_elements();
        let bytes = dtype.row_bytes(width)?;
        let x = rig.output(dtype, &[2, 5, width])?;
        let all: Vec<u8> = (0..10 * bytes).map(|_| rig.chance().bits() as u8).collect();
        x.buffer().copy_from(&all)?;
        let out = rig.output(dtype, &[5, 2, width])?;
        rig.run(&Copy { x: &x.transpose(0, 1)?, out: &out })?;
        let rows = (0..10).map(|row| row % 2 * 5 + row / 2);
        let wanted: Vec<u8> = rows.flat_map(|row| all[row * bytes..][..bytes].to_vec()).collect();
        assert_eq!(rig.blocks::<u8>(&out)?, wanted, "{dtype}");
    }
    Ok(())
}

/// Types that are no weights, one element, no axes, and numbers that are not finite.
fn words(rig: &mut Rig) -> Result<()> {
    let x: Vec<u32> = (0..24).collect();
    let ids = rig.tensor(&[2, 3, 4], &x)?.transpose(0, 2)?;
    let out = rig.output(DType::U32, &[4, 3, 2])?;
    rig.run(&Copy { x: &ids, out: &out })?;
    let places = reference::places(ids.shape(), ids.layout().strides());
    rig.equal("u32", &out, &places.iter().map(|place| *place as u32).collect::<Vec<_>>())?;
    let bytes: Vec<u8> = (0..35).collect();
    let bytes = rig.tensor(&[5, 7], &bytes)?.transpose(0, 1)?;
    let out = rig.output(DType::U8, &[7, 5])?;
    rig.run(&Copy { x: &bytes, out: &out })?;
    assert_eq!(out.to_vec::<u8>()?[..6], [0, 7, 14, 21, 28, 1]);
    let doubles = rig.tensor(&[3, 2], &[1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0])?.narrow(1, 1..2)?;
    let out = rig.output(DType::F64, &[3, 1])?;
    rig.run(&Copy { x: &doubles, out: &out })?;
    assert_eq!(out.to_vec::<f64>()?, [2.0, 4.0, 6.0]);
    let odd = rig.tensor(&[1, 3], &[f32::NAN, f32::INFINITY, 1e-40])?;
    for (dtype, least) in [(DType::F32, 1e-40), (DType::F16, 0.0), (DType::BF16, 1e-40)] {
        let out = rig.output(dtype, &[1, 3])?;
        rig.run(&Copy { x: &odd, out: &out })?;
        rig.near(&format!("not finite as {dtype}"), &out, &[f32::NAN, f32::INFINITY, least], 1e-6)?;
    }
    let one = Tensor::of(DType::F32, &[], rig.tensor(&[1], &[3.0f32])?.buffer().clone())?;
    let out = rig.output(DType::F16, &[])?;
    rig.run(&Copy { x: &one, out: &out })?;
    rig.same("no axes", &out, &[3.0])
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let floats = rig.floats(512 * 4096);
    let x = rig.tensor(&[512, 4096], &floats)?;
    for (x, dtype) in [(x.clone(), DType::F32), (x.clone(), DType::F16), (x.transpose(0, 1)?, DType::F32)] {
        let out = rig.output(dtype, x.shape())?;
        let work = Work { bytes: 4 * x.elements() + out.layout().bytes(), operations: x.elements() };
        let case = format!("{:?} by {:?} to {dtype}", x.shape(), x.layout().strides());
        rig.time(case, work, &Copy { x: &x, out: &out })?;
    }
    Ok(())
}
