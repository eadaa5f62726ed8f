//! Weights of one's own: a model that knows the alphabet is put together by hand, written, and run; `alphabet/mod.rs` is how.
//! `cargo run --release --example own_weights`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use forebay::{Engine, generate::stop::StopRule};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = alphabet::named_or_this()?;
    let engine = Engine::open(&path)?;
    for prompt in ["a", "no", "rs"] {
        let rest = engine.generate(prompt, StopRule::after(100))?.map(|piece| piece.map(|piece| piece.text));
        println!("{prompt}{}", rest.collect::<forebay::Result<String>>()?);
    }
    Ok(())
}
