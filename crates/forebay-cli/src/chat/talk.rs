//! A conversation: what was said, its cache, and replies.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use forebay::{
    Chat, Engine,
    generate::{
        sampler::{Sampler, SamplerOptions},
        step::Sequence,
        stop::{Cancel, Stop, StopRule},
        template::Message,
    },
};
use serde_json::json;

use super::ChatArgs;
use crate::{cli::Failure, progress::Progress, run::closing};

/// A conversation.
pub(super) struct Talk<'a> {
    engine: &'a Engine,
    chat: Chat<'a>,
    sequence: Sequence,
    sampler: Box<dyn Sampler>,
    /// What of sampling only the host can do.
    needs_host: Option<&'static str>,
    rule: StopRule,
    /// What a conversation begins with.
    opening: Vec<Message>,
    messages: Vec<Message>,
    /// What the last reply took, in words.
    last: Option<String>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        chat: Chat<'a>,
        args: &ChatArgs,
        cancel: Cancel,
    ) -> Result<Self, Failure> {
        let options = args.sampling.options(SamplerOptions::of(engine.settings()))?;
        let opening = args.speech.messages();
        Ok(Self {
            engine,
            chat,
            sequence: engine.sequence()?,
            sampler: options.sampler(engine.tokenizer())?,
            needs_host: options.needs_host(),
            rule: StopRule { limit: args.n, ignore_ends: false, texts: args.stop.clone(), cancel },
            messages: opening.clone(),
            opening,
            last: None,
        })
    }

    /// Tokens that a conversation can have.
    pub(super) fn context(&self) -> usize {
        self.sequence.context()
    }

    /// Replies to a message and prints the reply. What cannot be replied to counts as not said.
    pub(super) fn reply(&mut self, message: &str) -> Result<(), Failure> {
        self.messages.push(Message::new("user", message));
        let replied = self.generate();
        if replied.is_err() {
            self.messages.pop();
        }
        let (text, stop) = replied?;
        self.messages.push(Message::new("assistant", text));
        match stop {
            Some(Stop::Cancelled) => Err(Failure::Interrupted),
            Some(Stop::Context) => {
                let context = self.context();
                let reason = format!(
                    "the context of {context} tokens is full; /clear begins anew, and --ctx gives more"
                );
                Err(Failure::Failed(reason))
            }
            _ => Ok(()),
        }
    }

    fn generate(&mut self) -> Result<(String, Option<Stop>), Failure> {
        self.rule.cancel.reset();
        let tokens = self.chat.tokens(&self.messages)?;
        let mut progress = Progress::of("reading");
        let mut tell = |done: usize| progress.tell(|| format!("{done} of {} tokens", tokens.len()));
        let (rule, sampler) = (self.rule.clone(), Box::new(&mut self.sampler));
        let mut generation =
            self.engine.generate_in(&mut self.sequence, &tokens, rule, sampler, &mut tell)?;
        drop(progress);
        // The next prompt goes on from here or from the end of the reply, whichever the template leaves as it is.
        generation.checkpoint()?;
        let mut out = io::stdout().lock();
        let mut text = String::new();
        for piece in &mut generation {
            match piece {
                Ok(piece) => {
                    write!(out, "{}", piece.text)?;
                    out.flush()?;
                    text.push_str(&piece.text);
                }
                Err(error) => {
                    writeln!(out)?;
                    return Err(error.into());
                }
            }
        }
        writeln!(out)?;
        self.last = Some(closing(self.engine, &generation, None, self.needs_host));
        let stop = generation.stop();
        drop(generation);
        self.sequence.checkpoint()?;
        Ok((text, stop))
    }

    /// Forgets what was said.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        self.messages.clone_from(&self.opening);
        self.last = None;
        Ok(self.sequence.roll_back(0)?)
    }

    /// How full the context is, and how fast it went.
    pub(super) fn stats(&self) -> String {
        let (len, context) = (self.sequence.len(), self.context());
        let said = self.messages.len() - self.opening.len();
        let last = self.last.as_ref().map(|last| format!("\nlast reply: {last}")).unwrap_or_default();
        format!("{said} messages, {len} of {context} tokens{last}")
    }

    /// Writes the conversation.
    pub(super) fn save(&self, path: &str) -> Result<(), Failure> {
        if path.is_empty() {
            return Err(Failure::Usage("/save wants the name of a file".to_owned()));
        }
        let text = match Path::new(path).extension().is_some_and(|ending| ending == "json") {
            true => format!("{:#}\n", json!({ "messages": self.messages })),
            false => {
                let said = |message: &Message| {
                    format!("{}:\n{}\n", message.role, message.content.as_str().unwrap_or_default())
                };
                self.messages.iter().map(said).collect::<Vec<_>>().join("\n")
            }
        };
        fs::write(path, text).map_err(|error| Failure::Failed(format!("cannot write {path}: {error}")))?;
        eprintln!("{} messages in {path}", self.messages.len());
        Ok(())
    }
}
