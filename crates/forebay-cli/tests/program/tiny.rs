//! A model of random weights that is made here, so that every test runs anywhere: it talks nonsense, by a chat template or without.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

pub(crate) const WIDTH: usize = 8;
pub(crate) const FFN: usize = 12;
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}\
    <think></think>{% endif %}{% endif %}";

/// A folder that goes when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-program-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A model in it that knows how to talk.
    pub(crate) fn model(&self) -> String {
        self.file("chat.gguf", model(true))
    }

    /// A model in it that only continues texts.
    pub(crate) fn plain_model(&self) -> String {
        self.file("plain.gguf", model(false))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The bytes of a GGUF file as they are put together.
#[derive(Default)]
struct File {
    entries: u64,
    metadata: Vec<u8>,
    tensors: u64,
    table: Vec<u8>,
    data: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl File {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.entries += 1;
        self.metadata.extend([&text(key)[..], &kind.to_le_bytes()[..], value].concat());
    }

    fn number(&mut self, key: &str, value: u32) {
        self.entry(&format!("llama.{key}"), 4, &value.to_le_bytes());
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, data: &[u8]) {
        let value = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes(), data].concat();
        self.entry(key, 9, &value);
    }

    fn tensor(&mut self, name: &str, shape: &[usize], seed: &mut u32) {
        self.tensors += 1;
        self.table.extend([&text(name)[..], &(shape.len() as u32).to_le_bytes()].concat());
        shape.iter().for_each(|size| self.table.extend((*size as u64).to_le_bytes()));
        self.table.extend([&0u32.to_le_bytes()[..], &(self.data.len() as u64).to_le_bytes()].concat());
        for _ in 0..shape.iter().product() {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.data.extend(((*seed >> 8) as f32 / (1 << 22) as f32 - 2.0).to_le_bytes());
        }
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    fn bytes(self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend([self.tensors.to_le_bytes(), self.entries.to_le_bytes()].concat());
        file.extend([self.metadata, self.table].concat());
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(self.data);
        file
    }
}

/// Tokens and what each is for: some special ones, what a keyboard has, and all bytes.
fn vocabulary() -> Vec<(String, i32)> {
    let special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"];
    let mut tokens: Vec<(String, i32)> = special.iter().map(|text| ((*text).to_owned(), 3)).collect();
    tokens[0].1 = 2;
    let keys = (0x20u8..0x7f).map(|key| if key == b' ' { '\u{2581}' } else { char::from(key) });
    tokens.extend(keys.map(|key| (key.to_string(), 1)));
    tokens.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 6)));
    tokens
}

fn model(template: bool) -> Vec<u8> {
    let tokens = vocabulary();
    let mut file = File::default();
    file.entry("general.architecture", 8, &text("llama"));
    for (key, value) in [
        ("block_count", 2),
        ("context_length", 256),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", FFN as u32),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 4),
    ] {
        file.number(key, value);
    }
    file.entry("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    file.entry("tokenizer.ggml.model", 8, &text("llama"));
    let texts: Vec<u8> = tokens.iter().flat_map(|(token, _)| text(token)).collect();
    file.list("tokenizer.ggml.tokens", 8, tokens.len(), &texts);
    let scores: Vec<u8> = tokens.iter().flat_map(|_| (-1f32).to_le_bytes()).collect();
    file.list("tokenizer.ggml.scores", 6, tokens.len(), &scores);
    let kinds: Vec<u8> = tokens.iter().flat_map(|(_, kind)| kind.to_le_bytes()).collect();
    file.list("tokenizer.ggml.token_type", 5, tokens.len(), &kinds);
    if template {
        file.entry("tokenizer.chat_template", 8, &text(TEMPLATE));
    }
    let mut seed = 1;
    file.tensor("token_embd.weight", &[WIDTH, tokens.len()], &mut seed);
    file.tensor("output_norm.weight", &[WIDTH], &mut seed);
    for layer in 0..2 {
        for (name, rows, columns) in [
            ("attn_norm", 0, WIDTH),
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH / 2, WIDTH),
            ("attn_v", WIDTH / 2, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_norm", 0, WIDTH),
            ("ffn_gate", FFN, WIDTH),
            ("ffn_up", FFN, WIDTH),
            ("ffn_down", WIDTH, FFN),
        ] {
            let shape = if rows == 0 { vec![columns] } else { vec![columns, rows] };
            file.tensor(&format!("blk.{layer}.{name}.weight"), &shape, &mut seed);
        }
    }
    file.bytes()
}
