#![allow(unsafe_code, reason = "the kernel takes slices of device memory")]
//! `round` on the CPU: a group owns a block of 32, and its rest if that is wanted too.

use forebay_device::{KernelDef, Param, Share, Signature};

use crate::{
    quant::rounded::{ELEMENTS, Rounded},
    tiles::cpu::{
        arguments,
        lanes::{Job, Lanes, Level},
    },
};

pub(super) fn kernel(level: Level) -> KernelDef {
    let (x, out) = (Param::read::<f32>(), Param::write::<Rounded>());
    let signature = Signature::new([x, out, Param::u32(), Param::u32()]);
    KernelDef::new("round", signature).cpu_shares(move |share| level.run(Blocks { share }))
}

/// The blocks of one worker.
struct Blocks<'a, 'b> {
    share: &'a Share<'b>,
}

impl Job for Blocks<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _: V) {
        let groups = self.share.groups();
        // SAFETY: A2: the signature declares it as read.
        let x: &[f32] = unsafe { arguments::read(self.share, 0) };
        // SAFETY: A3: a group owns the block of its number.
        let out: &mut [Rounded] = unsafe { arguments::write(self.share, 1, groups.clone()) };
        let x = &x.as_chunks::<ELEMENTS>().0[groups.clone()];
        for (out, x) in out.iter_mut().zip(x) {
            *out = Rounded::of(x);
        }
        let rest = arguments::count(self.share, 2);
        if rest > 0 {
            // SAFETY: A3: a group owns the block of its number in the second half too, which begins behind all groups.
            let behind: &mut [Rounded] =
                unsafe { arguments::write(self.share, 1, groups.start + rest..groups.end + rest) };
            for ((behind, out), x) in behind.iter_mut().zip(out).zip(x) {
                *behind = Rounded::of(&out.rest(x));
            }
        }
    }
}
