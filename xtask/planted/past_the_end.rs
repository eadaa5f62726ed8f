//! A program that reads past the end of its memory on purpose.
//!
//! The sanitizer's rung builds and runs it first: a sanitizer that does not see this would see nothing.

#![allow(unsafe_code, reason = "it is wrong on purpose")]

fn main() {
    let bytes = vec![1_u8; 8];
    let past = std::env::args().count() + bytes.len();
    // SAFETY: none; this byte is not ours, and the sanitizer has to say so.
    let byte = unsafe { *bytes.as_ptr().add(past) };
    println!("{byte}");
}
