//! Where messages come from: a line editor with a history, or the lines of standard input.

use std::{env, fs, io, path::PathBuf};

use rustyline::{
    Config, Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use crate::cli::Failure;

/// Where messages come from.
pub(super) enum Input {
    /// A person at a terminal, and where the history is kept.
    Editor(Box<Editor<Keys, FileHistory>>, Option<PathBuf>),
    /// The lines of standard input.
    Lines(io::Lines<io::StdinLock<'static>>),
}

/// What came.
pub(super) enum Line {
    /// Something was said.
    Message(String),
    /// A person pressed Ctrl-C.
    Dropped,
    /// Nothing more will come.
    End,
}

impl Input {
    pub(super) fn lines() -> Self {
        Self::Lines(io::stdin().lines())
    }

    pub(super) fn editor(history: bool) -> Result<Self, Failure> {
        let config =
            Config::builder().max_history_size(1000).and_then(|config| config.history_ignore_dups(true));
        let config = config.map_err(failed)?.auto_add_history(true).build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Keys));
        let kept = if history { history_file() } else { None };
        if let Some(path) = &kept {
            // The first time there is none.
            let _ = editor.load_history(path);
        }
        Ok(Self::Editor(Box::new(editor), kept))
    }

    pub(super) fn next(&mut self) -> Result<Line, Failure> {
        match self {
            Self::Lines(lines) => match lines.next() {
                None => Ok(Line::End),
                Some(Ok(line)) => Ok(Line::Message(line)),
                Some(Err(error)) => Err(Failure::Failed(format!("cannot read standard input: {error}"))),
            },
            Self::Editor(editor, kept) => match editor.readline("> ") {
                Ok(line) => {
                    if let Some(path) = kept
                        && let Err(error) = editor.append_history(path)
                    {
                        eprintln!("forebay: no history is kept: {}: {error}", path.display());
                        *kept = None;
                    }
                    Ok(Line::Message(joined(&line)))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Dropped),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(failed(error)),
            },
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    Failure::Failed(format!("cannot read from the terminal: {error}"))
}

/// The file of the history, in a folder that is made for it; none where there is no place for one.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(env::home_dir()?.join(".local/state")))?;
    let folder = state.join("forebay");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("chat-history"))
}

/// Whether a message goes on in the next line.
fn goes_on(message: &str) -> bool {
    match message.trim_start().strip_prefix("\"\"\"") {
        Some(rest) => !rest.trim_end().ends_with("\"\"\""),
        None => message.ends_with('\\'),
    }
}

/// A message of several lines without what held them together.
fn joined(message: &str) -> String {
    let quoted = message.trim().strip_prefix("\"\"\"").and_then(|rest| rest.strip_suffix("\"\"\""));
    match quoted {
        Some(quoted) => quoted.trim_matches('\n').to_owned(),
        None => message.replace("\\\n", "\n"),
    }
}

/// What the editor knows about messages.
#[derive(Debug)]
pub(super) struct Keys;

impl Helper for Keys {}
impl Highlighter for Keys {}

impl Hinter for Keys {
    type Hint = String;
}

impl Validator for Keys {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match goes_on(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Keys {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let commands = ["/clear", "/exit", "/help", "/save ", "/stats"];
        let begun = &line[..at];
        let fits = |command: &&&str| begun.starts_with('/') && command.starts_with(begun);
        Ok((0, commands.iter().filter(fits).map(|command| (*command).to_owned()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_several_lines_are_held_together() {
        for (message, on, wanted) in [
            ("a", false, "a"),
            ("a\\", true, "a\\"),
            ("a\\\nb", false, "a\nb"),
            ("\"\"\"", true, "\"\"\""),
            ("\"\"\"a\nb", true, "\"\"\"a\nb"),
            ("\"\"\"\na\nb\\\n\"\"\"", false, "a\nb\\"),
            ("say \"\"\"", false, "say \"\"\""),
        ] {
            assert_eq!((goes_on(message), joined(message)), (on, wanted.to_owned()), "{message:?}");
        }
    }
}
