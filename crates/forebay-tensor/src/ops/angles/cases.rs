//! Near and far positions, several axes, no pairs, sections that are not there.

use super::{Angles, Frequencies, Scaling, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (count, pairs, axes) in [(1, 1, 1), (5, 7, 1), (4, 32, 3), (0, 4, 1), (3, 0, 2), (9, 64, 1)] {
        let far = [0, 1, 131_071, 17, 4095, u32::MAX];
        let positions: Vec<u32> =
            (0..count * axes).map(|i| far[i % far.len()].saturating_sub(i as u32 / 6)).collect();
        let frequencies = Frequencies::new(10_000.0, 2 * pairs, &Scaling::Linear(2.0)).radians;
        let sections: Vec<u32> = (0..pairs).map(|_| rig.chance().below(axes) as u32).collect();
        let p = rig.tensor(&[count, axes], &positions)?;
        let (f, s) = (rig.tensor(&[pairs], &frequencies)?, rig.tensor(&[pairs], &sections)?);
        for (has_sections, magnitude) in [(true, 1.0), (false, 1.25)] {
            let out = rig.output(DType::F32, &[count, 2, pairs])?;
            let op = Angles { sections: has_sections.then_some(&s), magnitude, ..Angles::new(&p, &f, &out) };
            rig.run(&op)?;
            let axis = |j: usize| if has_sections { sections[j] as usize } else { 0 };
            let wanted: Vec<f32> = positions
                .chunks(axes)
                .map(|position| (0..pairs).map(|j| position[axis(j)]).collect::<Vec<_>>())
                .flat_map(|own| reference::angles(&own, &frequencies, magnitude))
                .collect();
            rig.near(&format!("{count} x {axes}, {pairs} pairs"), &out, &wanted, 1e-6)?;
        }
    }
    let (p, f) = (rig.tensor(&[1], &[3u32])?, rig.tensor(&[2], &[1.0f32, f32::NAN])?);
    let out = rig.output(DType::F32, &[1, 2, 2])?;
    let op = Angles::new(&p, &f, &out);
    rig.run(&op)?;
    rig.near("no frequency", &out, &[3f32.cos(), f32::NAN, 3f32.sin(), f32::NAN], 1e-6)?;
    let bad = rig.output(DType::F32, &[1, 2])?;
    rig.refuses(&Angles { out: &bad, ..op }, "angles: out has shape [1, 2], [1, 2, 2] is wanted")?;
    let message = "angles: magnitude is inf, it has to be finite";
    rig.refuses(&Angles { magnitude: f32::INFINITY, ..op }, message)?;
    rig.refuses_overlap(&Angles { frequencies: &out.narrow(1, 0..1)?.reshape(&[2])?, ..op })?;
    let s = rig.tensor(&[2], &[0u32, 1])?;
    rig.fails(&Angles { sections: Some(&s), ..op }, "axis 1 of pair 1 is not among 1")
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let positions: Vec<u32> = (0..512).collect();
    let frequencies = Frequencies::new(1e6, 128, &Scaling::None).radians;
    let (p, f) = (rig.tensor(&[512], &positions)?, rig.tensor(&[64], &frequencies)?);
    let out = rig.output(DType::F32, &[512, 2, 64])?;
    let work = Work { bytes: 4 * out.elements(), operations: out.elements() };
    rig.time("512 x 64", work, &Angles::new(&p, &f, &out))
}
