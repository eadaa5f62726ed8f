//! Every format, ids at both ends of the table and twice, and ids that are not in it.

use super::{Embed, reference};
use crate::{
    DType, Result,
    conformance::{Rig, Work},
    quant,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let dtype = format.dtype();
        let width = if dtype.is_plain() { 37 } else { 3 * dtype.block_elements() };
        let (table, values) = rig.weight(dtype, &[6, width])?;
        for ids in [&[5u32, 0, 3, 5, 5][..], &[2], &[]] {
            let list = rig.tensor(&[ids.len()], ids)?;
            let out = rig.output(DType::F32, &[ids.len(), width])?;
            rig.run(&Embed { table: &table, ids: &list, out: &out })?;
            rig.same(&format!("{dtype}, ids {ids:?}"), &out, &reference::embed(&values, width, ids))?;
        }
    }
    let table = rig.tensor(&[4, 8], &[1.0f32; 32])?;
    let (ids, out) = (rig.tensor(&[2], &[3u32, 4])?, rig.output(DType::F32, &[2, 8])?);
    rig.fails(&Embed { table: &table, ids: &ids, out: &out }, "id 4 is not in a table of 4 rows")?;
    let short = rig.output(DType::F32, &[1, 8])?;
    let bad = Embed { table: &table, ids: &ids, out: &short };
    rig.refuses(&bad, "embed: out has shape [1, 8], [2, 8] is wanted")?;
    let bad = Embed { table: &ids, ids: &ids, out: &out };
    rig.refuses(&bad, "embed: table is of type u32, a weight format of one plane is wanted")?;
    let (table, id) = (rig.tensor(&[1, 3], &[f32::NAN, f32::INFINITY, 1.0])?, rig.tensor(&[1], &[0u32])?);
    rig.refuses_overlap(&Embed { table: &table, ids: &id, out: &table })?;
    let out = rig.output(DType::F32, &[1, 3])?;
    rig.run(&Embed { table: &table, ids: &id, out: &out })?;
    rig.same("numbers that are not finite", &out, &[f32::NAN, f32::INFINITY, 1.0])
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for dtype in [DType::F32, DType::Q4_K, DType::Q8_0] {
        let (table, _) = rig.weight(dtype, &[64, 4096])?;
        let ids: Vec<u32> = (0..512).map(|i| i % 64).collect();
        let (ids, out) = (rig.tensor(&[512], &ids)?, rig.output(DType::F32, &[512, 4096])?);
        let work = Work { bytes: 4 * out.elements(), operations: out.elements() };
        rig.time(format!("512 x 4096 {dtype}"), work, &Embed { table: &table, ids: &ids, out: &out })?;
    }
    Ok(())
}
