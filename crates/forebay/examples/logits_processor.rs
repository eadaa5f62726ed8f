//! A link of one's own in the chain before the draw: a text without the letter e.
//! `cargo run --release --example logits_processor -- MODEL.gguf "Long ago"`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use forebay::{
    Engine, Result,
    generate::{
        sampler::{Candidates, Chain, LogitsProcessor, Step, Temperature, TopP},
        stop::StopRule,
    },
};

/// Leaves out some tokens.
struct Without {
    tokens: Vec<u32>,
}

impl LogitsProcessor for Without {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        candidates.retain(|candidate| self.tokens.binary_search(&candidate.id).is_err());
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(alphabet::named_or_this()?)?;
    let text = std::env::args().nth(2).unwrap_or_else(|| "Long ago".to_owned());
    let tokenizer = engine.tokenizer();
    let mut tokens = Vec::new();
    for id in 0..tokenizer.size() as u32 {
        if !tokenizer.is_control(id) && tokenizer.bytes(id)?.contains(&b'e') {
            tokens.push(id);
        }
    }
    // The order is that of the calls: first what may follow at all, then how likely it is.
    let chain = Chain::new(1).with(Without { tokens }).with(TopP(0.9)).with(Temperature(0.8));
    let prompt = tokenizer.encode(&text, true)?;
    print!("{text}");
    for piece in engine.generate_from(&prompt, StopRule::after(60), Box::new(chain))? {
        print!("{}", piece?.text);
    }
    println!();
    Ok(())
}
