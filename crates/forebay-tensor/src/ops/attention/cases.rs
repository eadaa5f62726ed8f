//! Every type of cache, groups of heads, lengths around tiles and parts, large scores, every kind of sight, rings, sinks,
//! caps, and what lies where nobody looks.

use forebay_device::BackendKind;

use super::{
    Attention, Sight,
    reference::{self, Numbers},
};
use crate::{
    DType, Result, Tensor,
    conformance::{Rig, Work},
    quant::{
        self,
        rounded::{self, Rounded},
    },
    tiles::cpu::cache::CACHE_TYPES,
};

/// Heads, heads of the cache, width, width of values, capacity, and positions.
type Sizes<'a> = (usize, usize, usize, usize, usize, &'a [u32]);

/// What else there is to attention.
#[derive(Clone, Copy, Debug)]
struct Kind {
    scale: f32,
    sight: Sight,
    softcap: Option<f32>,
    sinks: bool,
}

const PLAIN: Kind = Kind { scale: 0.25, sight: Sight::Before, softcap: None, sinks: false };

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    let sizes: [Sizes<'_>; 9] = [
        (1, 1, 1, 1, 1, &[0]),
        (4, 2, 8, 8, 40, &[0, 1, 31, 32, 33, 39]),
        (6, 2, 33, 17, 100, &[99]),
        (3, 1, 64, 64, 300, &[63, 64, 65, 299]),
        (20, 1, 48, 32, 1100, &[1023, 3, 511, 1090]),
        (2, 2, 16, 16, 1600, &[1535]),
        (40, 2, 32, 64, 50, &[49, 11, 12, 13, 14, 15, 16, 17, 18, 19]),
        (2, 2, 576, 512, 5, &[4, 0]),
        (2, 1, 4, 4, 8, &[]),
    ];
    let kinds = [
        PLAIN,
        Kind { scale: 20.0, ..PLAIN },
        Kind { sight: Sight::Window(5), ..PLAIN },
        Kind { sight: Sight::All, ..PLAIN },
        Kind { sight: Sight::Around(3), sinks: true, ..PLAIN },
        Kind { softcap: Some(2.0), scale: 1.0, ..PLAIN },
        Kind { sinks: true, sight: Sight::Window(40), softcap: Some(50.0), scale: 3.0 },
    ];
    for dtype in CACHE_TYPES {
        for sizes in sizes {
            for kind in kinds {
                attend(rig, dtype, sizes, kind)?;
            }
        }
        // The latest positions in a ring that has gone round many times.
        for kind in [Kind { sight: Sight::Window(30), ..PLAIN }, Kind { sight: Sight::Around(9), ..PLAIN }] {
            let positions = [1000, 1001, 1002, 1003, 1004, 1005];
            attend(rig, dtype, (4, 2, 32, 32, 36, &positions), kind)?;
            attend(rig, dtype, (4, 2, 32, 32, 37, &positions[..1]), kind)?;
            attend(rig, dtype, (4, 1, 32, 32, 520, &positions[..3]), kind)?;
        }
    }
    // More rows than a block of matrices has, over more keys than one tile, and widths that do not fill what it is made for.
    let many: Vec<u32> = (120..143).collect();
    let long: Vec<u32> = (330..400).collect();
    let sizes: [Sizes<'_>; 5] = [
        (4, 1, 128, 128, 150, &many[..20]),
        (12, 2, 128, 128, 401, &long),
        (6, 2, 96, 64, 161, &many[3..14]),
        (2, 2, 256, 192, 143, &many[16..]),
        (3, 1, 80, 72, 143, &many),
    ];
    for (dtype, sizes, kind) in [DType::F16, DType::BF16]
        .iter()
        .flat_map(|d| sizes.iter().flat_map(move |s| kinds.map(|k| (*d, *s, k))))
    {
        attend(rig, dtype, sizes, kind)?;
    }
    // The same in a ring.
    for sight in [Sight::Window(200), Sight::Around(60)] {
        attend(rig, DType::F16, (7, 1, 128, 128, 290, &long), Kind { sight, ..PLAIN })?;
    }
    let several: [(Sizes<'_>, usize, &[u32]); 5] = [
        ((4, 2, 8, 8, 40, &[39, 0, 31]), 4, &[1, 3, 0]),
        ((6, 2, 33, 17, 100, &[99, 98, 64, 3, 0, 50, 99]), 7, &[6, 5, 4, 3, 2, 1, 0]),
        ((20, 1, 48, 32, 1100, &[1090, 3, 511, 512, 700]), 5, &[0, 1, 2, 4, 3]),
        ((2, 2, 16, 16, 5, &[4]), 1, &[0]),
        ((2, 1, 4, 4, 8, &[]), 3, &[]),
    ];
    for (dtype, (sizes, caches, places)) in CACHE_TYPES.iter().flat_map(|d| several.map(|s| (*d, s))) {
        for kind in kinds {
            apart(rig, dtype, sizes, (caches, places), kind)?;
        }
        let ring = Kind { sight: Sight::Window(30), ..PLAIN };
        apart(rig, dtype, (4, 2, 32, 32, 36, &[1000, 3, 36, 35, 77]), (6, &[0, 1, 2, 3, 5]), ring)?;
    }
    not_finite(rig)?;
    spoiled(rig)?;
    refusals(rig)
}

