//! Weight formats from outside: against the vectors that other software made, and against bytes that nobody
//! made.

#![allow(clippy::print_stdout, reason = "says what is left out, and the figures of comparisons")]

#[cfg(test)]
mod any;
#[cfg(test)]
mod gguf;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mlx;
#[cfg(test)]
mod vectors;
