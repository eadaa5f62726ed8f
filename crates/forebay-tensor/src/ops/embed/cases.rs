//! Every format in rows and in panels, ids at both ends of the table and twice, and ids that are not in it.

use super::{Embed, reference};
use crate::{
    DType, Result, Weight,
    conformance::{Rig, Work},
    ops::matmul::cases as weights,
    quant, tiles,
};

pub(crate) fn cases(rig: &mut Rig) -> Result<()> {
    for format in quant::formats() {
        let dtype = format.dtype();
        let width = if dtype.is_plain() { 37 } else { 3 * dtype.block_elements() };
        let (table, values) = weights::in_rows(rig, dtype, [6, width])?;
        look_up(rig, dtype, &table, &values)?;
    }
    for (dtype, scale_type, layout) in tiles::in_panels() {
        let width = 3 * layout.span;
        let (table, values) = weights::packed(rig, dtype, scale_type, [19, width])?;
        look_up(rig, dtype, &table, &values)?;
    }
    let table = Weight::rows(&rig.tensor(&[4, 8], &[1.0f32; 32])?)?;
    let (ids, out) = (rig.tensor(&[2], &[3u32, 4])?, rig.output(DType::F32, &[2, 8])?);
    rig.fails(&Embed { table: &table, ids: &ids, out: &out }, "id 4 is not in a table of 4 rows")?;
    let (packed, _) = weights::packed(rig, DType::Q4_K, None, [17, 256])?;
    let (ids, out) = (rig.tensor(&[1], &[17u32])?, rig.output(DType::F32, &[1, 256])?);
    rig.fails(&Embed { table: &packed, ids: &ids, out: &out }, "id 17 is not in a table of 17 rows")?;
    let short = rig.output(DType::F32, &[1, 8])?;
    let bad = Embed { table: &packed, ids: &ids, out: &short };
    rig.refuses(&bad, "embed: out has shape [1, 8], [1, 256] is wanted")?;
    let (table, id) = (rig.tensor(&[1, 3], &[f32::NAN, f32::INFINITY, 1.0])?, rig.tensor(&[1], &[0u32])?);
    let rows = Weight::rows(&table)?;
    rig.refuses_overlap(&Embed { table: &rows, ids: &id, out: &table })?;
    let out = rig.output(DType::F32, &[1, 3])?;
    rig.run(&Embed { table: &rows, ids: &id, out: &out })?;
    rig.same("numbers that are not finite", &out, &[f32::NAN, f32::INFINITY, 1.0])
}

pub(crate) fn measure(rig: &mut Rig) -> Result<()> {
    for dtype in [DType::F32, DType::Q4_K, DType::Q8_0] {
        let (rows, _) = weights::in_rows(rig, dtype, [64, 4096])?;
        let ids: Vec<u32> = (0..512).map(|i| i % 64).collect();
        let (ids, out) = (rig.tensor(&[512], &ids)?, rig.output(DType::F32, &[512, 4096])?);
        let work = Work { bytes: 4 * out.elements(), operations: out.elements() };
        rig.time(format!("512 x 4096 {dtype}"), work, &Embed { table: &rows, ids: &ids, out: &out })?;
    }
    Ok(())
}

fn look_up(rig: &mut Rig, dtype: DType, table: &Weight, values: &[f32]) -> Result<()> {
    let [rows, width] = table.shape();
    let last = rows as u32 - 1;
    for ids in [&[last, 0, 3, last, last][..], &[2], &[]] {
        let list = rig.tensor(&[ids.len()], ids)?;
        let out = rig.output(DType::F32, &[ids.len(), width])?;
        rig.run(&Embed { table, ids: &list, out: &out })?;
        // Zero has no sign here: what is minus zero in one form may be zero in the other.
        rig.near(&format!("{dtype}, ids {ids:?}"), &out, &reference::embed(values, width, ids), 0.0)?;
    }
    Ok(())
}
