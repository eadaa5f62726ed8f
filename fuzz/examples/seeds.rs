//! Writes seeds for the targets that read files into `corpus`, in the current folder: small files of every kind, made by
//! forebay or written here. The other targets make their input of any bytes, and need none.

use std::{error::Error, fs, path::Path};

use forebay::formats::{
    gguf::{GgufWriter, Planned, Value},
    write::{self, NamedTensor},
};
use forebay_device::{
    Device, DeviceOptions, TraceOptions,
    history::{Format, Log},
};
use forebay_tensor::DType;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Chat templates in the ways of several families.
const TEMPLATES: [&str; 6] = [
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}\
     {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
     {{ raise_exception('Roles must alternate') }}{% endif %}{{ m['content'] | trim }}{% endfor %}",
    "{%- set ns = namespace(seen=false, n=0) %}{%- for m in messages[::-1] %}{%- set ns.n = ns.n + 1 %}{{- ns.n }}\
     {%- endfor %}{{ messages | tojson(indent=2) }}{{ strftime_now('%d %b %Y') }}",
    "{% macro one(x, deep=1) %}{% if deep < 4 %}[{{ one(x, deep + 1) }}]{% else %}{{ x }}{% endif %}{% endmacro %}\
     {{ one(messages[0].content) }}",
    "{% if tools is defined and tools %}{{ tools | length }}{% endif %}{{ messages[0].content.split('a')[-1].lstrip('\n') }}",
    "{% for i in range(3) %}{{ '%s' % i }}{{ loop.previtem if not loop.first }}{% endfor %}{{ 'a' * 10 | upper }}",
];

/// Tokenizers of every kind, each with a text.
const TOKENIZERS: [&str; 4] = [
    r#"{"added_tokens":[{"id":2,"content":"</s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,
       "normalized":false}],"normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"Whitespace"},
       "post_processor":null,"decoder":null,
       "model":{"type":"WordLevel","vocab":{"a":0,"b":1,"</s>":2},"unk_token":"a"}}"#,
    r#"{"added_tokens":[],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split",
       "pattern":{"Regex":"\\p{L}+|\\p{N}{1,3}|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel",
       "add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},"post_processor":{"type":"ByteLevel",
       "add_prefix_space":false,"trim_offsets":true,"use_regex":false},"decoder":{"type":"ByteLevel",
       "add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE","dropout":null,
       "unk_token":null,"continuing_subword_prefix":"","end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,
       "vocab":{"a":0,"b":1,"\u0120":2,"ab":3},"merges":["a b"]}}"#,
    r###"{"added_tokens":[],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
       "strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":
       {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A",
       "type_id":0}}],"pair":[],"special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]}}},"decoder":
       {"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]",
       "continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[UNK]":0,"[CLS]":1,"a":2,"##b":3}}}"###,
    r#"{"added_tokens":[],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace",
       "pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,"post_processor":null,"decoder":{"type":"Sequence",
       "decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
       {"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"type":"Unigram","unk_id":0,
       "vocab":[["<unk>",0.0],["▁",-1.0],["a",-2.0],["<0x0A>",-3.0]],"byte_fallback":true}}"#,
];

fn main() -> Result<()> {
    let corpus = Path::new("corpus");
    for target in ["gguf", "safetensors", "template", "tokenizer_json", "history"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    gguf(&corpus.join("gguf"))?;
    safetensors(&corpus.join("safetensors"))?;
    for (i, template) in TEMPLATES.iter().enumerate() {
        let input = [template, "system", "be brief", "user", "abc", "assistant", " d "].join("\0");
        fs::write(corpus.join(format!("template/seed-{i}")), input)?;
    }
    for (i, tokenizer) in TOKENIZERS.iter().enumerate() {
        let config = r#"{"bos_token":{"content":"[CLS]"},"eos_token":"</s>"}"#;
        let input = [tokenizer, config, r#"{"eos_token_id":[2,1]}"#, "{}", "a b ab</s> [CLS]\n"].join("\0");
        fs::write(corpus.join(format!("tokenizer_json/seed-{i}")), input)?;
    }
    history(&corpus.join("history"))
}

/// A file with tensors of many types, and one with metadata of many.
fn gguf(folder: &Path) -> Result<()> {
    let types = [DType::F32, DType::BF16, DType::Q4_0, DType::Q6_K, DType::IQ2_S, DType::MXFP4];
    let plan =
        |dtype: DType| Planned { name: dtype.to_string(), dtype, shape: vec![2, dtype.block_elements()] };
    let plans = types.map(plan);
    let name = Value::String(b"seed".as_slice().into());
    let entries =
        [("general.name", &name), ("general.alignment", &Value::U32(32)), ("split.count", &Value::U16(2))];
    let mut writer = GgufWriter::create(folder.join("seed-tensors"), entries, &plans)?;
    for dtype in types {
        writer.bytes(&vec![7; 2 * dtype.block_bytes()])?;
    }
    writer.finish()?;

    let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = [&b"GGUF\x03\0\0\0"[..], &[0; 8]].concat();
    let list = [&8u32.to_le_bytes()[..], &2u64.to_le_bytes(), &string("a"), &string("bc")].concat();
    let lists = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &list].concat();
    let entries =
        [(9u32, list), (9, lists), (6, vec![0; 4]), (10, vec![1; 8]), (7, vec![1]), (12, vec![2; 8])];
    file.extend((entries.len() as u64).to_le_bytes());
    for (i, (kind, value)) in entries.iter().enumerate() {
        file.extend([&string(&format!("key.{i}"))[..], &kind.to_le_bytes(), value].concat());
    }
    Ok(fs::write(folder.join("seed-metadata"), file)?)
}

/// The header of a file with a matrix as MLX has it, its index and its configuration.
fn safetensors(folder: &Path) -> Result<()> {
    let path = folder.join("seed");
    let tensor = |name, dtype, shape| NamedTensor { name, dtype, shape, bytes: &[0; 64] };
    let tensors = [
        tensor("model.a.weight", DType::U32, &[2, 8]),
        tensor("model.a.scales", DType::F32, &[2, 8]),
        tensor("model.a.biases", DType::BF16, &[2, 16]),
    ];
    write::safetensors(&path, &tensors)?;
    let file = fs::read(&path)?;
    let header = file[8..].strip_suffix(&[0; 192]).ok_or("the data is at the end")?;
    let index = br#"{"metadata":{},"weight_map":{"model.a.weight":"model.safetensors"}}"#;
    let config = br#"{"quantization":{"group_size":64,"bits":4,"model.a":{"group_size":32,"bits":8}}}"#;
    Ok(fs::write(path, [header, index, config, &[192]].join(&0))?)
}

/// A trace, and what it is exported to.
fn history(folder: &Path) -> Result<()> {
    let device = Device::open(&DeviceOptions::null().memory_limit(8 << 20).trace(TraceOptions::ring(1000)))?;
    let held = device.alloc(5000)?;
    drop(device.alloc(300)?);
    assert!(device.alloc(16 << 20).is_err());
    drop(held);
    let mut trace = Vec::new();
    device.trace().ok_or("no trace was asked for")?.write(&mut trace)?;
    for format in Format::ALL {
        let mut out = Vec::new();
        format.write(&mut Log::new(std::io::Cursor::new(trace.clone()), "trace")?, &mut out, "out")?;
        fs::write(folder.join(format!("seed-{}", format.name())), out)?;
    }
    Ok(fs::write(folder.join("seed-trace"), trace)?)
}
