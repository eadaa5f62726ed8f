//! `angles` on the CPU: a group owns a position.

use forebay_device::{KernelDef, Param, Signature};

pub(super) fn kernel() -> KernelDef {
    let signature = Signature::new([
        Param::read::<u32>().per_group_of(5),
        Param::read::<f32>(),
        Param::read::<u32>(),
        Param::write::<f32>().per_group_of(4),
        Param::u32(),
        Param::u32(),
        Param::f32(),
        Param::u32(),
    ]);
    KernelDef::new("angles", signature).cpu(|group| {
        let (position, frequencies, sections) =
            (group.read::<u32>(0), group.read::<f32>(1), group.read::<u32>(2));
        let magnitude = group.f32(6);
        let (cosines, sines) = group.write::<f32>(3).split_at_mut(frequencies.len());
        for (j, &frequency) in frequencies.iter().enumerate() {
            let axis = sections.get(j).map_or(0, |axis| *axis as usize);
            assert!(axis < position.len(), "axis {axis} of pair {j} is not among {}", position.len());
            // Far positions need more digits than f32 has.
            let angle = f64::from(position[axis]) * f64::from(frequency) % std::f64::consts::TAU;
            let (sine, cosine) = (angle as f32).sin_cos();
            (cosines[j], sines[j]) = (magnitude * cosine, magnitude * sine);
        }
    })
}
