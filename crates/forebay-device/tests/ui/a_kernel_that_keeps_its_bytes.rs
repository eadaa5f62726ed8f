//! What a kernel is given ends with its call.

use std::sync::Mutex;

use forebay_device::{KernelDef, Param, Signature};

static KEPT: Mutex<Vec<&'static mut [u32]>> = Mutex::new(Vec::new());

fn main() {
    let _ = KernelDef::new("keep", Signature::new([Param::write::<u32>()])).cpu(|group| {
        if let Ok(mut kept) = KEPT.lock() {
            kept.push(group.write::<u32>(0));
        }
    });
}
