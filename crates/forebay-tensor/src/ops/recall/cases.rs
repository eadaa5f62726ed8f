//! All widths and all sizes of clusters, pasts around chunks and blocks, more heads than a cluster takes, every kind of sight, rings, sinks,
//! caps, what lies where nobody looks, positions and places that are not there, and arguments that do not fit.

use super::{Pairs, Recall, Room, Sight};
use crate::{
    DType, Result, Tensor,
    conformance::{Rig, Work},
    ops::{
        attention::{
            cases::{round_to, seen},
            reference::{self, Numbers},
        },
        enter::cases::{Given, Rows, Sizes},
    },
};

/// What else there is to it.
#[derive(Clone, Copy, Debug)]
struct Kind {
    scale: f32,
    sight: Sight,
    softcap: Option<f32>,
    sinks: bool,
    ring: bool,
    normed: bool,
    pairs: Pairs,
}

const PLAIN: Kind = Kind {
    scale: 0.1,
    sight: Sight::Before,
    softcap: None,
    sinks: false,
    ring: false,
    normed: true,
    pairs: Pairs::HalfSplit,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    let kinds = [
        PLAIN,
        Kind { scale: 3.0, normed: false, ..PLAIN },
        Kind { sight: Sight::Window(20), pairs: Pairs::Interleaved, ..PLAIN },
        Kind { sight: Sight::All, softcap: Some(2.0), ..PLAIN },
        Kind { sight: Sight::Around(7), sinks: true, ..PLAIN },
        Kind { sinks: true, sight: Sight::Window(130), softcap: Some(50.0), ..PLAIN },
    ];
    for width in super::WIDTHS {
        for kind in kinds {
            for (heads, groups, turned, capacity, position) in [
                (1, 1, width / 2, 1, 0),
                (8, 2, width / 2, 40, 1),
                (6, 2, 3, 40, 39),
                (3, 3, 0, 300, 129),
                (17, 1, width / 2, 1100, 1090),
            ] {
                let sizes = [heads, groups, width, width, turned, capacity];
                recall(rig, sizes, Rows(&[position], None), kind)?;
            }
        }
        // The latest positions in a ring that has gone round many times.
        let ring = Kind { sight: Sight::Window(30), ring: true, ..PLAIN };
        recall(rig, [4, 2, width, width, 5, 36], Rows(&[1000], None), ring)?;
        recall(rig, [4, 2, width, width, 5, 30], Rows(&[1001], None), ring)?;
        // As many clusters as make blocks of each few.
        for rows in [1, 2, 4, 8, 32] {
            let positions: Vec<u32> = (0..rows).map(|i| i * 37 % 71).collect();
            let places: Vec<u32> = (0..rows).rev().collect();
            let rows = Rows(&positions, Some((rows as usize, &places)));
            recall(rig, [16, 8, width, width, width / 2, 71], rows, PLAIN)?;
        }
    }
    // A past that several clusters share.
    for (sizes, position) in [
        ([2, 1, 64, 64, 32, 9000], 8999),
        ([2, 1, 64, 64, 32, 9000], 2048),
        ([9, 1, 128, 128, 64, 5000], 3400),
        ([4, 2, 256, 256, 8, 2100], 2090),
    ] {
        for kind in [PLAIN, kinds[5], Kind { sight: Sight::Window(2077), ..PLAIN }] {
            recall(rig, sizes, Rows(&[position], None), kind)?;
        }
    }
    let positions = [5000, 17, 2600];
    recall(rig, [4, 2, 64, 64, 32, 5001], Rows(&positions, Some((4, &[2, 0, 3]))), PLAIN)?;
    // Positions and places that are not there.
    let lost = Rows(&[3, 9, 4, 10], Some((3, &[2, 0, 3, 1])));
    recall(rig, [2, 1, 64, 64, 32, 9], lost, PLAIN)?;
    recall(rig, [2, 2, 64, 64, 0, 9], Rows(&[], None), PLAIN)?;
    recall(rig, [2, 1, 64, 64, 32, 9], Rows(&[9], None), PLAIN)?;
    not_finite(rig)?;
    refused(rig)?;
    overlaps(rig)
}

