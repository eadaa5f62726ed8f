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
            (&["in.gguf", "out", "--type", "mlx7"], 2, "mlx and 2, 3, 4, 5, 6 or 8 bits"),
            (&["in.gguf", "out", "--type", "mlx4"], 1, "llama.block_count"),
            (&["in.gguf", "out", "--type", "mlx4", "--pure"], 2, "--pure"),
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

    /// A model whose only matrix takes a while.
    fn write_large(path: &Path) {
        let planned =
            Planned { name: "output.weight".to_owned(), dtype: DType::F32, shape: vec![16384, 512] };
        let family = Value::from("llama");
        let mut writer = GgufWriter::create(path, [("general.architecture", &family)], &[planned]).unwrap();
        let row: Vec<u8> = (0..512).flat_map(|n| (n as f32 * 0.37).sin().to_le_bytes()).collect();
        (0..16384).for_each(|_| writer.bytes(&row).unwrap());
        writer.finish().unwrap();
    }

    #[test]
    fn ctrl_c_leaves_nothing_behind() {
        let dir = folder("interrupted");
        write_large(&dir.join("in.gguf"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .current_dir(&dir)
            .args(["quantize", "in.gguf", "out.gguf", "--type", "iq3_s", "-t", "1"])
            .spawn()
            .unwrap();
        while !dir.join("out.gguf.part").exists() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_disk_that_is_full_leaves_nothing_behind() {
        let dir = folder("full");
        write_large(&dir.join("in.gguf"));
        // The shell bounds the size of files, and what writes past it is told so.
        let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" quantize in.gguf out.gguf --type q8_0";
        let told =
            Command::new("sh").current_dir(&dir).args(["-c", script, env!("CARGO_BIN_EXE_forebay")]).output();
        let told = told.unwrap();
        let said = String::from_utf8(told.stderr).unwrap();
        assert!(told.status.code() == Some(1) && said.contains("cannot write out.gguf"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }
}
