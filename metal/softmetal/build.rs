//! The libraries that objc2 asks the linker for, empty: all that would be in them is in this crate.

use std::{env, fs, path::PathBuf};

fn main() {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for library in ["objc", "gnustep-base", "BlocksRuntime"] {
        fs::write(folder.join(format!("lib{library}.a")), b"!<arch>\n").expect("the folder takes files");
    }
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rerun-if-changed=build.rs");
}
