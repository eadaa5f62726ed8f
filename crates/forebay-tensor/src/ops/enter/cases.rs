//! Every type of cache, one and several, with and without norms, both kinds of pairs, heads that are turned in part or not at all, rings, the last
//! position, one that is not there, and arguments that do not fit.

use super::{Enter, Pairs, Scaling};
use crate::{
    DType, Result, Tensor,
    conformance::{Rig, Work},
    ops::{rms_norm, rope},
    tiles::cpu::cache::CACHE_TYPES,
};

const EPSILON: f32 = 1e-6;

/// Heads, groups, width, value width, pairs, capacity.
pub(in crate::ops) type Sizes = [usize; 6];

/// Where rows go: their positions, and which of how many caches.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Rows<'a>(pub &'a [u32], pub Option<(usize, &'a [u32])>);

/// Positions of which there are many; one is not there in a small cache.
const MANY: [u32; 11] = [0, 1, 2, 3, 4, 5, 38, 39, 40, 9, 10];

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for dtype in CACHE_TYPES {
        for (sizes, rows, pairs, ring, normed) in [
            ([4, 2, 128, 128, 64, 9], Rows(&[8], None), Pairs::HalfSplit, false, true),
            ([3, 3, 64, 32, 5, 4], Rows(&[0], None), Pairs::Interleaved, false, false),
            ([5, 1, 96, 160, 48, 3], Rows(&[1_000_003], None), Pairs::HalfSplit, true, true),
            ([1, 1, 32, 32, 0, 1], Rows(&[0], None), Pairs::Interleaved, false, true),
            ([2, 2, 576, 512, 32, 2], Rows(&[7], None), Pairs::HalfSplit, false, false),
            ([2, 0, 32, 32, 16, 2], Rows(&[1], None), Pairs::HalfSplit, false, false),
            ([4, 2, 64, 32, 16, 9], Rows(&[3, 9, 8, 0, 1], None), Pairs::HalfSplit, false, true),
            ([3, 1, 128, 96, 64, 40], Rows(&MANY, None), Pairs::HalfSplit, false, true),
            ([2, 2, 64, 32, 32, 50], Rows(&MANY, None), Pairs::Interleaved, true, false),
            ([2, 2, 32, 32, 16, 9], Rows(&[], None), Pairs::HalfSplit, false, true),
            ([5, 1, 64, 32, 16, 9], Rows(&[3, 3, 11], Some((5, &[4, 0, 2]))), Pairs::HalfSplit, false, true),
            ([2, 2, 32, 64, 16, 3], Rows(&[7, 8], Some((2, &[1, 1]))), Pairs::Interleaved, true, false),
            ([2, 1, 32, 32, 8, 3], Rows(&[1, 2], Some((2, &[2, 0]))), Pairs::Interleaved, false, false),
        ] {
            compare(rig, dtype, sizes, rows, pairs, ring, normed)?;
        }
    }
    compare(rig, DType::F16, [3, 1, 7, 5, 3, 4], Rows(&[2], None), Pairs::Interleaved, false, true)?;
    refused(rig)?;
    overlaps(rig)
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let places: [u32; 8] = std::array::from_fn(|i| i as u32);
    for (count, caches) in [(1, None), (8, Some((8, &places[..])))] {
        let rows = Rows(&[77; 8][..count], caches);
        let given = Given::new(rig, DType::F16, [32, 8, 128, 128, 64, 4096], rows, true)?;
        let bytes = count * (4 * 128 * (2 * 32 + 8 + 8) + 2 * 128 * 16);
        let work = Work { bytes, operations: count * 6 * 128 * 40 };
        rig.time(format!("{count} of 32 and 8 heads of 128"), work, &given.op(Pairs::HalfSplit, false))?;
    }
    Ok(())
}

pub(in crate::ops) struct Given {
    pub q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
    norms: Option<[Tensor; 2]>,
    angles: Tensor,
    positions: Tensor,
    places: Option<Tensor>,
    pub keys: Tensor,
    pub values: Tensor,
}

impl Given {
    pub(in crate::ops) fn new(
        rig: &mut Rig,
        dtype: DType,
        sizes: Sizes,
        rows: Rows<'_>,
        normed: bool,
    ) -> Result<Self> {
        let [heads, groups, width, value_width, pairs, capacity] = sizes;
        let Rows(positions, several) = rows;
        let rows = positions.len();
        let mut floats = |shape: &[usize]| {
            let floats = rig.floats(shape.iter().product());
            rig.tensor(shape, &floats)
        };
        let (q, k) = (floats(&[rows, heads, width])?, floats(&[rows, groups, width])?);
        let v = floats(&[rows, groups, value_width])?;
        let norms = match normed {
            true => Some([floats(&[width])?, floats(&[width])?]),
            false => None,
        };
        let angles = floats(&[rows, 2, pairs])?;
        let caches = several.map_or(1, |(caches, _)| caches);
        let mut cache = |width: usize| {
            let before = rig.floats(caches * groups * capacity * width);
            let shape = &[caches, groups, capacity, width][usize::from(several.is_none())..];
            rig.rounded(dtype, shape, &before).map(|(cache, _)| cache)
        };
        let (keys, values) = (cache(width)?, cache(value_width)?);
        let positions = rig.tensor(&[rows], positions)?;
        let places = several.map(|(_, places)| rig.tensor(&[rows], places)).transpose()?;
        Ok(Self { q, k, v, norms, angles, positions, places, keys, values })
    }

