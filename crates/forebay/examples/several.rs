//! Continue several texts at once, each with its own sampler: `cargo run --release --example several -- MODEL.gguf "The sea" "The moon"`.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use forebay::{
    Engine,
    generate::{sampler::SamplerOptions, stop::StopRule},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(alphabet::named_or_this()?)?;
    let mut prompts: Vec<String> = std::env::args().skip(2).collect();
    if prompts.is_empty() {
        prompts = ["a b c", "k l m", "w x y"].map(str::to_owned).to_vec();
    }

    // Two of them run at once, and every weight is read once for both; others wait until one of those ends.
    let mut several = engine.several(2)?;
    for (seed, prompt) in (1..).zip(&prompts) {
        let ids = engine.tokenizer().encode(prompt, true)?;
        let sampler = SamplerOptions { seed, ..SamplerOptions::default() }.sampler(engine.tokenizer())?;
        several.add(&ids, StopRule::after(40), sampler)?;
    }

    // Pieces come in turns; a chat would send each to whom it is for.
    let mut texts = prompts;
    for piece in &mut several {
        let (which, piece) = piece?;
        texts[which].push_str(&piece.text);
    }
    for (which, text) in texts.iter().enumerate() {
        println!("{which}: {text}\n{:?} after {} tokens", several.stop(which), several.generated(which));
    }
    Ok(())
}
