//! `forebay run`, and `forebay tokenize` beside it.

use serde_json::{Value, json};

use crate::{
    program::{failed, failure, forebay, forebay_reads, json as object, stories, success},
    tiny::Folder,
};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn what_is_no_model_is_a_failure_and_what_cannot_be_asked_is_wrong_use() {
    let (code, line) = failure(&["run", "no-such-file.gguf", "x"]);
    assert!(code == 1 && line.contains("no-such-file.gguf"), "{line}");
    let (code, line) = failure(&["run", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "x"]);
    assert!(code == 1 && line.contains("a GGUF file starts with"), "{line}");
    for model in ["m.gguf", "./m", "some/folder", "/none/model"] {
        let (code, line) = failure(&["run", model]);
        assert!(code == 1 && line.contains(model), "{line}");
    }
    let model = Folder::new();
    let model = model.model();
    for wrong in [
        &["run", &model, "x", "--tokens", "1"][..],
        &["run", &model, "x", "--greedy", "--temp", "1"],
        &["run", &model, "x", "--raw", "--system", "y"],
        &["run", &model, "x", "--think", "maybe"],
        &["run", &model, "x", "--dry-base", "2"],
        &["run", &model, "x", "--logit-bias", "7"],
        &["run", &model, "x", "--device", "tpu"],
        &["run", &model, "x", "--file", "y"],
        &["swim"],
        &[],
    ] {
        assert_eq!(forebay(wrong).status.code(), Some(2), "{wrong:?}");
    }
    for (flag, value, named) in [
        ("--threads", "0", "threads"),
        ("--temp", "NaN", "temperature"),
        ("--temp", "-1", "temperature"),
        ("--top-p", "1.5", "top_p"),
        ("--repeat-penalty", "0", "repetition_penalty"),
        ("--logit-bias", "4000=1", "token id 4000"),
        ("--ctx", "100000", "at most 256"),
        ("--gpu-layers", "3", "at most 2"),
    ] {
        let (code, line) = failure(&["run", &model, "x", flag, value]);
        assert!(code == 2 && line.contains(named), "{flag} {value}: {line}");
    }
}

#[test]
fn layers_on_two_devices_say_the_same() {
    let folder = Folder::new();
    let model = folder.model();
    let told = |more: &[&str]| {
        object(forebay(
            &[&["run", &model, "x", "-n", "12", "--seed", "5", "--ignore-eos", "--json"], more].concat(),
        ))
    };
    let wanted = ids(&told(&[])["tokens"]);
    assert_eq!(wanted.len(), 12);
    for layers in ["0", "1", "2"] {
        assert_eq!(ids(&told(&["--gpu-layers", layers])["tokens"]), wanted, "{layers}");
    }
}

#[test]
fn text_goes_to_standard_output_and_rates_to_standard_error() {
    let Some(model) = stories() else { return };
    let model = model.to_str().unwrap();
    let output = forebay(&["run", model, "Once upon a time", "--greedy", "-n", "8", "-t", "1"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Once upon a time, there was a little girl\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("generated: 8 tokens"));
    let stopped =
        forebay(&["run", model, "Once upon a time", "--greedy", "-n", "50", "-t", "1", "--stop", " little"]);
    assert_eq!(success(stopped), "Once upon a time, there was a\n");
}

#[test]
fn json_holds_the_generated_tokens_and_their_text() {
    let folder = Folder::new();
    let model = folder.model();
    let flags = ["run", &model, "--tokens", "1,40,50", "-n", "9", "--ignore-eos", "--seed", "3", "--json"];
    let got = object(forebay(&flags));
    let mut keys: Vec<&String> = got.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["prompt_tokens", "text", "timings", "tokens"]);
    assert_eq!(got["prompt_tokens"], json!([1, 40, 50]));
    let tokens = ids(&got["tokens"]);
    assert_eq!(tokens.len(), 9);
    let list: Vec<String> = [1, 40, 50].iter().chain(&tokens).map(u32::to_string).collect();
    let back = success(forebay(&["tokenize", &model, "--decode", &list.join(",")]));
    assert!(back.trim_end_matches('\n').ends_with(got["text"].as_str().unwrap()), "{back}");
    // The same seed gives the same tokens, on any number of threads; another one others.
    for (threads, seed, same) in [("1", "3", true), ("2", "3", true), ("1", "4", false)] {
        let mut flags = flags.to_vec();
        flags[8] = seed;
        flags.extend(["-t", threads]);
        assert_eq!(ids(&object(forebay(&flags))["tokens"]) == tokens, same, "{threads} threads, seed {seed}");
    }
}

