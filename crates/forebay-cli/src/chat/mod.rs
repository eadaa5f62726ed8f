//! `forebay chat`: a conversation. What both sides have said stays in the cache, so that only what is new is computed.
//!
//! Next rooms: `input` for what is typed or piped, `talk` for the conversation itself.

mod input;
mod talk;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::Args;
use forebay::Engine;

use crate::{
    cli::Failure,
    interrupt,
    model::{Model, OpenArgs},
    run::SpeechArgs,
    sampling::SamplingArgs,
};
use input::{Input, Line};
use talk::Talk;

const COMMANDS: &str = "\
/help         what can be said here
/clear        forget the conversation
/save FILE    write the conversation: as JSON if the name ends in .json, else as text
/stats        how full the context is, and how fast the last reply was
/exit         end; so does Ctrl-D

A message goes on in the next line after a \\ at its end, or between \"\"\" and \"\"\". Ctrl-C ends a reply.";

/// What `chat` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
In the conversation, /help tells what can be said. Without a terminal each line of standard input is a message, and \
standard output gets the replies only.")]
pub(crate) struct ChatArgs {
    /// The model: a GGUF file, the first of several, or a folder; the demo model if not given
    model: Option<PathBuf>,
    /// The most tokens of a reply; until it ends or the context is full if not given, or -1
    #[arg(short, long = "predict", value_name = "TOKENS", value_parser = crate::run::limit, allow_negative_numbers = true)]
    n: Option<usize>,
    /// End a reply at this text, which is not printed; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Neither read nor write the history of what was typed
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    speech: SpeechArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    open: OpenArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ChatArgs) -> Result<(), Failure> {
    let model = Model::of(args.model.as_deref());
    args.open.with(&model, |engine| talk(engine, args))
}

fn talk(engine: &Engine, args: &ChatArgs) -> Result<(), Failure> {
    let Some(chat) = args.speech.chat(engine)? else {
        let reason = "this model has no chat template; `forebay run` continues texts with it";
        return Err(Failure::Failed(reason.to_owned()));
    };
    let person = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut input = if person { Input::editor(!args.no_history)? } else { Input::lines() };
    let cancel = interrupt::cancel()?;
    let mut talk = Talk::new(engine, chat, args, cancel.clone())?;
    if person {
        let context = talk.context();
        eprintln!("A conversation of up to {context} tokens. /help tells what can be said, Ctrl-D ends it.");
    }
    loop {
        let line = input.next()?;
        if !person && cancel.is_cancelled() {
            return Err(Failure::Interrupted);
        }
        let message = match line {
            Line::End => return Ok(()),
            Line::Dropped => {
                eprintln!("(Ctrl-D or /exit ends the conversation)");
                continue;
            }
            Line::Message(message) => message,
        };
        let done = match message.trim() {
            "" => Ok(()),
            "/exit" | "/quit" => return Ok(()),
            "/help" | "/?" => {
                eprintln!("{COMMANDS}");
                Ok(())
            }
            "/clear" => talk.clear(),
            "/stats" => {
                eprintln!("{}", talk.stats());
                Ok(())
            }
            command if command == "/save" || command.starts_with("/save ") => talk.save(command[5..].trim()),
            command if person && command.starts_with('/') => {
                Err(Failure::Usage(format!("{command} is none of the commands; /help tells them")))
            }
            message => talk.reply(message),
        };
        match done {
            // A person can say something else; a program is told by the exit code.
            Err(Failure::Usage(reason) | Failure::Failed(reason)) if person => eprintln!("forebay: {reason}"),
            Err(Failure::Interrupted) if person => {}
            done => done?,
        }
    }
}
