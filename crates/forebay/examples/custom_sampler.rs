//! A sampler of one's own: mirostat, which keeps the surprise of a text near a target.
//! `cargo run --release --example custom_sampler -- MODEL.gguf "Once upon a time"`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use forebay::{
    Engine, Error, Result,
    generate::{
        sampler::{Candidates, Random, Sampler},
        stop::StopRule,
        text::Text,
    },
};

/// Keeps what is less surprising than `most`, draws, and moves `most` by how far off the target the draw was.
struct Mirostat {
    target: f64,
    rate: f64,
    most: f64,
    random: Random,
    candidates: Candidates,
}

impl Sampler for Mirostat {
    fn pick(&mut self, text: &dyn Text) -> Result<u32> {
        self.candidates.fill(&text.read_logits()?);
        let mut chances = self.candidates.chances();
        let kept = chances.iter().take_while(|(_, chance)| -chance.log2() <= self.most).count();
        chances.truncate(kept.max(1));
        let sum: f64 = chances.iter().map(|(_, chance)| chance).sum();
        // A number that depends on the seed and the place in the text only: the same text every time.
        let mut left = self.random.uniform(text.tokens().len() as u64, 0) * sum;
        let drawn = chances.iter().find(|(_, chance)| {
            left -= chance;
            left < 0.0
        });
        let (id, chance) = *drawn.or(chances.last()).ok_or(Error::NoToken)?;
        self.most -= self.rate * (-(chance / sum).log2() - self.target);
        Ok(id)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(alphabet::named_or_this()?)?;
    let text = std::env::args().nth(2).unwrap_or_else(|| "Once upon a time".to_owned());
    let (random, candidates) = (Random::new(7), Candidates::default());
    let sampler = Mirostat { target: 3.0, rate: 0.1, most: 6.0, random, candidates };
    let prompt = engine.tokenizer().encode(&text, true)?;
    print!("{text}");
    for piece in engine.generate_from(&prompt, StopRule::after(100), Box::new(sampler))? {
        print!("{}", piece?.text);
    }
    println!();
    Ok(())
}