#[test]
fn a_chat_model_gets_its_template_unless_it_is_told_not_to() {
    let folder = Folder::new();
    let model = folder.model();
    let prompt = |flags: &[&str]| {
        let got = object(forebay(&[&["run", &model, "Hi", "-n", "1", "--json"], flags].concat()));
        let list: Vec<String> = ids(&got["prompt_tokens"]).iter().map(u32::to_string).collect();
        let text = success(forebay(&["tokenize", &model, "--decode", &list.join(","), "--no-special"]));
        // This kind of vocabulary puts a space behind a special token.
        text.replace(' ', "") + "|" + &list[0]
    };
    assert_eq!(prompt(&[]), "user\nHi\nassistant\n\n|3");
    assert_eq!(prompt(&["--system", "Short."]), "system\nShort.\nuser\nHi\nassistant\n\n|3");
    assert_eq!(prompt(&["--think", "off"]), "user\nHi\nassistant\n<think></think>\n|3");
    assert_eq!(prompt(&["--think", "on"]), prompt(&[]));
    assert_eq!(prompt(&["--raw"]), "Hi\n|1");
    let output = forebay(&["run", &model, "Hi", "-n", "4", "--greedy", "--ignore-eos"]);
    assert!(!success(output).contains("Hi"), "the prompt of a template is not the user's text");
    let plain = folder.plain_model();
    assert!(
        success(forebay(&["run", &plain, "Hi", "-n", "4", "--greedy", "--ignore-eos"])).starts_with("Hi")
    );
    let (code, line) = failure(&["run", &plain, "Hi", "--system", "Short."]);
    assert!(code == 2 && line.contains("no chat template"), "{line}");
}

#[test]
fn prompts_come_from_files_and_standard_input_too() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let file = folder.file("prompt.txt", "A few words\n");
    let rest = ["-n", "5", "--greedy", "--ignore-eos"];
    let wanted = success(forebay(&[&["run", &model, "A few words"][..], &rest].concat()));
    assert_eq!(success(forebay(&[&["run", &model, "--file", &file][..], &rest].concat())), wanted);
    for arguments in [&["run", &model][..], &["run", &model, "-"], &["run", &model, "--file", "-"]] {
        assert_eq!(
            success(forebay_reads("A few words\n", &[arguments, &rest].concat())),
            wanted,
            "{arguments:?}"
        );
    }
    let (code, line) = failed(forebay_reads("", &["run", &model]));
    assert!(code == 2 && line.contains("no prompt"), "{line}");
    let (code, line) = failed(forebay_reads(b"\xff\xfe", &["run", &model]));
    assert!(code == 1 && line.contains("UTF-8"), "{line}");
    let (code, line) = failure(&["run", &model, "--file", "/no/such/file"]);
    assert!(code == 1 && line.contains("/no/such/file"), "{line}");
}

#[test]
fn tokens_and_contexts_out_of_range_are_told_apart() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let (code, line) = failure(&["run", &model, "--tokens", "1,4000"]);
    assert!(code == 2 && line.contains("token id 4000"), "{line}");
    let (code, line) = failure(&["run", &model, "a long prompt for so little", "--ctx", "4"]);
    assert!(code == 1 && line.contains("do not fit a context of 4"), "{line}");
    let output = forebay(&["run", &model, "words", "--ctx", "20", "--ignore-eos", "--greedy"]);
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        output.status.success() && told.contains("the context of 20 tokens is full, --ctx gives up to 256"),
        "{told}"
    );
    let (code, line) =
        failure(&["logits", &model, "--tokens", "1", "--out", "/no-such-folder/l.safetensors"]);
    assert!(code == 1 && line.contains("/no-such-folder/l.safetensors"), "{line}");
}

#[test]
fn kernels_are_explained_on_standard_error() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let output = forebay(&["run", &model, "x", "-n", "1", "--greedy", "--explain"]);
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(success(output).starts_with('x'));
    let line = told.lines().find(|line| line.starts_with("attention")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2..], ["2", "2"], "{line}");
}

