//! Programs that measure other people's kernels, one product a call; an environment variable names each.
//!
//! `PROGRAM --version` prints a line that says what is measured. `PROGRAM TYPE ROWS COLUMNS COUNT THREADS` prints the
//! seconds of one product with a weight of that type, by llama.cpp's name for it, or `none` where it has no such type.
//! How the products are made, and whether a cache may hold the weights, is as in `cpu`. What the programs are is not
//! known here; candle's is `candle_rate` of `peers`.

use std::{
    env,
    io::{self, Error},
    path::PathBuf,
    process::Command,
};

/// Peers, by the variable that names their program.
const PEERS: [(&str, &str); 2] = [("llama.cpp", "FOREBAY_BENCH_GGML"), ("candle", "FOREBAY_BENCH_CANDLE")];

/// A peer whose program is here.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What its program says of itself.
    pub(crate) version: String,
    program: PathBuf,
}

/// The peers whose programs are named.
///
/// # Errors
/// If one of them does not run, or does not say what it is.
pub(crate) fn here() -> io::Result<Vec<Peer>> {
    let named = PEERS.into_iter().filter_map(|(name, variable)| Some((name, env::var_os(variable)?)));
    named.map(|(name, program)| Peer::of(name, program.into())).collect()
}

impl Peer {
    fn of(name: &'static str, program: PathBuf) -> io::Result<Self> {
        let peer = Self { name, version: String::new(), program };
        let version = peer.says(Command::new(&peer.program).arg("--version"))?;
        if version.is_empty() {
            return Err(Error::other(format!("the program of {name} does not say its version")));
        }
        Ok(Self { version, ..peer })
    }

    /// Seconds of a product, if it has the type.
    ///
    /// # Errors
    /// If it does not run, or says something else.
    pub(crate) fn seconds(
        &self,
        dtype: &str,
        [rows, columns]: [usize; 2],
        count: usize,
        threads: usize,
    ) -> io::Result<Option<f64>> {
        let numbers = [rows, columns, count, threads].map(|number| number.to_string());
        let mut command = Command::new(&self.program);
        // What many programs take their number of threads from.
        command.arg(dtype).args(numbers).env("RAYON_NUM_THREADS", threads.to_string());
        let text = self.says(&mut command)?;
        if text == "none" {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| Error::other(format!("{} says {text:?}", self.name)))
    }

    fn says(&self, command: &mut Command) -> io::Result<String> {
        let output = command.output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::other(format!("{} failed with {}: {text}", self.name, output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
