//! Any template on any conversation: a prompt or an error, in bounded time.
//!
//! Run it with a limit on memory: what a template builds on the way to its prompt is not bounded.

#![no_main]

use forebay::generate::template::{Message, Prompt, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Vec<(&str, &str)>, bool)| {
    let (source, messages, reply) = input;
    let Ok(template) = Template::new("f", source) else { return };
    let messages: Vec<Message> =
        messages.into_iter().map(|(role, content)| Message::new(role, content)).collect();
    let mut prompt = Prompt::new(&messages);
    prompt.reply = reply;
    if let Err(error) = template.render(&prompt) {
        assert!(!error.to_string().is_empty());
    }
});
