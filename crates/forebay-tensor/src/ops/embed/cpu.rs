#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
#![allow(clippy::panic, reason = "an id that is not in the table fails the stage")]
//! `embed` on the CPU: a group owns a row of the output and decodes a row of the table into it.

use forebay_device::{KernelDef, Param, Share, Signature};

use crate::{
    DType, Level, quant,
    quant::panel::ROWS,
    tiles::{
        cpu::{
            arguments,
            formats::{FormatJob, PanelFormat, with_format},
            lanes::{Job, Lanes},
            products,
        },
        level_and_scales,
    },
};

/// Looks rows up as they lie.
pub(super) fn rows(dtype: DType) -> KernelDef {
    KernelDef::new(format!("embed_{dtype}"), signature()).cpu_shares(move |share| {
        let Own { table, ids, rows, width, out } = Own::of(share);
        let row_bytes = width / dtype.block_elements() * dtype.block_bytes();
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(width)) {
            let id = inside(id, rows);
            if let Err(error) = quant::decode(dtype, &table[id * row_bytes..][..row_bytes], out) {
                panic!("{error}");
            }
        }
    })
}

/// Looks rows of panels up.
pub(super) fn panels(dtype: DType) -> KernelDef {
    KernelDef::new(format!("embed_panels_{dtype}"), signature()).cpu_shares(move |share| {
        let (level, scale_type) = level_and_scales(share.word(4));
        if with_format(dtype, scale_type, Choose { share, level }).is_none() {
            panic!("{dtype} does not lie in panels");
        }
    })
}

/// Table, ids, output, rows of the table, how it lies, and its width.
fn signature() -> Signature {
    let buffers = [Param::read::<u8>(), Param::read::<u32>(), Param::write::<f32>()];
    Signature::new([&buffers[..], &[const { Param::u32() }; 3]].concat())
}

/// What a worker reads and writes.
struct Own<'a> {
    table: &'a [u8],
    ids: &'a [u32],
    rows: usize,
    width: usize,
    out: &'a mut [f32],
}

impl<'a> Own<'a> {
    fn of(share: &Share<'a>) -> Self {
        // SAFETY: A2: the signature declares both as read.
        let (table, ids): (&[u8], &[u32]) = unsafe { (arguments::read(share, 0), arguments::read(share, 1)) };
        let width = share.bytes(2).1 / size_of::<f32>() / ids.len();
        let groups = share.groups();
        // SAFETY: A3: a group owns the row of its number.
        let out: &mut [f32] = unsafe { arguments::write(share, 2, groups.start * width..groups.end * width) };
        Self { table, ids: &ids[groups], rows: arguments::count(share, 3), width, out }
    }
}

/// The id, if the table has it.
fn inside(id: u32, rows: usize) -> usize {
    let id = id as usize;
    if id >= rows {
        panic!("id {id} is not in a table of {rows} rows");
    }
    id
}

/// Takes the format to the level.
struct Choose<'a, 'b> {
    share: &'a Share<'b>,
    level: Level,
}

impl FormatJob for Choose<'_, '_> {
    type Output = ();

    fn run<F: PanelFormat>(self, f: F) {
        self.level.run(Rows { own: Own::of(self.share), f });
    }
}

/// The rows of one worker.
struct Rows<'a, F> {
    own: Own<'a>,
    f: F,
}

impl<F: PanelFormat> Job for Rows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Own { table, ids, rows, width, out } = self.own;
        let panel_bytes = table.len() / rows.div_ceil(ROWS).max(1);
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(width)) {
            let id = inside(id, rows);
            products::row(v, self.f, &table[id / ROWS * panel_bytes..][..panel_bytes], id % ROWS, out);
        }
    }
}
