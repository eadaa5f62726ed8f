//! A kernel may run long after its definition is out of scope.

use forebay_device::{KernelDef, Param, Signature};

fn main() {
    let factor = 3;
    let _ = KernelDef::new("scale", Signature::new([Param::read_write::<u32>()]))
        .cpu(|group| group.write::<u32>(0).iter_mut().for_each(|x| *x *= factor));
}
