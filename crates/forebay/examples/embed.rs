//! How alike texts are, by the hidden state of their last token: `cargo run --release --example embed -- MODEL.gguf`.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use forebay::Engine;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(alphabet::named_or_this()?)?;
    let mut sequence = engine.sequence()?;
    let mut embed = |text: &str| -> forebay::Result<Vec<f32>> {
        let mut last = Vec::new();
        sequence.roll_back(0)?;
        sequence.feed_hidden(&engine.tokenizer().encode(text, true)?, |rows| {
            last = rows.to_vec();
            Ok(())
        })?;
        let length = last.iter().map(|x| x * x).sum::<f32>().sqrt();
        last.iter_mut().for_each(|x| *x /= length);
        Ok(last)
    };
    let one = embed("The turbine turns")?;
    for text in ["The wheel of the mill goes round", "I like cheese", "The turbine turns"] {
        let other = embed(text)?;
        let alike: f32 = one.iter().zip(&other).map(|(a, b)| a * b).sum();
        println!("{alike:.3}  {text}");
    }
    Ok(())
}
