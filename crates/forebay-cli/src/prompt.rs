//! Where a prompt comes from: the command line, a file, or standard input.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
};

use crate::cli::Failure;

/// The text that was given on the command line (`-` is standard input), in a file, or into standard input; none where nobody gave
/// one. A line end behind what is read belongs to whoever wrote the file, not to the prompt.
pub(crate) fn text(given: Option<&str>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    match (given, file) {
        (Some(text), None) if text != "-" => return Ok(Some(text.to_owned())),
        (None, None) if io::stdin().is_terminal() => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Failure::Usage("there are two prompts, one of them by --file; give one".to_owned()));
        }
        _ => {}
    }
    let (name, bytes) = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => (path.display().to_string(), fs::read(path)),
        None => {
            let mut bytes = Vec::new();
            ("standard input".to_owned(), io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes))
        }
    };
    let bytes = bytes.map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))?;
    let mut text = String::from_utf8(bytes)
        .map_err(|error| Failure::Failed(format!("{name} is not UTF-8: {}", error.utf8_error())))?;
    for end in ["\n", "\r"] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    Ok((!text.is_empty()).then_some(text))
}