    pub(in crate::ops) fn op(&self, pairs: Pairs, ring: bool) -> Enter<'_> {
        let norms = self
            .norms
            .as_ref()
            .map(|norms| norms.each_ref().map(|weight| Scaling { weight, epsilon: EPSILON }));
        let Self { q, k, v, angles, positions, keys, values, .. } = self;
        let places = self.places.as_ref();
        Enter { q, k, v, norms, angles, pairs, positions, places, keys, values, ring }
    }

    /// Heads that are normed by one of the norms, and turned.
    pub(in crate::ops) fn prepared(&self, x: &Tensor, norm: usize, pairs: Pairs) -> Result<Vec<f32>> {
        let (all_angles, turned) = (self.angles.to_vec::<f32>()?, self.angles.shape()[2]);
        let (mut all, heads, width) = (Vec::new(), x.shape()[1], x.shape()[2]);
        for (i, head) in x.to_vec::<f32>()?.chunks(width).enumerate() {
            let angles = &all_angles[i / heads * 2 * turned..][..2 * turned];
            let head = match &self.norms {
                Some(norms) => {
                    let weight = norms[norm].to_vec::<f32>()?;
                    rms_norm::reference::rms_norm(head, width, Some(&weight), EPSILON)
                }
                None => head.to_vec(),
            };
            all.extend(rope::reference::rotate(&head, &angles[..turned], &angles[turned..], pairs));
        }
        Ok(all)
    }
}

fn compare(
    rig: &mut Rig,
    dtype: DType,
    sizes: Sizes,
    rows: Rows<'_>,
    pairs: Pairs,
    ring: bool,
    normed: bool,
) -> Result<()> {
    let [_, groups, width, value_width, _, capacity] = sizes;
    let given = Given::new(rig, dtype, sizes, rows, normed)?;
    let what = format!("{dtype}, {sizes:?}, {rows:?}, {pairs:?}, ring {ring}, normed {normed}");
    let Rows(positions, several) = rows;
    let (queries, keys, values) =
        (given.prepared(&given.q, 0, pairs)?, given.prepared(&given.k, 1, pairs)?, given.v.to_vec::<f32>()?);
    let wanted = |cache: &Tensor, rows: &[f32], width: usize| -> Result<Vec<f32>> {
        let mut all = cache.to_f32()?;
        for (i, position) in positions.iter().map(|position| *position as usize).enumerate() {
            let (caches, place) = several.map_or((1, 0), |(caches, places)| (caches, places[i] as usize));
            if place < caches && (ring || position < capacity) {
                for group in 0..groups {
                    let slot = ((place * groups + group) * capacity + position % capacity) * width;
                    all[slot..slot + width].copy_from_slice(&rows[(i * groups + group) * width..][..width]);
                }
            }
        }
        Ok(all)
    };
    let (new_keys, new_values) =
        (wanted(&given.keys, &keys, width)?, wanted(&given.values, &values, value_width)?);
    rig.run(&given.op(pairs, ring))?;
    rig.near(&format!("queries of {what}"), &given.q, &queries, 1e-5)?;
    // A number is as far from what the cache keeps of it as its type makes it, of the largest of all.
    let share = match dtype {
        DType::F32 => 1e-5,
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        DType::Q8_0 => 1.0 / 200.0,
        _ => 1.0 / 7.0,
    };
    for (what, cache, wanted) in [("keys", &given.keys, &new_keys), ("values", &given.values, &new_values)]
        .map(|(name, a, b)| (format!("{name} of {what}"), a, b))
    {
        let largest = wanted.iter().fold(1.0f32, |most, x| most.max(x.abs()));
        rig.within(&what, cache, wanted, share * largest)?;
    }
    Ok(())
}

fn refused(rig: &mut Rig) -> Result<()> {
    let given = Given::new(rig, DType::F16, [2, 1, 32, 32, 16, 4], Rows(&[0], None), false)?;
    let op = given.op(Pairs::HalfSplit, false);
    let two = rig.tensor(&[2, 2, 32], &[f32::NAN; 128])?;
    rig.refuses(&Enter { q: &two, ..op }, "enter: v has shape [1, 1, 32], [2, 1, 32] is wanted")?;
    rig.refuses(&Enter { k: &two, ..op }, "enter: k has shape [2, 2, 32], [1, 1, 32] is wanted")?;
    let places = Some(&given.positions);
    rig.refuses(&Enter { places, ..op }, "enter: keys has shape [1, 4, 32], 4 axes are wanted")?;
    let lists = rig.tensor(&[2], &[0u32, 1])?;
    let wanted = "enter: places has shape [2], [1] is wanted";
    rig.refuses(&Enter { places: Some(&lists), ..op }, wanted)?;
    let wanted = "enter: keys is of type u32, f32, f16, bf16, q8_0 or q4_0 is wanted";
    rig.refuses(&Enter { keys: &given.positions, ..op }, wanted)
}

fn overlaps(rig: &mut Rig) -> Result<()> {
    let given = Given::new(rig, DType::F16, [2, 1, 32, 32, 16, 4], Rows(&[0], None), false)?;
    rig.refuses_overlap(&Enter { k: &given.q.narrow(1, 0..1)?, ..given.op(Pairs::HalfSplit, false) })
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
