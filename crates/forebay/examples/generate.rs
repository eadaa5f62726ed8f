//! Continue a text, token by token: `cargo run --release --example generate -- MODEL.gguf "Once upon a time"`.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use std::io::Write;

use forebay::{
    Engine,
    generate::{sampler::SamplerOptions, stop::StopRule},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = alphabet::named_or_this()?;
    let text = std::env::args().nth(2).unwrap_or_else(|| "Once upon a time".to_owned());

    let engine = Engine::open(model)?;
    let prompt = engine.tokenizer().encode(&text, true)?;
    let sampler = SamplerOptions { seed: 42, ..SamplerOptions::default() }.sampler(engine.tokenizer())?;
    // Ends at an empty line, after 200 tokens, or when the model says so. `rule.cancel` would end it from another thread.
    let rule = StopRule { texts: vec!["\n\n".to_owned()], ..StopRule::after(200) };

    print!("{text}");
    let mut generation = engine.generate_from(&prompt, rule, sampler)?;
    for piece in &mut generation {
        print!("{}", piece?.text);
        std::io::stdout().flush()?;
    }
    let timings = generation.timings();
    let rate = timings.generated_tokens as f64 / timings.generated.as_secs_f64();
    println!("\n{:?} after {} tokens, {rate:.1} a second", generation.stop(), timings.generated_tokens);
    Ok(())
}
