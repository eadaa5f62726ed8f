//! `forebay memory plot`: a trace as a page for a browser.

use std::path::PathBuf;

use clap::Args;
use forebay_device::history::Page;

use super::{TraceArgs, grouped, write_out};
use crate::{cli::Failure, size::Size};

/// What `plot` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
The page is one file and needs no network; open it with any browser.

Behind a # its address says what is shown: from, to and at are events, find is what to search for, axis is event or \
time, color is tag or label. Such as:
  run.html#from=100&to=900&find=tag:kv")]
pub(super) struct PlotArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// The file to write; `-` is standard output
    #[arg(long)]
    out: PathBuf,
    /// What the page is called; the name of the trace if not given
    #[arg(long)]
    title: Option<String>,
}

pub(super) fn run(args: &PlotArgs) -> Result<(), Failure> {
    let source = args.trace.source()?;
    let name = args.trace.trace.file_name().unwrap_or(args.trace.trace.as_os_str());
    let title = args.title.clone().unwrap_or_else(|| name.to_string_lossy().into_owned());
    let mut log = source.open().map_err(|error| source.failure(&error))?;
    let page = Page::of(&mut log, title).map_err(|error| source.failure(&error))?;
    source.tell_damage(&log);
    let html = page.html();
    write_out(&args.out, html.as_bytes())?;
    let (events, left_out) = page.events();
    eprintln!("{} events on a page of {}: {}", grouped(events), Size(html.len() as u64), args.out.display());
    if left_out > 0 {
        eprintln!("forebay: the last {} events are not on it; it would be too large", grouped(left_out));
    }
    Ok(())
}
