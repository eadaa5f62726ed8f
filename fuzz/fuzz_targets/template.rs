//! Any template, and the conversation behind it, on which it renders: a prompt or an error, in bounded time. The parts lie
//! behind zero bytes: the template, then a role and a content for each message.
//!
//! Run it with a limit on memory: what a template builds on the way to its prompt is not bounded.

#![no_main]

use forebay::generate::template::{Message, Prompt, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.split('\0');
    let Ok(template) = Template::new("f", parts.next().unwrap_or_default()) else { return };
    let parts: Vec<&str> = parts.collect();
    let messages: Vec<Message> =
        parts.as_chunks().0.iter().map(|[role, content]| Message::new(*role, *content)).collect();
    let mut prompt = Prompt::new(&messages);
    for reply in [false, true] {
        prompt.reply = reply;
        if let Err(error) = template.render(&prompt) {
            assert!(!error.to_string().is_empty());
        }
    }
});
