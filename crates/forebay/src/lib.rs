//! Quantised language models in Rust: files, models and text.
#![forbid(unsafe_code)]
