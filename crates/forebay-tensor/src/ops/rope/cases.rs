//! Both kinds of pairs, all columns or some, far positions, and frequencies by hand.

use super::{Pairs, Rope, frequencies, reference};
use crate::{Result, conformance::Rig};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for pairs in [Pairs::Interleaved, Pairs::HalfSplit] {
        for (count, heads, width, rotated) in
            [(1, 1, 2, 2), (3, 2, 8, 8), (5, 3, 20, 14), (2, 1, 7, 6), (0, 2, 4, 4), (2, 2, 4, 0)]
        {
            let mut x = rig.floats(count * heads * width);
            x.iter_mut().take(1).for_each(|x| *x = f32::NAN);
            let positions: Vec<u32> = [0, 1, 131_071, 17, 4095].into_iter().take(count).collect();
            let table = frequencies(10_000.0, rotated, 0.5, None);
            let a = rig.tensor(&[count, heads, width], &x)?;
            let (p, f) = (rig.tensor(&[count], &positions)?, rig.tensor(&[table.len()], &table)?);
            rig.run(&Rope { x: &a, positions: &p, frequencies: &f, pairs })?;
            let wanted: Vec<f32> = positions
                .iter()
                .flat_map(|&position| vec![position; heads])
                .zip(x.chunks(width))
                .flat_map(|(position, head)| reference::rotate(head, position, &table, pairs))
                .collect();
            rig.near(&format!("{pairs:?} {count} x {heads} x {width}/{rotated}"), &a, &wanted, 2e-6)?;
        }
    }
    assert_eq!(frequencies(100.0, 4, 2.0, Some(&[1.0, 4.0])), [2.0, 0.05]);
    let (x, p) = (rig.tensor(&[1, 2, 4], &[0.0f32; 8])?, rig.tensor(&[1], &[0u32])?);
    let f = rig.tensor(&[3], &[1.0f32; 3])?;
    let bad = Rope { x: &x, positions: &p, frequencies: &f, pairs: Pairs::HalfSplit };
    rig.refuses(&bad, "rope: frequencies has shape [3], [2] is wanted")?;
    let f = x.narrow(1, 0..1)?.reshape(&[4])?.narrow(0, 0..2)?;
    rig.refuses_overlap(&Rope { frequencies: &f, ..bad })
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    let _ = rig;
    Ok(())
}
