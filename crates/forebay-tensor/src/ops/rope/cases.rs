//! Both kinds of pairs, all columns or some or none, heads of odd widths, and what is no number.

use super::{Pairs, Rope, reference};
use crate::{
    Result,
    conformance::{Rig, Work},
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for kind in [Pairs::Interleaved, Pairs::HalfSplit] {
        for (count, heads, width, pairs) in [
            (1, 1, 2, 1),
            (3, 2, 8, 4),
            (5, 3, 20, 7),
            (2, 1, 7, 3),
            (0, 2, 4, 2),
            (2, 2, 4, 0),
            (9, 5, 128, 64),
        ] {
            let mut x = rig.floats(count * heads * width);
            x.iter_mut().take(1).for_each(|x| *x = f32::NAN);
            let angles = rig.floats(count * 2 * pairs);
            let a = rig.tensor(&[count, heads, width], &x)?;
            let b = rig.tensor(&[count, 2, pairs], &angles)?;
            rig.run(&Rope { x: &a, angles: &b, pairs: kind })?;
            let wanted: Vec<f32> = x
                .chunks(width)
                .enumerate()
                .flat_map(|(row, head)| {
                    let own = &angles[row / heads * 2 * pairs..][..2 * pairs];
                    reference::rotate(head, &own[..pairs], &own[pairs..], kind)
                })
                .collect();
            rig.near(&format!("{kind:?} {count} x {heads} x {width}, {pairs} pairs"), &a, &wanted, 2e-5)?;
        }
    }
    let (x, f) = (rig.tensor(&[1, 2, 4], &[0.0f32; 8])?, rig.tensor(&[1, 2, 3], &[1.0f32; 6])?);
    let bad = Rope { x: &x, angles: &f, pairs: Pairs::HalfSplit };
    rig.refuses(&bad, "rope: pairs of angles is 3, it has to be at most half the width of x")?;
    let f = x.narrow(1, 0..1)?.reshape(&[1, 2, 2])?;
    rig.refuses_overlap(&Rope { angles: &f, ..bad })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for (count, pairs) in [(1, Pairs::HalfSplit), (512, Pairs::HalfSplit), (512, Pairs::Interleaved)] {
        let (x, angles) = (rig.floats(count * 16 * 128), vec![0.7; count * 128]);
        let (a, b) = (rig.tensor(&[count, 16, 128], &x)?, rig.tensor(&[count, 2, 64], &angles)?);
        let work = Work { bytes: 8 * x.len(), operations: 3 * x.len() };
        rig.time(format!("{count} x 16 x 128"), work, &Rope { x: &a, angles: &b, pairs })?;
    }
    Ok(())
}