/// The positions that a position sees, by the words of [`Sight`].
pub(in crate::ops) fn seen(sight: Sight, position: usize, largest: usize) -> Vec<usize> {
    let sees = |j: usize| match sight {
        Sight::Before => j <= position,
        Sight::Window(length) => j <= position && j + length > position,
        Sight::All => true,
        Sight::Around(length) => j.abs_diff(position) < length,
    };
    (0..=largest).filter(|j| sees(*j)).collect()
}

fn attend(rig: &mut Rig, dtype: DType, sizes: Sizes<'_>, kind: Kind) -> Result<()> {
    let (heads, groups, width, value_width, capacity, positions) = sizes;
    let block = dtype.block_elements();
    let (width, value_width) = (width.next_multiple_of(block), value_width.next_multiple_of(block));
    let count = positions.len();
    let largest = positions.iter().max().map_or(0, |most| *most as usize);
    let all: Vec<Vec<usize>> = positions.iter().map(|p| seen(kind.sight, *p as usize, largest)).collect();

    let q = rig.floats(count * heads * width);
    let (mut keys, mut values) =
        (rig.floats(groups * capacity * width), rig.floats(groups * capacity * value_width));
    // What nobody sees must not matter, whatever it is.
    for slot in (0..capacity).filter(|slot| !all.iter().flatten().any(|j| j % capacity == *slot)) {
        for group in 0..groups {
            keys[(group * capacity + slot) * width..][..width].fill(f32::NAN);
            values[(group * capacity + slot) * value_width..][..value_width].fill(f32::NAN);
        }
    }
    let (k, keys) = rig.rounded(dtype, &[groups, capacity, width], &keys)?;
    let (v, values) = rig.rounded(dtype, &[groups, capacity, value_width], &values)?;
    let sinks = rig.floats(heads);
    let (a, p) = (rig.tensor(&[count, heads, width], &q)?, rig.tensor(&[count], positions)?);
    let s = rig.tensor(&[heads], &sinks)?;

    let mut q = q;
    if dtype == DType::Q8_0 {
        round(&mut q);
    }
    let on_card = rig.device().kind() == BackendKind::Cuda;
    let cut = super::cuda::Sizes { dtype, apart: false, count, heads, groups, width, value_width };
    let by_matrices = on_card && cut.matrices().is_some();
    if by_matrices {
        round_to(dtype, &mut q, kind.scale)?;
    }
    let numbers = Numbers { scale: kind.scale, softcap: kind.softcap };
    let mut wanted = Vec::new();
    for (i, seen) in all.iter().enumerate() {
        for head in 0..heads {
            let first = head / (heads / groups) * capacity;
            let of = |all: &'_ [f32], width: usize| -> Vec<Vec<f32>> {
                seen.iter().map(|j| all[(first + j % capacity) * width..][..width].to_vec()).collect()
            };
            let (keys, values) = (of(&keys, width), of(&values, value_width));
            wanted.extend(reference::attend(
                &q[(i * heads + head) * width..][..width],
                &keys.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                &values.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                kind.sinks.then(|| sinks[head]),
                &numbers,
            ));
        }
    }
    // Rounding of a score moves its weight by as much.
    let mut tolerance = 2e-6 * (1.0 + kind.scale * (width as f32).sqrt() * 4.0);
    if by_matrices {
        // Weights are rounded to the type of the values that they meet, some of which are large.
        tolerance += if dtype == DType::F16 { 1.0 / 256.0 } else { 1.0 / 32.0 };
    }
    let room = rig.output(DType::F32, &[Attention::parts(count, heads, value_width, capacity)])?;
    let mut whole = Vec::new();
    for parts in [None, Some(&room)] {
        let out = rig.output(DType::F32, &[count, heads, value_width])?;
        let op = Attention {
            sight: kind.sight,
            softcap: kind.softcap,
            sinks: kind.sinks.then_some(&s),
            parts,
            ..Attention::new(&a, &k, &v, &p, kind.scale, &out)
        };
        let least = if on_card { super::cuda::LEAST_PART } else { super::PART };
        let split = parts.is_some() && count <= super::MOST_SPLIT && capacity > least;
        let by_warpgroups = cut.suits_warpgroups() && super::cuda::is_for(rig.device());
        let way = match (split, by_matrices, width.max(value_width)) {
            (true, ..) => "split_",
            (_, true, _) if by_warpgroups => "warpgroups_",
            (_, true, ..=128) => "matrix_",
            (_, true, _) => "matrix_wide_",
            _ => "",
        };
        assert_eq!(rig.serves(&op)?, format!("attention_{way}{dtype}"));
        rig.run(&op)?;
        let what = format!("{dtype}, {sizes:?}, {kind:?}, split {split}");
        rig.near(&what, &out, &wanted, tolerance)?;
        match parts {
            None => whole = out.to_f32()?,
            // A card cuts what is seen into as many parts as keep it busy, so that sums run in another order.
            Some(_) if on_card => {}
            Some(_) => rig.same(&format!("{what}, beside the whole"), &out, &whole)?,
        }
    }
    Ok(())
}

