//! The program as a user meets it: what goes to which stream, exit codes, and one clear line for what went wrong.
//!
//! The cases with a model find it through FOREBAY_FIXTURES, and are left out without.

#![allow(clippy::print_stdout, reason = "says what is left out")]

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        process::{Command, Output},
    };

    fn forebay(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_forebay")).args(arguments).output().unwrap()
    }

    fn stories() -> Option<PathBuf> {
        let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
            println!("left out: FOREBAY_FIXTURES is not set");
            return None;
        };
        Some(PathBuf::from(root).join("stories260K/gguf/stories260K.F16.gguf"))
    }

    /// The exit code and the one line on standard error; standard output must be empty.
    fn failure(arguments: &[&str]) -> (i32, String) {
        let output = forebay(arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        (output.status.code().unwrap(), line)
    }

    #[test]
    fn what_is_no_model_is_a_failure_and_what_cannot_be_asked_is_wrong_use() {
        let (code, line) = failure(&["run", "no-such-file.gguf", "x"]);
        assert!(code == 1 && line.contains("no-such-file.gguf"), "{line}");
        let (code, line) = failure(&["run", env!("CARGO_MANIFEST_DIR"), "x"]);
        assert!(code == 1 && line.contains("not a regular file"), "{line}");
        let (code, line) = failure(&["run", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "x"]);
        assert!(code == 1 && line.contains("a GGUF file starts with"), "{line}");
        for wrong in [&["run"][..], &["run", "m.gguf"], &["run", "m.gguf", "x", "--tokens", "1"], &["swim"]] {
            assert_eq!(forebay(wrong).status.code(), Some(2), "{wrong:?}");
        }
        let (code, line) = failure(&["run", "m.gguf", "x", "--threads", "0"]);
        assert!(code == 2 && line.contains("threads"), "{line}");
    }

    #[test]
    fn text_goes_to_standard_output_and_rates_to_standard_error() {
        let Some(model) = stories() else { return };
        let model = model.to_str().unwrap();
        let output = forebay(&["run", model, "Once upon a time", "-n", "8", "-t", "1"]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "Once upon a time, there was a little girl\n");
        assert!(String::from_utf8(output.stderr).unwrap().contains("generated: 8 tokens"));
    }

    #[test]
    fn json_holds_the_generated_tokens_and_their_text() {
        let Some(model) = stories() else { return };
        let output =
            forebay(&["run", model.to_str().unwrap(), "--tokens", "1", "-n", "5", "--json", "-t", "1"]);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["prompt_tokens"], serde_json::json!([1]));
        let ids: Vec<String> = object["tokens"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ids.len(), 5);
        let back =
            forebay(&["tokenize", model.to_str().unwrap(), "--decode", &format!("1,{}", ids.join(","))]);
        let text = String::from_utf8(back.stdout).unwrap();
        assert!(text.contains(object["text"].as_str().unwrap().trim()), "{text}");
    }

    #[test]
    fn tokens_and_contexts_out_of_range_are_told_apart() {
        let Some(model) = stories() else { return };
        let model = model.to_str().unwrap();
        let (code, line) = failure(&["run", model, "--tokens", "1,512"]);
        assert!(code == 2 && line.contains("token id 512"), "{line}");
        let (code, line) = failure(&["run", model, "a long prompt for so little", "--ctx", "4"]);
        assert!(code == 1 && line.contains("do not fit a context of 4"), "{line}");
        let (code, line) = failure(&["run", model, "x", "--ctx", "100000"]);
        assert!(code == 2 && line.contains("at most 512"), "{line}");
        let (code, line) =
            failure(&["logits", model, "--tokens", "1", "--out", "/no-such-folder/l.safetensors"]);
        assert!(code == 1 && line.contains("/no-such-folder/l.safetensors"), "{line}");
    }
}
