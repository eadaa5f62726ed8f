//! Every candidate of chains of all kinds, drawn by what the numbers of many positions fall upon; more candidates than a block has
//! threads; rows that have a rule each, and rows that share some; rows without numbers.

use super::{Draw, Random, Sample, reference};
use crate::{
    DType, Result, Tensor,
    conformance::{Rig, Work},
};

/// A rule that keeps everything.
const ALL: Draw = Draw { seed: 0x1234_5678_9abc_def0, keep: 0, temperature: 1.0, top_p: 1.0, min_p: 0.0 };

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for (k, keep) in [(1, 1), (3, 0), (7, 5), (64, 40), (64, 100), (300, 0), (1100, 1000)] {
        for (temperature, top_p, min_p) in [
            (1.0, 1.0, 0.0),
            (0.7, 0.9, 0.0),
            (2.0, 1.0, 0.05),
            (0.5, 0.8, 0.3),
            (0.0, 1.0, 0.0),
            (1.0, 0.0, 1.0),
            (1e-3, 0.999, 0.0),
        ] {
            let mut values: Vec<f32> = rig.floats(k).iter().map(|x| 3.0 * x).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            draws(rig, &values, Draw { keep, temperature, top_p, min_p, ..ALL })?;
        }
    }
    draws(rig, &[f32::NAN, f32::NAN], ALL)?;
    draws(rig, &[2.0, 1.0, f32::NAN], ALL)?;
    draws(rig, &[f32::INFINITY, f32::INFINITY, 1.0], ALL)?;
    draws(rig, &[f32::NEG_INFINITY; 3], ALL)?;
    draws(rig, &[0.0, f32::NEG_INFINITY], ALL)?;
    draws(rig, &[3e38, -3e38], Draw { temperature: 1e-30, ..ALL })?;
    by_places(rig)?;

    let (none, no_ids) = (rig.tensor::<f32>(&[0, 3], &[])?, rig.tensor::<u32>(&[0, 3], &[])?);
    let (nowhere, no_rules) = (rig.tensor::<u32>(&[0], &[])?, rig.tensor::<u32>(&[0, Draw::WORDS], &[])?);
    let out = rig.output(DType::U32, &[0])?;
    rig.run(&sample(&none, &no_ids, &nowhere, &no_rules, &out))?;
    let (values, ids) = (rig.tensor(&[1, 2], &[1.0f32, 0.0])?, rig.tensor(&[1, 2], &[0u32, 1])?);
    let (positions, rules) = (rig.tensor(&[1], &[3u32])?, rig.tensor(&[1, Draw::WORDS], &ALL.words())?);
    let out = rig.output(DType::U32, &[1])?;
    let op = sample(&values, &ids, &positions, &rules, &out);
    let narrow = ids.narrow(1, 0..1)?;
    rig.refuses(&Sample { ids: &narrow, ..op }, "sample: ids has shape [1, 1], [1, 2] is wanted")?;
    let short = rig.tensor(&[1, 5], &[0u32; 5])?;
    rig.refuses(&Sample { rules: &short, ..op }, "sample: rules has shape [1, 5], [1, 6] is wanted")?;
    let two = rig.tensor(&[2, Draw::WORDS], &[0u32; 12])?;
    rig.refuses(&Sample { rules: &two, ..op }, "sample: rules has shape [2, 6], [1, 6] is wanted")?;
    let own = ids.narrow(1, 1..2)?.reshape(&[1])?;
    rig.refuses_overlap(&Sample { out: &own, ..op })
}

fn sample<'a>(
    values: &'a Tensor,
    ids: &'a Tensor,
    positions: &'a Tensor,
    rules: &'a Tensor,
    out: &'a Tensor,
) -> Sample<'a> {
    Sample { values, ids, positions, rules, places: None, out }
}