/// Positions of several texts: each is as it is alone with its cache, and as the oracle has it.
fn apart(
    rig: &mut Rig,
    dtype: DType,
    sizes: Sizes<'_>,
    (caches, places): (usize, &[u32]),
    kind: Kind,
) -> Result<()> {
    let (heads, groups, width, value_width, capacity, positions) = sizes;
    let block = dtype.block_elements();
    let (width, value_width) = (width.next_multiple_of(block), value_width.next_multiple_of(block));
    let (count, slots) = (positions.len(), groups * capacity);
    let mut q = rig.floats(count * heads * width);
    let mut filled = |width: usize| -> Vec<f32> {
        let mut all = rig.floats(caches * slots * width);
        for (i, slot) in all.chunks_mut(width).enumerate() {
            let (place, slot_of) = (i / slots, i % capacity);
            let own = places.iter().position(|own| *own as usize == place);
            let sees = |p: u32| {
                let p = p as usize;
                seen(kind.sight, p, p).iter().any(|j| j % capacity == slot_of)
            };
            // What nobody of this text sees must not matter, whatever it is.
            if !own.is_some_and(|own| sees(positions[own])) {
                slot.fill(f32::NAN);
            }
        }
        all
    };
    let (keys, values) = (filled(width), filled(value_width));
    let (k, keys) = rig.rounded(dtype, &[caches, groups, capacity, width], &keys)?;
    let (v, values) = rig.rounded(dtype, &[caches, groups, capacity, value_width], &values)?;
    let sinks = rig.floats(heads);
    let (a, p) = (rig.tensor(&[count, heads, width], &q)?, rig.tensor(&[count], positions)?);
    let (s, own) = (rig.tensor(&[heads], &sinks)?, rig.tensor(&[count], places)?);
    if dtype == DType::Q8_0 {
        round(&mut q);
    }
    let numbers = Numbers { scale: kind.scale, softcap: kind.softcap };
    let mut wanted = Vec::new();
    for (i, position) in positions.iter().enumerate() {
        let seen = seen(kind.sight, *position as usize, *position as usize);
        for head in 0..heads {
            let first = places[i] as usize * slots + head / (heads / groups) * capacity;
            let at = |j: &usize| first + j % capacity;
            wanted.extend(reference::attend(
                &q[(i * heads + head) * width..][..width],
                &seen.iter().map(|j| &keys[at(j) * width..][..width]).collect::<Vec<_>>(),
                &seen.iter().map(|j| &values[at(j) * value_width..][..value_width]).collect::<Vec<_>>(),
                kind.sinks.then(|| sinks[head]),
                &numbers,
            ));
        }
    }
    let tolerance = 2e-6 * (1.0 + kind.scale * (width as f32).sqrt() * 4.0);
    let room = Attention::parts_of_places(count, heads, value_width, capacity);
    let room = rig.output(DType::F32, &[room])?;
    for parts in [None, Some(&room)] {
        let what = format!("{dtype}, {sizes:?}, {kind:?}, places {places:?}, split {}", parts.is_some());
        let out = rig.output(DType::F32, &[count, heads, value_width])?;
        let op = Attention {
            places: Some(&own),
            sight: kind.sight,
            softcap: kind.softcap,
            sinks: kind.sinks.then_some(&s),
            parts,
            ..Attention::new(&a, &k, &v, &p, kind.scale, &out)
        };
        rig.run(&op)?;
        rig.near(&what, &out, &wanted, tolerance)?;
        let together = out.to_f32()?;
        for (i, together) in together.chunks_exact((heads * value_width).max(1)).enumerate() {
            let place = places[i] as usize;
            let of = |cache: &Tensor| cache.narrow(0, place..place + 1)?.reshape(&cache.shape()[1..]);
            let (k, v) = (of(&k)?, of(&v)?);
            let alone = rig.output(DType::F32, &[1, heads, value_width])?;
            let (q, positions) = (a.narrow(0, i..i + 1)?, p.narrow(0, i..i + 1)?);
            let (keys, values) = (&k, &v);
            let op =
                Attention { q: &q, keys, values, positions: &positions, places: None, out: &alone, ..op };
            rig.run(&op)?;
            let what = format!("{what}, row {i} alone");
            // A card cuts what few rows see into more parts, so that sums run in another order.
            match rig.device().kind() == BackendKind::Cuda && parts.is_some() {
                true => rig.near(&what, &alone, together, tolerance)?,
                false => rig.same(&what, &alone, together)?,
            }
        }
    }
    Ok(())
}

