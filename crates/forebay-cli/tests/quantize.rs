//! `forebay quantize` as a user meets it, on a file made here: what comes out, exit codes, and what is left behind.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    use forebay::formats::gguf::{Gguf, GgufWriter, Planned, Value};
    use forebay_tensor::DType;

    fn folder(test: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("forebay-cli-quantize-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// A model of one matrix of floats.
    fn write_model(path: &Path) {
        let planned = Planned { name: "output.weight".to_owned(), dtype: DType::F32, shape: vec![4, 256] };
        let family = Value::from("llama");
        let mut writer = GgufWriter::create(path, [("general.architecture", &family)], &[planned]).unwrap();
        for n in 0..1024 {
            writer.bytes(&(n as f32 * 0.37).sin().to_le_bytes()).unwrap();
        }
        writer.finish().unwrap();
    }

    /// Exit code, and what was said on standard error; nothing may be on standard output.
    fn quantize(dir: &Path, arguments: &[&str]) -> (i32, String) {
        let program = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .current_dir(dir)
            .arg("quantize")
            .args(arguments)
            .output()
            .unwrap();
        assert!(program.stdout.is_empty());
        (program.status.code().unwrap(), String::from_utf8(program.stderr).unwrap())
    }

    #[test]
    fn a_file_becomes_smaller_and_says_by_how_much() {
        let dir = folder("smaller");
        write_model(&dir.join("in.gguf"));
        let (code, said) = quantize(&dir, &["in.gguf", "out.gguf", "--type", "Q8_0", "-t", "2"]);
        assert_eq!((code, said.lines().count()), (0, 1), "{said}");
        assert!(said.starts_with("out.gguf: 0.0 MiB of tensors instead of 0.0, 1 changed"), "{said}");
        let bytes = fs::read(dir.join("out.gguf")).unwrap();
        let file = Gguf::parse("out.gguf", &bytes).unwrap();
        assert_eq!(file.tensor("output.weight").unwrap().dtype().unwrap(), DType::Q8_0);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_cannot_be_done_is_one_line_and_leaves_nothing() {
        let dir = folder("refused");
        write_model(&dir.join("in.gguf"));
        for (arguments, code, words) in [
            (&["in.gguf", "in.gguf", "--type", "q8_0"][..], 2, "another file than the input"),
            (&["in.gguf", "out.gguf", "--type", "q9"], 2, "q4_k_m"),
            (&["in.gguf", "out.gguf"], 2, "--type"),
            (&["none.gguf", "out.gguf", "--type", "q8_0"], 1, "none.gguf"),
            (&["in.gguf", "no/such/out.gguf", "--type", "q8_0"], 1, "no/such/out.gguf"),
            (&["in.gguf", "out.gguf", "--type", "q8_0", "--imatrix", "in.gguf"], 1, "imatrix"),
        ] {
            let (found, said) = quantize(&dir, arguments);
            assert!(found == code && said.contains(words), "{arguments:?}: {found}, {said}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }
}