/// The same row at many positions.
fn draws(rig: &mut Rig, values: &[f32], draw: Draw) -> Result<()> {
    let (rows, k) = (if values.len() > 100 { 40 } else { 200 }, values.len());
    let ids: Vec<u32> = (0..k).map(|i| (7 * i + 3) as u32).collect();
    let positions: Vec<u32> = (0..rows as u32).map(|row| row * row * 7919).collect();
    let chances = reference::chances(values, &draw);
    let mut wanted = Vec::new();
    for position in &positions {
        let length = u64::from(*position) + 1;
        // What the host draws, which is one of those that the number falls upon.
        let place = draw.choose(values, length);
        let number = Random::new(draw.seed).uniform(length, 0);
        let fits = match place {
            Some(place) => reference::drawn(&chances, number).contains(&place),
            None => chances.is_empty(),
        };
        let never = Draw::NONE - 1;
        wanted.push(if fits { place.map_or(Draw::NONE, |place| ids[place]) } else { never });
    }
    let (a, b) = (rig.tensor(&[rows, k], &values.repeat(rows))?, rig.tensor(&[rows, k], &ids.repeat(rows))?);
    let positions = rig.tensor(&[rows], &positions)?;
    let rules = rig.tensor(&[rows, Draw::WORDS], &draw.words().repeat(rows))?;
    let out = rig.output(DType::U32, &[rows])?;
    rig.run(&sample(&a, &b, &positions, &rules, &out))?;
    rig.equal(&format!("{k} candidates, {draw:?}"), &out, &wanted)
}

/// Rows that say which of some rules is theirs, and one that names none.
fn by_places(rig: &mut Rig) -> Result<()> {
    let rules = [
        ALL,
        Draw { seed: 3, keep: 2, temperature: 0.4, ..ALL },
        Draw { temperature: 0.0, ..ALL },
        Draw { seed: 9, top_p: 0.5, temperature: 3.0, ..ALL },
    ];
    let (rows, k) = (50, 9);
    let mut values = rig.floats(k);
    values.sort_by(|a, b| b.total_cmp(a));
    let ids: Vec<u32> = (100..100 + k as u32).collect();
    let places: Vec<u32> = (0..rows as u32).map(|row| row * 3 % 5).collect();
    let positions: Vec<u32> = (0..rows as u32).map(|row| row * 17).collect();
    let drawn = |(place, position): (&u32, &u32)| {
        let place = rules.get(*place as usize)?.choose(&values, u64::from(*position) + 1)?;
        Some(ids[place])
    };
    let wanted: Vec<u32> =
        places.iter().zip(&positions).map(|row| drawn(row).unwrap_or(Draw::NONE)).collect();
    let words: Vec<u32> = rules.iter().flat_map(Draw::words).collect();
    let (a, b) = (rig.tensor(&[rows, k], &values.repeat(rows))?, rig.tensor(&[rows, k], &ids.repeat(rows))?);
    let (positions, places) = (rig.tensor(&[rows], &positions)?, rig.tensor(&[rows], &places)?);
    let rules = rig.tensor(&[rules.len(), Draw::WORDS], &words)?;
    let out = rig.output(DType::U32, &[rows])?;
    rig.run(&Sample { places: Some(&places), ..sample(&a, &b, &positions, &rules, &out) })?;
    rig.equal("rules by place", &out, &wanted)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let mut values = rig.floats(40);
    values.sort_by(|a, b| b.total_cmp(a));
    let ids: Vec<u32> = (0..40).collect();
    let (a, b) = (rig.tensor(&[1, 40], &values)?, rig.tensor(&[1, 40], &ids)?);
    let draw = Draw { top_p: 0.9, temperature: 0.7, ..ALL };
    let (positions, rules) = (rig.tensor(&[1], &[5u32])?, rig.tensor(&[1, Draw::WORDS], &draw.words())?);
    let out = rig.output(DType::U32, &[1])?;
    rig.time("1 of 40", Work { bytes: 344, operations: 200 }, &sample(&a, &b, &positions, &rules, &out))
}
