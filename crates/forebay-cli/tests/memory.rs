//! `forebay memory` as a user meets it, on traces made here: what comes out, exit codes, and one clear line for what
//! went wrong.
//!
//! The cases with a model find it through FOREBAY_FIXTURES, and are left out without.

#![allow(clippy::print_stdout, reason = "says what is left out")]

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        path::{Path, PathBuf},
        process::{Command, Output, Stdio},
    };

    use forebay_device::{Device, DeviceOptions, PoolOptions, Request, Tag, TraceOptions};
    use serde_json::Value;

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn of(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("forebay-memory-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn at(&self, name: &str) -> String {
            self.0.join(name).to_str().unwrap().to_owned()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn forebay(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_forebay")).args(arguments).output().unwrap()
    }

    fn stdout(arguments: &[&str]) -> String {
        let output = forebay(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(arguments: &[&str]) -> Value {
        serde_json::from_str(&stdout(arguments)).unwrap()
    }

    /// The exit code and the one line on standard error; standard output must be empty.
    fn failure(arguments: &[&str]) -> (i32, String) {
        let output = forebay(arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        (output.status.code().unwrap(), line)
    }

    fn stories() -> Option<String> {
        let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
            println!("left out: FOREBAY_FIXTURES is not set");
            return None;
        };
        let path = PathBuf::from(root).join("stories260K/gguf/stories260K.F16.gguf");
        Some(path.to_str().unwrap().to_owned())
    }

    /// A device that runs out of memory in the end.
    fn trace(path: &str) {
        let pool = PoolOptions::default().patience(std::time::Duration::ZERO);
        let options = DeviceOptions::null().memory_limit(32 << 20).pool(pool).trace(TraceOptions::file(path));
        let device = Device::open(&options).unwrap();
        let weights = Request::new(9 << 20).tag(Tag::Weights).label("blk.0.weights");
        let _weights = device.alloc(weights).unwrap();
        let mut held = Vec::new();
        for i in 0..400u64 {
            let request = Request::new(1000 + i * 977).tag(Tag::Activations).label(format!("step {i}"));
            held.push(device.alloc(request).unwrap());
            if i % 3 != 0 || held.len() > 30 {
                held.swap_remove(i as usize % held.len());
            }
        }
        let refused = Request::new(30 << 20).tag(Tag::Kv).label("the cache");
        assert!(device.alloc(refused).is_err());
    }

    #[test]
    fn a_replay_is_a_table_or_json_and_its_limits_hold() {
        let folder = Folder::of("replay");
        let path = folder.at("a.trace");
        trace(&path);
        let table = stdout(&["memory", "replay", &path]);
        assert!(table.starts_with("401 requests, at most "), "{table}");
        for policy in ["ours", "exact", "expandable", "pytorch", "pow2"] {
            assert!(table.lines().any(|line| line.starts_with(policy)), "{table}");
        }
        let all = json(&["memory", "replay", &path, "--json"]);
        let rows = all["policies"].as_array().unwrap();
        assert_eq!(rows.len(), 5);
        for row in rows {
            let over = row["over_live"].as_f64().unwrap();
            let (cheapest, peak) =
                (row["cheapest_limit"].as_u64().unwrap(), row["peak_reserved"].as_u64().unwrap());
            assert!((1.0..10.0).contains(&over) && cheapest <= peak && row["refused"].is_null(), "{row}");
            let limits = [(cheapest, true), (9 << 20, false)];
            for (limit, serves) in limits {
                let policy = row["policy"].as_str().unwrap();
                let args = ["--policy", policy, "--json", "--limit", &limit.to_string(), "--no-cheapest"];
                let again = json(&[&["memory", "replay", &path][..], &args].concat());
                assert_eq!(again["policies"][0]["refused"].is_null(), serves, "{policy} under {limit}");
            }
        }
    }

    #[test]
    fn an_explanation_is_prose_or_json() {
        let folder = Folder::of("explain");
        let path = folder.at("a.trace");
        trace(&path);
        let prose = stdout(&["memory", "explain", &path]);
        for part in ["A request was refused", "\"the cache\"", "blk.0.weights", "Largest hole", "What to do"]
        {
            assert!(prose.contains(part), "{part} is missing in\n{prose}");
        }
        let told = json(&["memory", "explain", &path, "--json"]);
        assert_eq!(told["refused"]["asked"], 30 << 20);
        assert_eq!(told["limit"], 32 << 20);
        let tags = told["by_tag"].as_array().unwrap();
        assert!(tags.iter().any(|tag| tag["tag"] == "weights" && tag["bytes"] == 9 << 20), "{told}");
        let before = json(&["memory", "explain", &path, "--json", "--at", "3"]);
        assert!(before["refused"].is_null() && before["event"] == 3, "{before}");
    }

    #[test]
    fn exports_are_read_by_what_they_are_for_and_by_us() {
        let folder = Folder::of("export");
        let path = folder.at("a.trace");
        trace(&path);
        let whole = json(&["memory", "replay", &path, "--json", "--no-cheapest", "--policy", "exact"]);
        for format in ["pytorch", "rmm"] {
            let out = folder.at(format);
            stdout(&["memory", "export", &path, "--format", format, "--out", &out]);
            let back = json(&["memory", "replay", &out, "--json", "--no-cheapest", "--policy", "exact"]);
            for key in ["requests", "peak_live"] {
                assert_eq!(back[key], whole[key], "{format}");
            }
            assert_eq!(back["policies"][0]["peak_reserved"], whole["policies"][0]["peak_reserved"]);
            stdout(&["memory", "explain", &out]);
        }
        let told = json(&["memory", "export", &path, "--format", "perfetto", "--out", "-"]);
        let events = told["traceEvents"].as_array().unwrap();
        let peak = events
            .iter()
            .filter(|event| event["name"] == "live")
            .map(|event| event["args"]["bytes"].as_u64());
        assert!(peak.max().flatten().unwrap() > 9 << 20);
        let refusals = events.iter().filter(|event| event["ph"] == "i" && event["s"] == "g");
        assert_eq!(refusals.count(), 1);
    }

    #[test]
    fn a_plot_is_one_page_that_needs_nothing_else() {
        let folder = Folder::of("plot");
        let (path, out) = (folder.at("a.trace"), folder.at("a.html"));
        trace(&path);
        stdout(&["memory", "plot", &path, "--out", &out, "--title", "a <run>"]);
        let page = fs::read_to_string(&out).unwrap();
        assert!(page.starts_with("<!doctype html>") && page.contains("<title>a &lt;run&gt;"));
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("http:"));
        assert_eq!(stdout(&["memory", "plot", &path, "--out", "-", "--title", "a <run>"]), page);
        let (code, line) = failure(&["memory", "plot", &path, "--out", "/no-such-folder/a.html"]);
        assert!(code == 1 && line.contains("cannot write /no-such-folder/a.html"), "{line}");
    }

    #[test]
    fn what_is_no_trace_or_not_whole_is_one_line_and_leaves_no_file() {
        let folder = Folder::of("damage");
        let (whole, cut, out) = (folder.at("whole"), folder.at("cut"), folder.at("out"));
        trace(&whole);
        let bytes = fs::read(&whole).unwrap();
        fs::write(&cut, &bytes[..bytes.len() - 7]).unwrap();
        let commands: [&[&str]; 4] = [
            &["replay"],
            &["explain"],
            &["export", "--format", "perfetto", "--out", &out],
            &["plot", "--out", &out],
        ];
        for command in commands {
            let with = |path: &str, more: &[&str]| -> Vec<String> {
                let all = [&["memory", command[0], path][..], &command[1..], more].concat();
                all.into_iter().map(str::to_owned).collect()
            };
            let run = |path: &str, more: &[&str]| {
                let args = with(path, more);
                forebay(&args.iter().map(String::as_str).collect::<Vec<_>>())
            };
            let fails = |path: &str| {
                let args = with(path, &[]);
                failure(&args.iter().map(String::as_str).collect::<Vec<_>>())
            };
            let (code, line) = fails(&cut);
            assert!(code == 1 && line.contains("cut off here") && line.contains("--partial"), "{line}");
            let output = run(&cut, &["--partial"]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success() && said.contains("cut off here"), "{said}");
            let _ = fs::remove_file(&out);
            for (path, why) in [
                (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "neither a trace of forebay"),
                ("no-such-file", "cannot open no-such-file"),
                (env!("CARGO_MANIFEST_DIR"), "directory"),
            ] {
                let (code, line) = fails(path);
                assert!(code == 1 && line.contains(why), "{line}");
                assert!(!Path::new(&out).exists());
            }
        }
        for wrong in [
            &["memory"][..],
            &["memory", "replay"],
            &["memory", "replay", &whole, "--policy", "buddy"],
            &["memory", "replay", &whole, "--limit", "much"],
            &["memory", "explain"],
            &["memory", "explain", &whole, "--live", "x.gguf"],
            &["memory", "export", &whole, "--format", "svg", "--out", "x"],
        ] {
            assert_eq!(forebay(wrong).status.code(), Some(2), "{wrong:?}");
        }
    }

    #[test]
    fn standard_input_is_a_trace_and_a_closed_pipe_no_failure() {
        let folder = Folder::of("pipes");
        let path = folder.at("a.trace");
        trace(&path);
        let start = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        for command in ["replay", "explain"] {
            let mut child = start(&["memory", command, "-"]);
            child.stdin.take().unwrap().write_all(&fs::read(&path).unwrap()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success() && !output.stdout.is_empty(), "{command}");
        }
        let mut child = start(&["memory", "export", &path, "--format", "perfetto", "--out", "-"]);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
    }

    #[test]
    fn a_run_leaves_its_trace_also_when_it_runs_out_of_memory() {
        let Some(model) = stories() else { return };
        let folder = Folder::of("run");
        let (whole, newest, short) = (folder.at("whole"), folder.at("newest"), folder.at("short"));
        let run = ["run", &model, "Once upon a time", "-n", "8", "-t", "1", "--memory-trace"];
        let output = forebay(&[&run[..], &[&whole]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("memory trace: "), "{said}");
        let told = json(&["memory", "explain", &whole, "--json"]);
        assert!(told["by_tag"].as_array().unwrap().iter().any(|tag| tag["tag"] == "kv"), "{told}");

        assert!(forebay(&[&run[..], &[&newest, "--memory-trace-newest", "64"]].concat()).status.success());
        assert!(fs::metadata(&newest).unwrap().len() > 64);
        stdout(&["memory", "replay", &newest]);

        let output = forebay(&[&run[..], &[&short, "--no-mmap", "--memory-limit", "1MiB"]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("memory limit reached"), "{said}");
        assert!(!json(&["memory", "explain", &short, "--json"])["refused"].is_null());

        let live = ["memory", "explain", "--live", &model, "-n", "4", "-t", "1", "--json", "--memory-limit"];
        assert!(!json(&[&live[..], &["1MiB"]].concat())["refused"].is_null());
        assert!(json(&[&live[..], &["1GiB"]].concat())["refused"].is_null());
    }

    #[test]
    fn a_trace_that_cannot_be_written_is_told() {
        let Some(model) = stories() else { return };
        let run = ["run", &model, "Once upon a time", "-n", "2", "-t", "1", "--memory-trace"];
        let (code, line) = failure(&[&run[..], &["/no-such-folder/x.trace"]].concat());
        assert!(code == 1 && line.contains("cannot create /no-such-folder/x.trace"), "{line}");
        if Path::new("/dev/full").exists() {
            // The text is there: a ring is written after the work.
            let output = forebay(&[&run[..], &["/dev/full", "--memory-trace-newest", "100"]].concat());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && !output.stdout.is_empty(), "{said}");
            assert!(said.contains("the trace of memory is not whole, all else is"), "{said}");
        }
    }
}