#[test]
fn a_schema_keeps_the_form() {
    let folder = Folder::new();
    let model = folder.model();
    let schema = r#"{"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}, "age": {"type": "integer",
        "minimum": 0, "maximum": 99}}, "required": ["kind", "age"], "additionalProperties": false}"#;
    let schema = folder.file("schema.json", schema);
    for seed in ["1", "2", "3"] {
        let text =
            success(forebay(&["run", &model, "A pet", "--schema", &schema, "--seed", seed, "-n", "200"]));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["kind"] == "cat" || value["kind"] == "dog", "{text}");
        assert!(value["age"].as_u64().unwrap() < 100 && value.as_object().unwrap().len() == 2, "{text}");
    }
    let wrong = folder.file("wrong.json", "{\"type\": 5}");
    let (code, line) = failure(&["run", &model, "x", "--schema", &wrong]);
    assert!(code == 1 && line.contains("wrong.json: the grammar cannot be followed"), "{line}");
    let (code, line) = failure(&["run", &model, "x", "--schema", "/no/such.json"]);
    assert!(code == 1 && line.contains("/no/such.json"), "{line}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_text_and_keeps_it() {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };
    let folder = Folder::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["run", &folder.plain_model(), "Words", "--ignore-eos", "--seed", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The prompt is printed once Ctrl-C is listened to.
    let mut begun = [0; 5];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut begun).unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    // A text of 250 tokens may end before the signal comes.
    assert!(matches!(output.status.code(), Some(130 | 0)), "{told}");
    assert!(text.ends_with('\n') && told.contains("generated: "), "{told}");
    assert_eq!(output.status.code() == Some(130), told.contains("ended by Ctrl-C"), "{told}");
}

#[test]
fn a_prompt_without_a_model_is_continued_by_the_demo() {
    let run = |prompt: &str, more: &[&str]| {
        let arguments = [&["run", prompt, "-n", "24", "-t", "1"][..], more].concat();
        success(forebay(&arguments))
    };
    let text = run("ROMEO:", &["--seed", "1"]);
    assert!(text.starts_with("ROMEO:\n") && text.len() > 40, "{text}");
    assert_eq!(run("ROMEO:", &["--seed", "1"]), text);
    assert_ne!(run("ROMEO:", &["--seed", "2"]), text);
    // What it was trained on: a speaker's name stands alone on its line, behind an empty one.
    let play = success(forebay(&["run", "JULIET:\n", "--greedy", "-n", "200", "-t", "1"]));
    assert!(play.contains("\n\n") && play.lines().filter(|line| line.ends_with(':')).count() > 1, "{play}");
}

#[test]
fn a_grammar_keeps_the_form_too() {
    let folder = Folder::new();
    let model = folder.plain_model();
    let grammar = folder.file("g.lark", "start: (\"yes\" | \"no\") \"!\"{1,3}\n");
    let other = folder.file("g.txt", "# as llama.cpp has it\nroot ::= (\"yes\" | \"no\") [!]{1,3}\n");
    for (seed, grammar) in [("1", &grammar), ("2", &grammar), ("3", &other), ("4", &other)] {
        let text = success(forebay(&["run", &model, "x", "--grammar", grammar, "--seed", seed, "-n", "20"]));
        let said = text.trim_start_matches('x').trim();
        let word = said.trim_end_matches('!');
        assert!(matches!(word, "yes" | "no") && (1..=3).contains(&(said.len() - word.len())), "{text:?}");
    }
    let wrong = folder.file("wrong.lark", "start: [");
    let (code, line) = failure(&["run", &model, "x", "--grammar", &wrong]);
    assert!(code == 1 && line.contains("wrong.lark") && line.contains("grammar"), "{line}");
    let wrong = folder.file("wrong.gbnf", "root ::= [a-z\n");
    let (code, line) = failure(&["run", &model, "x", "--grammar", &wrong]);
    assert!(code == 1 && line.contains("wrong.gbnf") && line.contains("line 2, column 1: "), "{line}");
    let both = ["run", &model, "x", "--grammar", &grammar, "--schema", &grammar];
    assert_eq!(forebay(&both).status.code(), Some(2));
}