fn recall(rig: &mut Rig, sizes: Sizes, rows: Rows<'_>, kind: Kind) -> Result<()> {
    let [heads, groups, width, _, _, capacity] = sizes;
    let what = format!("{sizes:?}, {rows:?}, {kind:?}");
    let Rows(positions, several) = rows;
    let mut given = Given::new(rig, DType::F16, sizes, rows, kind.normed)?;
    let (caches, places) = several.unwrap_or((1, &[0]));
    let slot_of = |i: usize, group: usize, position: usize| {
        ((places[i] as usize * groups + group) * capacity + position % capacity) * width
    };
    let there = |i: usize| (places[i] as usize) < caches && (kind.ring || (positions[i] as usize) < capacity);
    // What nobody sees must not matter, whatever it is.
    let mut seen_slots = vec![false; caches * groups * capacity];
    for i in (0..positions.len()).filter(|i| there(*i)) {
        let position = positions[i] as usize;
        for j in seen(kind.sight, position, position).into_iter().filter(|j| *j < position) {
            (0..groups).for_each(|group| seen_slots[slot_of(i, group, j) / width] = true);
        }
    }
    for cache in [&mut given.keys, &mut given.values] {
        let mut elements = cache.to_f32()?;
        for (row, _) in elements.chunks_mut(width).zip(&seen_slots).filter(|(_, seen)| !**seen) {
            row.fill(f32::NAN);
        }
        *cache = rig.rounded(DType::F16, cache.shape(), &elements)?.0;
    }
    let (before_keys, before_values) = (given.keys.to_f32()?, given.values.to_f32()?);
    let sinks = rig.floats(heads);
    let sink_scores = rig.tensor(&[heads], &sinks)?;
    let out = rig.output(DType::F32, &[positions.len(), heads, width])?;
    let records = rig.output(DType::F32, &[60_000])?;
    let arrivals = rig.tensor(&[Room::ARRIVALS], &[0u32; Room::ARRIVALS])?;
    let op = Recall {
        scale: kind.scale,
        sight: kind.sight,
        softcap: kind.softcap,
        sinks: kind.sinks.then_some(&sink_scores),
        room: kind.normed.then_some(Room { records: &records, arrivals: &arrivals }),
        early: kind.sinks,
        ..Recall::new(given.op(kind.pairs, kind.ring), kind.scale, &out)
    };
    rig.run(&op)?;
    assert!(arrivals.to_vec::<u32>()?.iter().all(|count| *count == 0), "{what}: all have arrived");

    let mut queries = given.prepared(&given.q, 0, kind.pairs)?;
    round_to(DType::F16, &mut queries, kind.scale)?;
    let (new_keys, new_values) = (given.prepared(&given.k, 1, kind.pairs)?, given.v.to_vec::<f32>()?);
    let (mut all_keys, mut all_values) = (before_keys, before_values);
    for i in (0..positions.len()).filter(|i| there(*i)) {
        for group in 0..groups {
            let (slot, row) = (slot_of(i, group, positions[i] as usize), (i * groups + group) * width);
            all_keys[slot..slot + width].copy_from_slice(&new_keys[row..row + width]);
            all_values[slot..slot + width].copy_from_slice(&new_values[row..row + width]);
        }
    }
    for (name, cache, wanted) in [("keys", &given.keys, &all_keys), ("values", &given.values, &all_values)] {
        let largest = wanted.iter().filter(|x| x.is_finite()).fold(1.0f32, |most, x| most.max(x.abs()));
        rig.within(&format!("{name} of {what}"), cache, wanted, 1e-3 * largest)?;
    }
    let (keys, values) = (given.keys.to_f32()?, given.values.to_f32()?);
    let numbers = Numbers { scale: kind.scale, softcap: kind.softcap };
    let mut wanted = Vec::new();
    for (i, head) in (0..positions.len()).flat_map(|i| (0..heads).map(move |head| (i, head))) {
        let position = positions[i] as usize;
        if !there(i) {
            wanted.extend(vec![f32::NAN; width]);
            continue;
        }
        let of = |cache: &'_ [f32], j: usize| slot_of(i, head / (heads / groups), j)..cache.len();
        let row = |cache: &'_ [f32], j: usize| -> Vec<f32> { cache[of(cache, j)][..width].to_vec() };
        let seen = seen(kind.sight, position, position);
        let (keys, values): (Vec<_>, Vec<_>) =
            seen.iter().map(|j| (row(&keys, *j), row(&values, *j))).unzip();
        wanted.extend(reference::attend(
            &queries[(i * heads + head) * width..][..width],
            &keys.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &values.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            kind.sinks.then(|| sinks[head]),
            &numbers,
        ));
    }
    // Weights are rounded to halves, and a score's rounding moves its weight by as much.
    let tolerance = 1.0 / 256.0 + 2e-5 * kind.scale * width as f32;
    rig.near(&what, &out, &wanted, tolerance)
}

/// A query that is no number spoils its own head, and no other of its cluster.
fn not_finite(rig: &mut Rig) -> Result<()> {
    let mut given = Given::new(rig, DType::F16, [2, 1, 64, 64, 32, 50], Rows(&[40], None), true)?;
    let out = rig.output(DType::F32, &[1, 2, 64])?;
    rig.run(&Recall::new(given.op(Pairs::HalfSplit, false), 0.1, &out))?;
    let mut wanted = out.to_f32()?;
    wanted[..64].fill(f32::NAN);
    let mut queries = given.q.to_f32()?;
    queries[5] = f32::NAN;
    given.q = rig.tensor(&[1, 2, 64], &queries)?;
    let out = rig.output(DType::F32, &[1, 2, 64])?;
    rig.run(&Recall::new(given.op(Pairs::HalfSplit, false), 0.1, &out))?;
    rig.same("beside a query that is no number", &out, &wanted)
}

