//! A conversation of two turns, in which only what is new is computed: `cargo run --release --example chat -- MODEL.gguf`.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod alphabet;

use forebay::{
    Engine,
    generate::{sampler::Greedy, stop::StopRule, template::Message},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(alphabet::named_or_this()?)?;
    let chat = engine.chat()?.ok_or("this model has no chat template")?;
    // One sequence for the whole conversation: it knows which tokens are in its cache.
    let mut sequence = engine.sequence()?;
    let mut messages = vec![Message::new("system", "Answer in one sentence.")];
    for question in ["What is a forebay?", "And what stands behind it?"] {
        messages.push(Message::new("user", question));
        let prompt = chat.tokens(&messages)?;
        let sampler = Box::new(Greedy);
        let mut reply =
            engine.generate_in(&mut sequence, &prompt, StopRule::after(100), sampler, &mut |_| {})?;
        let mut text = String::new();
        for piece in &mut reply {
            text += &piece?.text;
        }
        let timings = reply.timings();
        println!("{question}\n{text}");
        println!(
            "({} tokens of the prompt, {} of them known)\n",
            timings.prompt_tokens, timings.reused_tokens
        );
        messages.push(Message::new("assistant", text));
    }
    Ok(())
}
