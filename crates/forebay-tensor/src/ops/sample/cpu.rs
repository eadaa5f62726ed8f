//! `sample` on the CPU: a group owns a row, and goes over it three times with sums of f64.

use forebay_device::{Group, KernelDef, Param, Signature};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(4),
        Param::read::<u32>().per_group_of(4),
        Param::read::<f32>().per_group(1),
        Param::write::<u32>().per_group(1),
        Param::u32(),
        Param::f32(),
        Param::f32(),
        Param::f32(),
    ]);
    KernelDef::new("sample", signature).cpu(draw)
}

fn draw(group: &Group<'_>) {
    let (values, ids, uniform) = (group.read::<f32>(0), group.read::<u32>(1), group.read::<f32>(2)[0]);
    let [temperature, top_p, min_p] = [5, 6, 7].map(|argument| f64::from(group.f32(argument)));
    let count = candidates(values, top_p, min_p);
    let share = |x: f32| weight(x, values[0], temperature);
    let place = if temperature == 0.0 || count == 0 {
        0
    } else {
        let drawn = f64::from(uniform) * values[..count].iter().map(|x| share(*x)).sum::<f64>();
        let mut sum = 0.0;
        let place = values[..count].iter().position(|x| {
            sum += share(*x);
            sum > drawn
        });
        place.unwrap_or(count - 1)
    };
    group.write::<u32>(3)[0] = ids[place];
}

/// How likely an element is beside the largest.
fn weight(x: f32, largest: f32, temperature: f64) -> f64 {
    // Two infinities are equal, though their difference is no number.
    if x == largest { 1.0 } else { ((f64::from(x) - f64::from(largest)) / temperature).exp() }
}

/// How many of the first are candidates.
fn candidates(values: &[f32], top_p: f64, min_p: f64) -> usize {
    let numbers = values.iter().position(|x| x.is_nan()).unwrap_or(values.len());
    let likely = |x: f32| weight(x, values[0], 1.0);
    // All of them together are as likely as rounding makes them, which some of them may reach.
    let wanted = match top_p {
        1.0 => f64::INFINITY,
        _ => top_p * values[..numbers].iter().map(|x| likely(*x)).sum::<f64>(),
    };
    // What cannot be drawn is none.
    let least = min_p.max(f64::MIN_POSITIVE);
    let mut sum = 0.0;
    for (i, &x) in values[..numbers].iter().enumerate() {
        if i > 0 && (sum >= wanted || likely(x) < least) {
            return i;
        }
        sum += likely(x);
    }
    numbers
}