/// What queries become where their products are of integers.
fn round(q: &mut [f32]) {
    for x in q.as_chunks_mut::<{ rounded::ELEMENTS }>().0 {
        let block = Rounded::of(x);
        rounded::decode(&[block], x);
    }
}

/// What queries become where matrices are multiplied: scaled, and then of the type of the cache.
pub(in crate::ops) fn round_to(dtype: DType, q: &mut [f32], scale: f32) -> Result<()> {
    q.iter_mut().for_each(|x| *x *= scale);
    let mut bytes = vec![0; dtype.row_bytes(q.len())?];
    quant::quantise_row(dtype, q, &mut bytes)?;
    quant::decode(dtype, &bytes, q)?;
    q.iter_mut().for_each(|x| *x /= scale);
    Ok(())
}

/// An infinite score takes all, what is not a number spoils who sees it and nobody else.
fn not_finite(rig: &mut Rig) -> Result<()> {
    let q = rig.tensor(&[2, 1, 2], &[1.0f32, 0.0, 1.0, 0.0])?;
    let mut keys = vec![0.0; 2 * 600];
    keys[..6].copy_from_slice(&[0.5, 0.0, f32::NEG_INFINITY, 0.0, f32::NAN, 0.0]);
    let mut values = vec![0.0f32; 600];
    values[..3].copy_from_slice(&[3.0, 5.0, 7.0]);
    let (keys, values) = (rig.tensor(&[1, 600, 2], &keys)?, rig.tensor(&[1, 600, 1], &values)?);
    let (p, room) =
        (rig.tensor(&[2], &[1u32, 2])?, rig.output(DType::F32, &[Attention::parts(2, 1, 1, 600)])?);
    for parts in [None, Some(&room)] {
        let out = rig.output(DType::F32, &[2, 1, 1])?;
        rig.run(&Attention { parts, ..Attention::new(&q, &keys, &values, &p, 1.0, &out) })?;
        rig.same("minus infinity, then no number", &out, &[3.0, f32::NAN])?;
    }
    Ok(())
}

