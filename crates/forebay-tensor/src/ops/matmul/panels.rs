//! `matmul` on a card, of weights in panels: which kernel takes how many rows of activations, and its grid.
//!
//! One row, and a few, go through `panels.cu`, where a block owns a panel; many through `tensor_cores.cu`. Next rooms: these two.

use forebay_device::{Grid, KernelDef, Param};

use super::{Matmul, cuda};
use crate::{
    DType, Op, Result,
    op::{contract::ensure, groups},
    quant::{panel::PanelLayout, rounded::Rounded},
    tiles::{
        Rows,
        cuda::panels::{
            FEW, MANY_BYTES, MANY_ROWS, MANY_THREADS, MOST_FEW, PANEL_THREADS, few_at_a_time, for_format,
            panel_shared_bytes,
        },
    },
};

/// Rows of a panel.
const PANEL: usize = 16;
/// With at least so many blocks every multiprocessor of a large card has work.
const ENOUGH_BLOCKS: usize = 128;
/// The most blocks of the second axis of a grid.
const MOST_BLOCKS: usize = 65_535;

const FEW_SOURCE: &[u8] = include_bytes!("panels.bundle");
const MANY_SOURCE: &[u8] = include_bytes!("tensor_cores.bundle");

/// The kernel for one row.
pub(super) fn one_row(name: &str, dtype: DType) -> KernelDef {
    let signature = cuda::signature(Param::read::<Rounded>());
    KernelDef::new(name, signature).bundle(FEW_SOURCE, for_format!(dtype, "matmul_panels_"))
}

/// The kernel for several rows.
pub(super) fn several_rows(dtype: DType, rows: Rows) -> KernelDef {
    let (name, source, entry) = match rows {
        Rows::One | Rows::Few => ("few", FEW_SOURCE, for_format!(dtype, "matmul_panels_few_")),
        Rows::By64 => ("64", MANY_SOURCE, for_format!(dtype, "matmul_panels_64_")),
        Rows::By128 => ("128", MANY_SOURCE, for_format!(dtype, "matmul_panels_128_")),
    };
    KernelDef::new(format!("matmul_panels_{name}_{dtype}"), cuda::signature(Param::read::<Rounded>()))
        .bundle(source, entry)
}

/// How many rows are taken at a time.
pub(super) fn rows_at_a_time(op: &Matmul<'_>) -> Rows {
    let (count, rows) = (op.x.shape()[0], op.weight.shape()[0]);
    match count {
        0 | 1 => Rows::One,
        count if count <= MOST_FEW => match layout(op).map(|layout| few_at_a_time(&layout)) {
            Some(1) => Rows::One,
            _ => Rows::Few,
        },
        count if count > 64 && count.div_ceil(128) * rows.div_ceil(MANY_ROWS) >= ENOUGH_BLOCKS => Rows::By128,
        _ => Rows::By64,
    }
}

/// How the weight lies.
fn layout(op: &Matmul<'_>) -> Option<PanelLayout> {
    PanelLayout::of(op.weight.dtype(), op.weight.scale_type())
}

/// The grid of a launch.
pub(super) fn grid(op: &Matmul<'_>) -> Result<Grid> {
    let (count, all) = (op.x.shape()[0], op.weight.shape()[0]);
    let few = |rows: usize| -> Result<([usize; 2], usize, u32)> {
        let bytes = layout(op).map_or(0, |layout| panel_shared_bytes(&layout, rows));
        Ok(([all.div_ceil(PANEL), count.div_ceil(rows)], PANEL_THREADS, bytes))
    };
    let many = |rows: usize| {
        ([count.div_ceil(rows), all.div_ceil(MANY_ROWS)], MANY_THREADS, (rows * MANY_BYTES) as u32)
    };
    let ([x, y], threads, shared_bytes) = match rows_at_a_time(op) {
        Rows::One => few(1)?,
        Rows::Few => few(FEW)?,
        Rows::By64 => many(64),
        Rows::By128 => many(128),
    };
    ensure(y <= MOST_BLOCKS, Matmul::NAME, "rows of weight", all as f64, "at most 8,388,480 on a card")?;
    let [x, y] = [groups(Matmul::NAME, x)?, groups(Matmul::NAME, y)?];
    Ok(Grid { groups: [x, y, 1], threads: [threads as u32, 1, 1], shared_bytes })
}
