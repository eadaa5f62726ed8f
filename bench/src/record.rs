//! A record: one JSON object a line, first the header, then every set of samples.
//!
//! Owns: the header, which names machine, kernel, versions and command; medians; the table on standard output.
//! Next room: the comparisons.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    process::Command,
};

use serde_json::{Value, json};

/// Where samples go.
pub struct Record {
    file: Option<BufWriter<File>>,
}

impl Record {
    /// Opens the record, and writes its header. `command` is what was run, `versions` whose code was measured.
    ///
    /// # Errors
    /// What creating or writing the file fails with.
    pub fn create(path: Option<&str>, command: &str, versions: Value) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        let mut record = Self { file };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        record.line(&json!({
            "kind": "header",
            "machine": machine(),
            "cores": cores,
            "load": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
            "kernel": rustix::system::uname().release().to_string_lossy(),
            "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
            "rustc": said("rustc", &["-V"]),
            "libc": said("ldd", &["--version"]),
            "commit": said("git", &["rev-parse", "HEAD"]),
            "versions": versions,
            "command": command,
        }))?;
        Ok(record)
    }

    /// Writes one set of samples, and a line about it for people.
    ///
    /// # Errors
    /// What writing the file fails with.
    #[allow(clippy::print_stdout, reason = "the table is what a runner is started for")]
    pub fn samples(
        &mut self,
        group: &str,
        case: &str,
        contender: &str,
        unit: &str,
        all: &[f64],
    ) -> io::Result<()> {
        let mut sorted = all.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (median, min) = (sorted[sorted.len() / 2], sorted[0]);
        println!("{group:28} {case:12} {contender:34} {median:12.1} {unit} (least {min:.1})");
        self.line(&json!({
            "kind": "samples",
            "group": group,
            "case": case,
            "contender": contender,
            "unit": unit,
            "median": median,
            "min": min,
            "samples": all,
        }))
    }

    /// Writes out what is still held back.
    ///
    /// # Errors
    /// What writing the file fails with.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }

    /// Writes one more object.
    ///
    /// # Errors
    /// What writing the file fails with.
    pub fn line(&mut self, value: &Value) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| writeln!(file, "{value}"))
    }
}

/// A size as people read it.
pub fn human(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, model)| model.trim().to_string())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

/// The first line a program says.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_string()
}
