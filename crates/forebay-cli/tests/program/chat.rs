//! `forebay chat` on a pipe: a message a line, the replies and nothing else on standard output.

use crate::{
    program::{failed, forebay_reads, success},
    tiny::Folder,
};

#[test]
fn each_line_gets_a_reply_that_knows_what_was_said() {
    let folder = Folder::new();
    let (model, saved) = (folder.model(), folder.path().join("talk.json"));
    let flags = ["chat", &model, "-n", "6", "--greedy", "--system", "Short.", "--think", "off"];
    let input = format!("Hello\nAnd?\n/save {}\n/stats\n", saved.display());
    let output = forebay_reads(input, &flags);
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    let text = success(output);
    assert!(told.contains("4 messages, "), "{told}");
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    let messages = kept["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    let content = |at: usize| messages[at]["content"].as_str().unwrap();
    assert_eq!((content(0), content(1), content(3)), ("Short.", "Hello", "And?"));
    assert_eq!(text, format!("{}\n{}\n", content(2), content(4)));
    // The second reply is what the whole conversation leads to, not what its last message alone does.
    let anew = success(forebay_reads("Hello\n/clear\nAnd?\n", &flags));
    assert!(anew.starts_with(&format!("{}\n", content(2))));
    let alone = success(forebay_reads("And?\n", &flags));
    assert_eq!(anew, format!("{}\n{alone}", content(2)));
}

#[test]
fn what_cannot_be_said_ends_a_pipe_and_says_why() {
    let folder = Folder::new();
    let (code, line) = failed(forebay_reads("Hello\n", &["chat", &folder.plain_model()]));
    assert!(code == 1 && line.contains("no chat template"), "{line}");
    let long = "words ".repeat(60);
    let (code, line) = failed(forebay_reads(&long, &["chat", &folder.model(), "--ctx", "64"]));
    assert!(code == 1 && line.contains("do not fit a context of 64"), "{line}");
    let (code, line) = failed(forebay_reads("/save\n", &["chat", &folder.model()]));
    assert!(code == 2 && line.contains("/save"), "{line}");
    assert_eq!(success(forebay_reads("\n/exit\nnever\n", &["chat", &folder.model()])), "");
}
