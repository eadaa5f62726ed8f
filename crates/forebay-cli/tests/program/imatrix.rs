//! `forebay imatrix`: the file that comes out, what is said, and that nothing is left behind when something is wrong.

use std::fs;

use forebay::{formats::gguf::Gguf, quantize::Importance};

use crate::{
    program::{failure, forebay, json, success},
    tiny::Folder,
};

#[test]
fn a_text_makes_a_file_that_quantize_reads() {
    let folder = Folder::new();
    let (model, out) = (folder.plain_model(), folder.path().join("i.gguf"));
    let out = out.to_str().unwrap();
    // With the token that begins texts, 157 tokens.
    let text = folder.file("t.txt", "It was the best of times, it was the worst of times.".repeat(3));
    let flags = ["imatrix", &model, "--file", &text, "--out", out, "--ctx", "40", "--json"];
    let told = json(forebay(&flags));
    assert_eq!((told["pieces"].as_u64(), told["tokens"].as_u64()), (Some(3), Some(120)), "{told}");
    assert!(told["matrices"] == 14 && told["asked_experts"].is_null(), "{told}");

    let bytes = fs::read(out).unwrap();
    let file = Gguf::parse(out, &bytes).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.get::<&str>("general.type").unwrap(), "imatrix");
    assert_eq!(metadata.get::<u32>("imatrix.chunk_count").unwrap(), 3);
    assert_eq!(metadata.get::<u32>("imatrix.chunk_size").unwrap(), 40);
    let of = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        let range = tensor.range().start as usize..tensor.range().end as usize;
        let floats = bytes[range].chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap()));
        (tensor.shape().to_vec(), floats.collect::<Vec<f32>>())
    };
    assert_eq!(of("blk.1.ffn_down.weight.counts"), (vec![1], vec![120.0]));
    let (shape, sums) = of("blk.1.ffn_down.weight.in_sum2");
    assert!(shape == [12] && sums.iter().all(|sum| *sum > 0.0), "{sums:?}");
    assert_eq!(Importance::open(out).unwrap().len(), 14);

    // The first piece alone saw less, and the output only if it is asked for.
    let first = ["--chunks", "1", "--process-output"];
    let told = json(forebay(&[&flags[..], &first].concat()));
    assert!(told["tokens"] == 40 && told["matrices"] == 15, "{told}");
    let small = folder.path().join("small.gguf");
    success(forebay(&["quantize", &model, small.to_str().unwrap(), "--type", "q8_0", "--imatrix", out]));
}

#[test]
fn what_cannot_be_is_one_line_and_leaves_no_file() {
    let folder = Folder::new();
    let (model, out) = (folder.plain_model(), folder.path().join("i.gguf"));
    let text = folder.file("t.txt", "It was the best of times.");
    let flags = ["imatrix", &model, "--out", out.to_str().unwrap(), "--file"];
    for (more, wanted, words) in [
        (&[&text[..]][..], 1, "give a longer text, or a smaller --ctx"),
        (&["none.txt"], 1, "none.txt"),
        (&[&text, "--ctx", "4", "--chunks", "0"], 2, "nothing to look at"),
        (&[&text, "--ctx", "4", "--out", "no/such/i.gguf"], 1, "no/such/i.gguf"),
    ] {
        let given =
            if more.contains(&"--out") { [&flags[..2], &["--file"]].concat() } else { flags.to_vec() };
        let (code, line) = failure(&[&given[..], more].concat());
        assert!(code == wanted && line.contains(words), "{more:?}: {code}, {line}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
