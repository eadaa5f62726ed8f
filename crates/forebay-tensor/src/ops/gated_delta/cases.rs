//! One position and many, around the length of a chunk, both ways to share heads, odd widths; in one launch and
//! step by step; decays that keep all and that keep nothing.

use super::{CHUNK, GatedDelta, Heads, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
};

/// Positions, heads of keys, heads of values, width of keys, width of values.
type Sizes = [usize; 5];

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    let all: [Sizes; 11] = [
        [1, 1, 1, 1, 1],
        [3, 2, 4, 5, 7],
        [CHUNK - 1, 2, 2, 8, 8],
        [CHUNK, 1, 3, 8, 8],
        [2 * CHUNK + 1, 2, 6, 17, 33],
        [70, 2, 4, 32, 32],
        [CHUNK + 2, 1, 2, 128, 40],
        [3, 1, 2, 131, 9],
        [1, 1, 1, 300, 70],
        [0, 1, 2, 4, 4],
        [2, 1, 2, 0, 4],
    ];
    for sizes in all {
        for heads in [Heads::Grouped, Heads::Interleaved] {
            for most_decay in [0.0, 0.2, 90.0, f32::INFINITY] {
                delta(rig, sizes, heads, most_decay)?;
            }
        }
    }
    refusals(rig)
}

fn delta(rig: &mut Rig, sizes: Sizes, heads: Heads, most_decay: f32) -> Result<()> {
    let [count, key_heads, value_heads, key_width, width] = sizes;
    // Keys of length one, as networks have them: longer ones make the state grow without end.
    let mut keys = rig.floats(count * key_heads * key_width);
    for key in keys.chunks_mut(key_width.max(1)) {
        let length = key.iter().map(|x| x * x).sum::<f32>().sqrt();
        key.iter_mut().for_each(|x| *x /= length.max(1e-3));
    }
    let (queries, values) = (rig.floats(keys.len()), rig.floats(count * value_heads * width));
    let decays: Vec<f32> =
        rig.floats(count * value_heads).iter().map(|x| -most_decay * x.abs().max(1e-3)).collect();
    let betas: Vec<f32> = rig.floats(count * value_heads).iter().map(|x| x.abs().min(1.0)).collect();
    let before = rig.floats(value_heads * key_width * width);

    let (q, k) = (
        rig.tensor(&[count, key_heads, key_width], &queries)?,
        rig.tensor(&[count, key_heads, key_width], &keys)?,
    );
    let v = rig.tensor(&[count, value_heads, width], &values)?;
    let (decay, beta) =
        (rig.tensor(&[count, value_heads], &decays)?, rig.tensor(&[count, value_heads], &betas)?);
    let shape = [value_heads, key_width, width];
    let (state, stepped) = (rig.tensor(&shape, &before)?, rig.tensor(&shape, &before)?);
    let out = rig.output(DType::F32, &[count, value_heads, width])?;
    let op = GatedDelta {
        q: &q,
        k: &k,
        v: &v,
        decay: &decay,
        beta: &beta,
        heads,
        scale: 0.5,
        state: &state,
        out: &out,
    };
    assert_eq!(rig.serves(&op)?, if count < CHUNK { "gated_delta_step" } else { "gated_delta_chunk" });
    rig.run(&op)?;

    let mut states: Vec<f64> = before.iter().map(|&x| x.into()).collect();
    let mut wanted = vec![0.0; values.len()];
    for i in 0..count {
        for head in 0..value_heads {
            let key_head = match heads {
                Heads::Grouped => head / (value_heads / key_heads),
                Heads::Interleaved => head % key_heads,
            };
            let key = (i * key_heads + key_head) * key_width..(i * key_heads + key_head + 1) * key_width;
            let slot = i * value_heads + head;
            let own = &mut states[head * key_width * width..][..key_width * width];
            let value = &values[slot * width..][..width];
            let answer =
                reference::step(own, &queries[key.clone()], &keys[key], value, decays[slot], betas[slot]);
            wanted[slot * width..][..width]
                .iter_mut()
                .zip(answer)
                .for_each(|(wanted, answer)| *wanted = (0.5 * answer) as f32);
        }
    }
    let what = format!("{sizes:?}, {heads:?}, decays to {most_decay}");
    let states: Vec<f32> = states.iter().map(|x| *x as f32).collect();
    rig.within(&what, &out, &wanted, 3e-4)?;
    rig.within(&format!("state of {what}"), &state, &states, 1e-4)?;

    let again = rig.output(DType::F32, &[count, value_heads, width])?;
    for i in 0..count {
        let one = |tensor: &crate::Tensor| tensor.narrow(0, i..i + 1);
        let (q, k, v, decay, beta, out) =
            (one(&q)?, one(&k)?, one(&v)?, one(&decay)?, one(&beta)?, one(&again)?);
        let op =
            GatedDelta { q: &q, k: &k, v: &v, decay: &decay, beta: &beta, state: &stepped, out: &out, ..op };
        rig.run(&op)?;
    }
    rig.within(&format!("{what}, step by step"), &again, &wanted, 3e-4)?;
    rig.within(&format!("state of {what}, step by step"), &stepped, &states, 1e-4)
}