fn refused(rig: &mut Rig) -> Result<()> {
    let of = |rig: &mut Rig, sizes: Sizes, rows| Given::new(rig, DType::F16, sizes, rows, false);
    let given = of(rig, [2, 1, 64, 64, 32, 4], Rows(&[0], None))?;
    let out = rig.output(DType::F32, &[1, 2, 64])?;
    let op = Recall::new(given.op(Pairs::HalfSplit, false), 1.0, &out);
    let wide = rig.output(DType::F32, &[1, 2, 65])?;
    rig.refuses(&Recall { out: &wide, ..op }, "recall: out has shape [1, 2, 65], [1, 2, 64] is wanted")?;
    let lost = Recall { sight: Sight::Window(0), ..op };
    rig.refuses(&lost, "recall: window is 0, it has to be at least 1")?;
    let endless = Recall { scale: f32::INFINITY, ..op };
    rig.refuses(&endless, "recall: scale is inf, it has to be finite")?;
    let floats = Given::new(rig, DType::F32, [2, 1, 64, 64, 32, 4], Rows(&[0], None), false)?;
    let enter = floats.op(Pairs::HalfSplit, false);
    rig.refuses(&Recall { enter, ..op }, "recall: keys is of type f32, f16 is wanted")?;
    let two = of(rig, [2, 1, 64, 64, 32, 4], Rows(&[0, 1], None))?;
    let (enter, out) = (two.op(Pairs::HalfSplit, false), rig.output(DType::F32, &[2, 2, 64])?);
    let wanted = "recall: rows of q is 2, it has to be one, unless rows have places";
    rig.refuses(&Recall { enter, out: &out, ..op }, wanted)?;
    let narrow = of(rig, [2, 1, 32, 32, 16, 4], Rows(&[0], None))?;
    let (enter, out) = (narrow.op(Pairs::HalfSplit, false), rig.output(DType::F32, &[1, 2, 32])?);
    let wanted = "recall: width of q is 32, it has to be 64, 128 or 256";
    rig.refuses(&Recall { enter, out: &out, ..op }, wanted)?;
    let (records, arrivals) = (rig.output(DType::F32, &[9])?, rig.tensor(&[255], &[0u32; 255])?);
    let room = Some(Room { records: &records, arrivals: &arrivals });
    let wanted = "recall: elements of arrivals is 255, it has to be at least 256";
    rig.refuses(&Recall { room, ..op }, wanted)?;
    let (late, arrivals) = (records.narrow(0, 1..9)?, rig.tensor(&[256], &[0u32; 256])?);
    let room = Some(Room { records: &late, arrivals: &arrivals });
    let wanted = "recall: records is 4, it has to be at a multiple of 16 bytes, not past one";
    rig.refuses(&Recall { room, ..op }, wanted)?;
    let odd = Tensor::of(DType::F32, &[1, 2, 64], rig.output(DType::F32, &[130])?.buffer().slice(4..516)?)?;
    let wanted = "recall: out is 4, it has to be at a multiple of 16 bytes, not past one";
    rig.refuses(&Recall { out: &odd, ..op }, wanted)
}

fn overlaps(rig: &mut Rig) -> Result<()> {
    let given = Given::new(rig, DType::F16, [2, 1, 64, 64, 32, 4], Rows(&[0], None), false)?;
    rig.refuses_overlap(&Recall::new(given.op(Pairs::HalfSplit, false), 1.0, &given.q))
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let places: [u32; 8] = std::array::from_fn(|i| i as u32);
    let records = rig.output(DType::F32, &[100_000])?;
    let arrivals = rig.tensor(&[Room::ARRIVALS], &[0u32; Room::ARRIVALS])?;
    for (count, depth) in [(1, 128), (1, 2048), (1, 16_384), (8, 128)] {
        let positions = [depth - 1; 8];
        let rows = Rows(&positions[..count], (count > 1).then_some((count, &places[..count])));
        let sizes = [32, 8, 128, 128, 64, depth as usize];
        let given = Given::new(rig, DType::F16, sizes, rows, true)?;
        let out = rig.output(DType::F32, &[count, 32, 128])?;
        let keys = count * depth as usize * 128;
        let work = Work { bytes: 2 * 2 * 8 * keys, operations: 4 * 32 * keys };
        let room = Some(Room { records: &records, arrivals: &arrivals });
        let op = Recall { room, ..Recall::new(given.op(Pairs::HalfSplit, false), 0.09, &out) };
        rig.time(format!("{count} of 32 and 8 heads of 128 at depth {depth}"), work, &op)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_device::{Device, DeviceOptions};

    #[test]
    fn what_does_not_fit_is_refused_without_a_card() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        refused(&mut Rig::new(&device, 1).unwrap()).unwrap();
    }
}
