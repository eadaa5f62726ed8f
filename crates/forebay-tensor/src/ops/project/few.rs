//! `project` of two to eight rows on a card: they are rounded once, into a room, and every weight is read once for all of them.
//!
//! It records launches and knows what lies in the room. Next rooms: `plan`, which shares blocks out; `rounding.cuh`, which says what
//! lies where; `cuda.cu`.

use forebay_device::{BackendKind, Device, Grid, Kernel, Param, Stage};
use half::f16;

use super::{
    Finish, Map, Part, Project,
    plan::{Card, SQUARES, STAGE_BYTES, Shares, columns_of, stages_of},
};
use crate::{
    DType, Error, Op, Result, Served, Tensor,
    op::{Loaded, groups, optional, size},
    quant::panel::PanelLayout,
    tiles::{
        cuda::panels::{MOST_FEW, for_format},
        in_panels,
    },
};

/// What ends the types of these kernels.
const FEW_ROWS: &str = " in panels, few rows";
/// The kernel that rounds rows, its threads, and columns of each.
const ROUND: &str = "project_round";
const THREADS: usize = 256;
const FOUR: usize = 4;

/// The kernels that round rows and multiply them, and the card that they are for.
#[derive(Debug)]
pub(super) struct Few {
    round: Kernel,
    panels: Vec<(DType, Kernel)>,
    card: Card,
}

/// The kernel that rounds, and those of all formats.
pub(super) fn served() -> Vec<Served> {
    let room = Param::write::<[f16; 8]>();
    let round = [Param::read::<f32>(), Param::read::<f32>(), room, Param::u32(), Param::u32(), Param::u32()];
    let round = super::kernel(ROUND, ROUND, round.to_vec());
    let of_panels = |dtype: DType| {
        let entry = for_format!(dtype, "project_few_");
        let name = format!("project_few_{dtype}");
        let signature = super::signature(Param::read::<[f16; 8]>());
        Served::new(format!("{dtype}{FEW_ROWS}"), super::kernel(&name, entry, signature))
    };
    let panels = in_panels().map(|(dtype, ..)| of_panels(dtype));
    std::iter::once(Served::new("a few rows", round)).chain(panels).collect()
}

/// How many kernels [`served`] gives.
pub(super) fn kernels() -> usize {
    in_panels().count() + 1
}

/// Elements of the room for so many rows of this width on a device, or on any where it only knows sizes; none where there are no
/// kernels for so many rows.
pub(in crate::ops) fn room(device: &Device, count: usize, width: usize) -> usize {
    let serves = match device.kind() {
        BackendKind::Cuda => Card::of(device.caps()).is_some(),
        kind => kind == BackendKind::Null,
    };
    if serves { elements(count, width) } else { 0 }
}

/// Elements of the room for so many rows, or for the most there are kernels for.
pub(super) fn elements(count: usize, width: usize) -> usize {
    if count < 2 {
        return 0;
    }
    let columns = columns_of(count.min(MOST_FEW));
    let squares = width.div_ceil(SQUARES).saturating_mul(4);
    let bytes = stages_of(width).saturating_mul(STAGE_BYTES).saturating_add(squares).saturating_mul(columns);
    bytes.div_ceil(16).saturating_mul(8)
}

impl Few {
    /// Loads what [`served`] gave.
    pub(super) fn load(device: &Device, served: &[Served], card: Card) -> Result<Self> {
        let of_type = |one: &Served| {
            let dtype = one.types().strip_suffix(FEW_ROWS).unwrap_or_default().parse()?;
            Ok((dtype, one.load(device)?))
        };
        let (round, panels) = served.split_at(1);
        let [round] = Loaded::load(device, round)?;
        Ok(Self { round, panels: panels.iter().map(of_type).collect::<Result<_>>()?, card })
    }

    /// The kernel of the first weight, where all of them are served: of so many rows, with room for them.
    pub(super) fn kernel(&self, op: &Project<'_>) -> Option<&Kernel> {
        let [count, width] = [op.x.shape()[0], op.x.shape()[1]];
        let room = op.room.map_or(0, Tensor::elements);
        if !(2..=MOST_FEW).contains(&count) || room < elements(count, width) {
            return None;
        }
        let parts = parts_of(op)?;
        parts.iter().try_for_each(|part| self.shares(op, part).map(|_| ()))?;
        self.of(op.maps[0].weight.dtype())
    }

    /// Records the rounding and the products.
    pub(super) fn launch(&self, op: &Project<'_>, stage: &mut Stage<'_>) -> Result<()> {
        let ([count, width], Some(room)) = ([op.x.shape()[0], op.x.shape()[1]], op.room) else {
            return Ok(());
        };
        let room = room.reshape(&[room.elements()])?.narrow(0, 0..elements(count, width))?;
        let columns = columns_of(count);
        let norm = optional(op.norm.map(|norm| norm.weight), op.x)?;
        let across = groups(Project::NAME, width.div_ceil(THREADS * FOUR))?;
        let grid =
            Grid { groups: [across, columns as u32, 1], threads: [THREADS as u32, 1, 1], shared_bytes: 0 };
        let words = [("width", width), ("rows", count), ("columns", columns)];
        let mut arguments = vec![op.x.arg(), norm.arg(), room.arg()];
        for (name, value) in words {
            arguments.push(size(Project::NAME, name, value)?.into());
        }
        stage.launch(&self.round, grid, &arguments)?;
        for part in parts_of(op).unwrap_or_default() {
            let nothing = Error::NoFormat { dtype: part.maps[0].weight.dtype().name() };
            let found = self.of(part.maps[0].weight.dtype()).zip(self.shares(op, &part));
            let (kernel, shares) = found.ok_or(nothing)?;
            op.multiply(kernel, &room, part, shares, stage)?;
        }
        Ok(())
    }

    fn of(&self, dtype: DType) -> Option<&Kernel> {
        self.panels.iter().find(|(known, _)| *known == dtype).map(|(_, kernel)| kernel)
    }

    fn shares(&self, op: &Project<'_>, part: &Part<'_>) -> Option<Shares> {
        let weight = part.maps[0].weight;
        let layout = PanelLayout::of(weight.dtype(), weight.scale_type())?;
        self.of(weight.dtype())?;
        self.card.few(op, part.maps, &layout)
    }
}

/// The maps with rows, format by format; none if a gate is of another format than what it is for.
fn parts_of<'a>(op: &Project<'a>) -> Option<Vec<Part<'a>>> {
    let form = |map: &Map<'_>| (map.weight.dtype(), map.weight.scale_type());
    let mut out = op.out;
    let mut parts = Vec::new();
    for maps in op.maps.chunk_by(|a, b| form(a) == form(b)) {
        if matches!(op.finish, Finish::Gate(_)) {
            return (maps.len() == op.maps.len()).then(|| vec![Part { maps, out }]);
        }
        let (own, rest) = out.split_at(maps.len());
        parts.push(Part { maps, out: own });
        out = rest;
    }
    parts.retain(|part| part.out.iter().any(|out| out.elements() > 0));
    Some(parts)
}
