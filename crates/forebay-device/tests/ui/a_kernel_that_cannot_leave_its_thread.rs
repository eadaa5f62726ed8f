//! A kernel runs on the threads of the device.

use std::{cell::Cell, rc::Rc};

use forebay_device::{KernelDef, Param, Signature};

fn main() {
    let calls = Rc::new(Cell::new(0));
    let _ = KernelDef::new("count", Signature::new([Param::u32()]))
        .cpu(move |group| calls.set(calls.get() + group.u32(0)));
}
