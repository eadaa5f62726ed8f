//! `forebay completions` and `forebay man`: what shells and readers of manuals get, made of the same definition as the help.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;

use crate::cli::{Cli, Failure};

/// What `completions` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, for bash:
  forebay completions bash > ~/.local/share/bash-completion/completions/forebay")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// What `man` takes.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder, instead of the first one to standard output
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs `completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.set_bin_name("forebay");
    command.build();
    Ok(args.shell.try_generate(&command, &mut io::stdout().lock())?)
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    match &args.out {
        Some(folder) => pages(folder),
        None => Ok(Man::new(Cli::command()).render(&mut io::stdout().lock())?),
    }
}

fn pages(folder: &Path) -> Result<(), Failure> {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| Failure::Failed(format!("cannot write into {}: {error}", folder.display())))
}
