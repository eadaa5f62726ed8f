//! Numbers that fall in the middle of every candidate's share, and beyond the last; chains of all kinds; rows without
//! numbers.

use super::{Sample, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for k in [1, 3, 7, 64, 200] {
        for (temperature, top_p, min_p) in [
            (1.0, 1.0, 0.0),
            (0.7, 0.9, 0.0),
            (2.0, 1.0, 0.05),
            (0.5, 0.8, 0.3),
            (0.0, 1.0, 0.0),
            (1.0, 0.0, 1.0),
        ] {
            let mut values: Vec<f32> = rig.floats(k).iter().map(|x| 3.0 * x).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            draws(rig, &values, [temperature, top_p, min_p])?;
        }
    }
    draws(rig, &[f32::NAN, f32::NAN], [1.0, 1.0, 0.0])?;
    draws(rig, &[2.0, 1.0, f32::NAN], [1.0, 1.0, 0.0])?;
    draws(rig, &[f32::INFINITY, f32::INFINITY, 1.0], [1.0, 1.0, 0.0])?;
    draws(rig, &[f32::NEG_INFINITY; 3], [1.0, 1.0, 0.0])?;
    draws(rig, &[0.0, f32::NEG_INFINITY], [1.0, 1.0, 0.0])?;

    let (none, no_ids) = (rig.tensor::<f32>(&[0, 3], &[])?, rig.tensor::<u32>(&[0, 3], &[])?);
    let (u, out) = (rig.tensor::<f32>(&[0], &[])?, rig.output(DType::U32, &[0])?);
    rig.run(&Sample::new(&none, &no_ids, &u, &out))?;
    let (values, ids) = (rig.tensor(&[1, 2], &[1.0f32, 0.0])?, rig.tensor(&[1, 2], &[0u32, 1])?);
    let (u, out) = (rig.tensor(&[1], &[0.5f32])?, rig.output(DType::U32, &[1])?);
    let op = Sample::new(&values, &ids, &u, &out);
    rig.refuses(&Sample { top_p: 1.5, ..op }, "sample: top_p is 1.5, it has to be from 0 to 1")?;
    rig.refuses(&Sample { temperature: -1.0, ..op }, "sample: temperature is -1, it has to be not negative")?;
    let narrow = ids.narrow(1, 0..1)?;
    rig.refuses(&Sample { ids: &narrow, ..op }, "sample: ids has shape [1, 1], [1, 2] is wanted")?;
    let own = ids.narrow(1, 1..2)?.reshape(&[1])?;
    rig.refuses_overlap(&Sample { out: &own, ..op })
}

/// One row for each candidate, with a number in the middle of its share.
fn draws(rig: &mut Rig, values: &[f32], [temperature, top_p, min_p]: [f32; 3]) -> Result<()> {
    let chances = reference::chances(values, temperature, top_p, min_p);
    let (rows, k) = (chances.len() + 1, values.len());
    let ids: Vec<u32> = (0..k).map(|i| (7 * i + 3) as u32).collect();
    let mut before = 0.0;
    let middles = chances.iter().map(|chance| {
        before += chance;
        (before - chance / 2.0) as f32
    });
    let uniform: Vec<f32> = middles.chain([1.0]).collect();
    // Shares too small for the number to fall into them cannot be told apart.
    let wanted: Vec<u32> = (0..rows).map(|i| ids[i.min(chances.len() - 1)]).collect();
    let (a, b) = (rig.tensor(&[rows, k], &values.repeat(rows))?, rig.tensor(&[rows, k], &ids.repeat(rows))?);
    let (u, out) = (rig.tensor(&[rows], &uniform)?, rig.output(DType::U32, &[rows])?);
    rig.run(&Sample { temperature, top_p, min_p, ..Sample::new(&a, &b, &u, &out) })?;
    let got = out.to_vec::<u32>()?;
    let clear = |i: usize| i >= chances.len() || chances[i] > 1e-6;
    let wanted: Vec<u32> = (0..rows).map(|i| if clear(i) { wanted[i] } else { got[i] }).collect();
    rig.equal(&format!("{k} candidates, {temperature}, {top_p}, {min_p}"), &out, &wanted)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let mut values = rig.floats(40);
    values.sort_by(|a, b| b.total_cmp(a));
    let ids: Vec<u32> = (0..40).collect();
    let (a, b) = (rig.tensor(&[1, 40], &values)?, rig.tensor(&[1, 40], &ids)?);
    let (u, out) = (rig.tensor(&[1], &[0.5f32])?, rig.output(DType::U32, &[1])?);
    let op = Sample { top_p: 0.9, temperature: 0.7, ..Sample::new(&a, &b, &u, &out) };
    rig.time("1 of 40", Work { bytes: 320, operations: 200 }, &op)
}