/// An infinite value spoils those of many positions that see it, and not those before.
fn spoiled(rig: &mut Rig) -> Result<()> {
    let q = rig.tensor(&[7, 2, 8], &[0.0f32; 112])?;
    let mut values: Vec<f32> = (0..70).flat_map(|position| [position as f32; 16]).collect();
    values[3 * 16 + 9] = f32::INFINITY;
    let (keys, _) = rig.rounded(DType::F16, &[1, 70, 8], &[0.0; 560])?;
    let (values, _) = rig.rounded(DType::F16, &[1, 70, 16], &values)?;
    let (p, out) = (rig.tensor(&[7], &[6u32, 5, 4, 3, 2, 1, 0])?, rig.output(DType::F32, &[7, 2, 16])?);
    rig.run(&Attention::new(&q, &keys, &values, &p, 1.0, &out))?;
    let before: Vec<f32> = [1.0, 0.5, 0.0].into_iter().flat_map(|mean| [mean; 32]).collect();
    rig.near("positions before an infinite value", &out.narrow(0, 4..7)?, &before, 1e-3)?;
    let out = out.to_f32()?;
    assert!((0..8).all(|row| !out[row * 16 + 9].is_finite()), "{out:?}");
    Ok(())
}

fn refusals(rig: &mut Rig) -> Result<()> {
    let q = rig.tensor(&[1, 3, 4], &[0.0f32; 12])?;
    let cache = rig.tensor(&[2, 5, 4], &[0.0f32; 40])?;
    let (p, out) = (rig.tensor(&[1], &[0u32])?, rig.output(DType::F32, &[1, 3, 4])?);
    let bad = Attention::new(&q, &cache, &cache, &p, 1.0, &out);
    rig.refuses(&bad, "attention: heads of q is 3, it has to be a multiple of the heads of keys")?;
    let halves = rig.output(DType::F16, &[2, 5, 4])?;
    rig.refuses(&Attention { values: &halves, ..bad }, "attention: values is of type f16, f32 is wanted")?;
    let wide = rig.output(DType::F32, &[1, 1, 577])?;
    let bad = Attention { q: &wide, keys: &wide, values: &wide, out: &wide, ..bad };
    rig.refuses(&bad, "attention: width of q is 577, it has to be from 1 to 576")?;
    let (q, out) = (rig.tensor(&[1, 2, 4], &[0.0f32; 8])?, rig.output(DType::F32, &[1, 2, 4])?);
    let op = Attention::new(&q, &cache, &cache, &p, 1.0, &out);
    rig.refuses(
        &Attention { sight: Sight::Window(0), ..op },
        "attention: window is 0, it has to be at least 1",
    )?;
    let cap = Attention { softcap: Some(0.0), ..op };
    rig.refuses(&cap, "attention: softcap is 0, it has to be finite and above 0")?;
    let long = rig.tensor(&[2, 600, 4], &[0.0f32; 4800])?;
    let few = Attention { keys: &long, values: &long, parts: Some(&p), ..op };
    rig.refuses(&few, "attention: parts is of type u32, f32 is wanted")?;
    let long = rig.tensor(&[2, 600, 4], &[0.0f32; 4800])?;
    let few = Attention { keys: &long, values: &long, parts: Some(&q), ..op };
    rig.refuses(&few, "attention: elements of parts is 8, it has to be at least what `parts` says")?;
    let x = rig.tensor(&[2, 2, 4], &[0.0f32; 16])?;
    let two = rig.tensor(&[2], &[1u32, 0])?;
    rig.refuses_overlap(&Attention::new(&x, &x, &x, &two, 1.0, &x))?;
    let p = rig.tensor(&[1], &[5u32])?;
    let past = Attention { positions: &p, ..op };
    rig.fails(&past, "position 5 is not in a cache of 5")?;
    let (cache, q) = (rig.tensor(&[2, 5, 4], &[0.0f32; 40])?, rig.tensor(&[1, 2, 4], &[0.0f32; 8])?);
    let (p, out) = (rig.tensor(&[1], &[9u32])?, rig.output(DType::F32, &[1, 2, 4])?);
    let gone = Attention { sight: Sight::Window(6), ..Attention::new(&q, &cache, &cache, &p, 1.0, &out) };
    rig.fails(&gone, "position 4 has left a cache of 5 that holds position 9")?;
    let (places, caches) = (rig.tensor(&[1], &[3u32])?, rig.tensor(&[3, 2, 5, 4], &[0.0f32; 120])?);
    let several = Attention { keys: &caches, values: &caches, places: Some(&places), ..gone };
    let (q, p) = (rig.tensor(&[1, 2, 4], &[0.0f32; 8])?, rig.tensor(&[1], &[4u32])?);
    let several = Attention { q: &q, positions: &p, sight: Sight::Before, ..several };
    rig.fails(&several, "place 3 is not one of 3")?;
    let (q, out) = (rig.tensor(&[1, 2, 4], &[0.0f32; 8])?, rig.output(DType::F32, &[1, 2, 4])?);
    let (p, cache) = (rig.tensor(&[1], &[4u32])?, rig.tensor(&[2, 5, 4], &[0.0f32; 40])?);
    let caches = rig.tensor(&[3, 2, 5, 4], &[0.0f32; 120])?;
    let op = Attention::new(&q, &caches, &caches, &p, 1.0, &out);
    rig.refuses(&op, "attention: keys has shape [3, 2, 5, 4], 3 axes are wanted")?;
    let op = Attention { places: Some(&p), ..Attention::new(&q, &caches, &cache, &p, 1.0, &out) };
    rig.refuses(&op, "attention: values has shape [2, 5, 4], 4 axes are wanted")?;
    let two = rig.tensor(&[2], &[0u32, 1])?;
    let op = Attention { values: &caches, places: Some(&two), ..op };
    rig.refuses(&op, "attention: places has shape [2], [1] is wanted")
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for dtype in CACHE_TYPES {
        for (count, depth) in [(1, 512), (1, 16_384), (512, 512)] {
            let q = rig.floats(count * 16 * 128);
            let x = rig.floats(8 * depth * 128);
            let ((keys, _), (values, _)) =
                (rig.rounded(dtype, &[8, depth, 128], &x)?, rig.rounded(dtype, &[8, depth, 128], &x)?);
            let positions: Vec<u32> = ((depth - count) as u32..depth as u32).collect();
            let (q, p) = (rig.tensor(&[count, 16, 128], &q)?, rig.tensor(&[count], &positions)?);
            let out = rig.output(DType::F32, &[count, 16, 128])?;
            let room = rig.output(DType::F32, &[Attention::parts(count, 16, 128, depth)])?;
            let pairs = count * 16 * depth * 128 / if count == 1 { 1 } else { 2 };
            let work = Work { bytes: 2 * keys.layout().bytes(), operations: 4 * pairs };
            let op = Attention { parts: Some(&room), ..Attention::new(&q, &keys, &values, &p, 0.09, &out) };
            rig.time(format!("{count} at depth {depth} {dtype}"), work, &op)?;
        }
    }
    Ok(())
}
