//! All scores with and without bias and renormalising, from none to all experts, ties, rows without numbers.

use super::{Router, Score, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for score in [Score::Softmax, Score::Sigmoid, Score::SoftmaxOfChosen] {
        for (count, experts, k) in [(1, 1, 1), (5, 7, 3), (3, 128, 8), (2, 33, 33), (0, 8, 2), (4, 8, 0)] {
            for (renormalise, has_bias) in [(false, false), (true, false), (true, true)] {
                let mut logits: Vec<f32> = rig.floats(count * experts).iter().map(|x| 4.0 * x).collect();
                if count > 2 && experts > 2 {
                    logits[..experts].fill(1.5);
                    logits[experts] = f32::NEG_INFINITY;
                    logits[2 * experts..3 * experts].fill(f32::NAN);
                }
                let bias = rig.floats(experts);
                let (a, b) = (rig.tensor(&[count, experts], &logits)?, rig.tensor(&[experts], &bias)?);
                let ids = rig.output(DType::U32, &[count, k])?;
                let weights = rig.output(DType::F32, &[count, k])?;
                let op = Router {
                    bias: has_bias.then_some(&b),
                    renormalise,
                    scale: 2.5,
                    ..Router::new(&a, score, &ids, &weights)
                };
                rig.run(&op)?;
                let bias = has_bias.then_some(&bias[..]);
                let rows = logits.chunks(experts);
                let wanted: Vec<_> =
                    rows.map(|row| reference::route(row, bias, k, (score, renormalise, 2.5))).collect();
                let what = format!("{score:?} {k} of {count} x {experts}, {renormalise}, {has_bias}");
                rig.equal(&what, &ids, &wanted.iter().flat_map(|(ids, _)| ids.clone()).collect::<Vec<_>>())?;
                let wanted: Vec<f32> = wanted.into_iter().flat_map(|(_, weights)| weights).collect();
                rig.near(&what, &weights, &wanted, 3e-6)?;
            }
        }
    }
    let logits = rig.tensor(&[2, 3], &[0.0f32; 6])?;
    let (ids, weights) = (rig.output(DType::U32, &[2, 4])?, rig.output(DType::F32, &[2, 4])?);
    let bad = Router::new(&logits, Score::Softmax, &ids, &weights);
    rig.refuses(&bad, "router: width of ids is 4, it has to be at most the number of experts")?;
    let ids = rig.output(DType::U32, &[2, 3])?;
    rig.refuses_overlap(&Router::new(&logits, Score::Softmax, &ids, &logits))
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let logits = rig.floats(512 * 128);
    let a = rig.tensor(&[512, 128], &logits)?;
    let (ids, weights) = (rig.output(DType::U32, &[512, 8])?, rig.output(DType::F32, &[512, 8])?);
    let work = Work { bytes: 4 * logits.len(), operations: 8 * logits.len() };
    rig.time("8 of 512 x 128", work, &Router::new(&a, Score::Softmax, &ids, &weights))
}
