//! Models against what other systems computed with the same files, and conversations with them. Found through FOREBAY_FIXTURES;
//! left out without.

#![allow(clippy::print_stdout, reason = "says what is left out, and the figures of comparisons")]

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod converted;
#[cfg(test)]
mod families;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod folders;
#[cfg(test)]
mod llama;
#[cfg(test)]
mod several;
#[cfg(test)]
mod smollm2;
#[cfg(test)]
mod stories;
