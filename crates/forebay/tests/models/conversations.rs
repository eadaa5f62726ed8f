//! Texts that go on where others branched off, on every family: the same logits as if nothing had been there before.

use std::ops::ControlFlow;

use forebay::{
    Engine, EngineOptions,
    generate::{sampler::Greedy, step::Sequence, stop::StopRule, template::Message},
};
use forebay_device::DeviceOptions;
use forebay_tensor::DType;

use crate::fixtures::{distance, folder, ggufs, open};

fn become_text(sequence: &mut Sequence, ids: &[u32]) -> usize {
    sequence.become_text(ids, |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn a_prompt_that_branches_off_gives_the_logits_of_a_text_of_its_own() {
    let Some(root) = folder("models") else { return };
    for family in ["gemma2", "gemma3", "gptoss", "llama", "qwen35", "qwen3next"] {
        let (name, path) = ggufs(&root.join(family)).into_iter().next().unwrap();
        let engine = open(&path, 2, DType::F32);
        let ids = |from: u32, count: u32| (from..from + count).map(|id| 7 + id * 11 % 200);
        let prompt: Vec<u32> = ids(0, 40).collect();
        let mut sequence = engine.sequence().unwrap();
        assert_eq!(become_text(&mut sequence, &prompt), 0);
        sequence.checkpoint().unwrap();
        // What the model said, token by token, and a prompt that keeps none of it.
        for id in ids(40, 12) {
            sequence.feed(&[id]).unwrap();
        }
        let other: Vec<u32> = prompt.iter().copied().chain(ids(90, 9)).collect();
        assert_eq!(become_text(&mut sequence, &other), prompt.len(), "{family} {name}");
        assert_eq!(sequence.tokens(), other);
        let mut alone = engine.sequence().unwrap();
        alone.feed(&other).unwrap();
        let far = distance(&sequence.logits().unwrap(), &alone.logits().unwrap());
        assert!(far < 1e-4, "{family} {name}: {far}");
        // Where there is no way back to, more is computed again, and nothing is wrong.
        let early: Vec<u32> = prompt[..20].iter().copied().chain(ids(120, 5)).collect();
        assert!(become_text(&mut sequence, &early) <= 20);
        let mut alone = engine.sequence().unwrap();
        alone.feed(&early).unwrap();
        let far = distance(&sequence.logits().unwrap(), &alone.logits().unwrap());
        assert!(far < 1e-4, "{family} {name}: {far}");
    }
}

#[test]
fn ten_turns_with_a_chat_model_leave_what_their_text_alone_would() {
    let Some(path) = std::env::var_os("FOREBAY_SMOLLM2") else {
        println!("left out: FOREBAY_SMOLLM2 is not set");
        return;
    };
    let options = EngineOptions::default().device(DeviceOptions::cpu().threads(2)).context(512);
    let engine = Engine::open_with(path, &options).unwrap();
    let chat = engine.chat().unwrap().unwrap();
    let mut sequence = engine.sequence().unwrap();
    let mut messages = vec![Message::new("system", "Be brief.")];
    let mut prompt = Vec::new();
    for turn in 1..=10 {
        messages.push(Message::new("user", format!("Say {turn}.")));
        prompt = chat.tokens(&messages).unwrap();
        let known = sequence.len();
        let mut reply = engine
            .generate_in(&mut sequence, &prompt, StopRule::after(3), Box::new(Greedy), &mut |_| {})
            .unwrap();
        // All but the end of the last reply is known, which the template may write in other tokens.
        assert!(reply.timings().reused_tokens + 4 >= known, "turn {turn}: {:?}, {known}", reply.timings());
        let text: String = reply.by_ref().map(|piece| piece.unwrap().text).collect();
        assert!(!text.is_empty());
        messages.push(Message::new("assistant", text));
    }
    assert_eq!(become_text(&mut sequence, &prompt), prompt.len() - 1);
    let mut alone = engine.sequence().unwrap();
    alone.feed(&prompt).unwrap();
    let far = distance(&sequence.logits().unwrap(), &alone.logits().unwrap());
    assert!(far < 1e-4, "{far}");
}