fn refusals(rig: &mut Rig) -> Result<()> {
    let q = rig.tensor(&[1, 2, 4], &[0.0f32; 8])?;
    let (v, three) = (rig.tensor(&[1, 3, 4], &[f32::NAN; 12])?, rig.tensor(&[1, 3], &[0.0f32; 3])?);
    let (state, out) = (rig.tensor(&[3, 4, 4], &[0.0f32; 48])?, rig.output(DType::F32, &[1, 3, 4])?);
    let bad = GatedDelta {
        q: &q,
        k: &q,
        v: &v,
        decay: &three,
        beta: &three,
        heads: Heads::Grouped,
        scale: 1.0,
        state: &state,
        out: &out,
    };
    rig.refuses(&bad, "gated_delta: heads of v is 3, it has to be a multiple of the heads of k")?;
    let one = q.narrow(1, 0..1)?;
    let op = GatedDelta { q: &one, k: &one, ..bad };
    rig.refuses(&GatedDelta { decay: &v, ..op }, "gated_delta: decay has shape [1, 3, 4], [1, 3] is wanted")?;
    rig.refuses_overlap(&GatedDelta { out: &v, ..op })?;
    rig.run(&op)?;
    rig.same("a value that is no number", &out, &[f32::NAN; 12])
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for count in [1, 256] {
        let [keys, values] = [16, 32].map(|heads| [count, heads, 128]);
        let x: Vec<f32> = rig.floats(count * 32 * 128).iter().map(|x| 0.05 * x).collect();
        let few = vec![-0.1f32; count * 32];
        let betas = vec![0.5f32; count * 32];
        let (q, k) = (rig.tensor(&keys, &x[..count * 16 * 128])?, rig.tensor(&keys, &x[..count * 16 * 128])?);
        let (v, out) = (rig.tensor(&values, &x)?, rig.output(DType::F32, &values)?);
        let (decay, beta) = (rig.tensor(&[count, 32], &few)?, rig.tensor(&[count, 32], &betas)?);
        let state = rig.tensor(&[32, 128, 128], &vec![0.1f32; 32 * 128 * 128])?;
        let work = Work { bytes: 8 * state.elements(), operations: 7 * count * state.elements() };
        let op = GatedDelta {
            q: &q,
            k: &k,
            v: &v,
            decay: &decay,
            beta: &beta,
            heads: Heads::Grouped,
            scale: 1.0,
            state: &state,
            out: &out,
        };
        rig.time(format!("{count} x 32 x 128 x 128"), work, &op)?;
    }
    Ok(())
}
