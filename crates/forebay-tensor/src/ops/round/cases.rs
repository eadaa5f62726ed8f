//! Rows of one and several blocks, and what is no number.

use super::{Round, reference};
use crate::{
    DType, Result, Tensor,
    conformance::{Rig, Work},
    quant::rounded::{ELEMENTS, Rounded},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for [count, width] in [[1, 32], [3, 96], [0, 32], [2, 4096]] {
        let mut x = rig.floats(count * width);
        if count == 3 {
            (x[5], x[40], x[200]) = (f32::NAN, -0.0, 1e-40);
            x[64..96].fill(0.0);
            // One over the scale of such a block is infinite, and zero times that is no number.
            x[128..160].fill(2e-38);
            x[130..135].fill(0.0);
        }
        let (input, out) = (rig.tensor(&[count, width], &x)?, rig.output(DType::Rounded, &[count, width])?);
        rig.run(&Round { x: &input, out: &out })?;
        let blocks = rig.blocks::<Rounded>(&out)?;
        assert_eq!(blocks.len(), x.len() / ELEMENTS);
        for (x, block) in x.chunks(ELEMENTS).zip(blocks) {
            let (codes, d) = reference::round(x);
            assert_eq!((&codes[..], d), (&block.codes[..], block.d));
            let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            let sums = [sum(&codes[..16]), sum(&codes[16..])];
            assert_eq!((sum(&codes), sums), (block.sum, block.sums));
            let scaled = sums.map(|sum| d * sum as f32);
            assert_eq!((d * sum(&codes) as f32, scaled), (block.dsum, block.dsums));
        }
    }
    twice(rig)?;
    let (x, out) = (rig.tensor(&[2, 1, 32], &[1.0f32; 64])?, rig.output(DType::Rounded, &[2, 1, 32])?);
    rig.run(&Round { x: &x, out: &out })?;
    assert!(rig.blocks::<Rounded>(&out)?.iter().all(|block| block.sum == 32 * 127), "of three axes");
    let (x, out) = (rig.tensor(&[1, 32], &[1.0f32; 32])?, rig.output(DType::Rounded, &[1, 64])?);
    rig.refuses(&Round { x: &x, out: &out }, "round: out has shape [1, 64], [1, 32] is wanted")?;
    rig.refuses(&Round { x: &out, out: &out }, "round: x is of type rounded, f32 is wanted")?;
    let x = rig.tensor(&[1, 32], &[0.0f32; 32])?;
    let out = Tensor::of(DType::Rounded, &[1, 32], x.buffer().slice(64..128)?)?;
    rig.refuses_overlap(&Round { x: &x, out: &out })
}

/// Rows and what rounding took from them.
fn twice(rig: &mut Rig) -> Result<()> {
    for [count, width] in [[1, 64], [5, 96]] {
        let mut x = rig.floats(count * width);
        (x[7], x[9]) = (f32::NAN, 0.0);
        let (input, out) =
            (rig.tensor(&[count, width], &x)?, rig.output(DType::Rounded, &[2 * count, width])?);
        rig.run(&Round { x: &input, out: &out })?;
        let blocks = rig.blocks::<Rounded>(&out)?;
        let (first, second) = blocks.split_at(x.len() / ELEMENTS);
        for ((x, first), second) in x.as_chunks::<ELEMENTS>().0.iter().zip(first).zip(second) {
            let (codes, d) = reference::round(x);
            assert_eq!((&codes[..], d), (&first.codes[..], first.d));
            assert_eq!(*second, Rounded::of(&first.rest(x)));
            for (i, &x) in x.iter().enumerate().filter(|(_, x)| !x.is_nan()) {
                let [once, rest] = [first, second].map(|block| block.d * f32::from(block.codes[i]));
                assert!((once + rest - x).abs() <= first.d * 0.0041, "{x}, rounded to {once} and {rest}");
            }
        }
        assert!(second.iter().all(|block| block.d > 0.0));
    }
    Ok(())
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let x = rig.floats(512 * 4096);
    let (x, out) = (rig.tensor(&[512, 4096], &x)?, rig.output(DType::Rounded, &[512, 4096])?);
    let work = Work { bytes: 4 * x.elements() + 2 * x.elements(), operations: x.elements() };
    rig.time("512 x 4096", work, &Round { x: &x, out: &out })
}
