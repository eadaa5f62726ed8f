//! `sample` on the CPU: a group owns a row.

use forebay_device::{Group, KernelDef, Param, Signature};

use super::Draw;

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<f32>().per_group_of(6),
        Param::read::<u32>().per_group_of(6),
        Param::read::<u32>().per_group(1),
        Param::read::<u32>(),
        Param::read::<u32>(),
        Param::write::<u32>().per_group(1),
        Param::u32(),
        Param::u32(),
        Param::u32(),
    ]);
    KernelDef::new("sample", signature).cpu(draw)
}

fn draw(group: &Group<'_>) {
    let (values, ids, positions) = (group.read::<f32>(0), group.read::<u32>(1), group.read::<u32>(2));
    let row = group.index();
    let place = if group.u32(8) == 0 { row } else { group.read::<u32>(4)[row] as usize };
    let words = group.read::<u32>(3).as_chunks::<{ Draw::WORDS }>().0.get(place);
    let drawn = words.and_then(|words| Draw::of(*words).choose(values, u64::from(positions[0]) + 1));
    group.write::<u32>(5)[0] = drawn.map_or(Draw::NONE, |place| ids[place]);
}
