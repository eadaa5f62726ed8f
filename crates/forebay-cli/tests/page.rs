//! The page of a trace in a browser: it loads, draws, finds what is searched for, and says so; a long one too.
//!
//! Needs chromium on the path. What the page says of itself stands on its `body`.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::Command,
        time::{Duration, Instant},
    };

    use forebay_device::{
        Buffer, Device, DeviceOptions, NullOptions, PoolOptions, Request, Tag, TraceOptions,
    };

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn of(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("forebay-page-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Something like serving: weights stay, caches come and go, activations hardly live; in the end too much is
    /// asked for.
    fn trace(path: &Path, events: u64) -> Device {
        let pool = PoolOptions::default().patience(Duration::ZERO);
        let options = DeviceOptions::null().memory_limit(1 << 30).pool(pool).trace(TraceOptions::file(path));
        let (device, _) = NullOptions::default().backed(false).memory(4 << 30).open(&options).unwrap();
        let weigh = |i| Request::new(9 << 20).tag(Tag::Weights).label(format!("blk.{i}.weights"));
        let weights: Vec<Buffer> = (0..24).map(|i| device.alloc(weigh(i)).unwrap()).collect();
        let mut caches: Vec<Buffer> = Vec::new();
        let mut seed = 3u64;
        let trace = device.trace().unwrap();
        while trace.events() < events {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if seed >> 58 == 0 {
                let cache = Request::new(1 + (seed >> 20) % (9 << 20)).tag(Tag::Kv);
                caches.push(device.alloc(cache.label(format!("request {}", trace.events()))).unwrap());
            }
            if caches.len() > 40 {
                caches.swap_remove((seed >> 30) as usize % 40);
            }
            let hidden = Request::new(4096 + (seed >> 40) % 65_536).tag(Tag::Activations);
            drop(device.alloc(hidden.label("hidden")).unwrap());
        }
        assert!(device.alloc(Request::new(2 << 30).tag(Tag::Kv).label("too much")).is_err());
        trace.flush().unwrap();
        drop(weights);
        device
    }

    fn plot(trace: &Path, page: &Path) {
        let [trace, page] = [trace, page].map(|path| path.to_str().unwrap());
        let plot = ["memory", "plot", trace, "--out", page];
        let output = Command::new(env!("CARGO_BIN_EXE_forebay")).args(plot).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Opens a page and gives what became of it.
    fn open(folder: &Folder, page: &Path, link: &str) -> String {
        let (profile, picture) = (folder.0.join("profile"), folder.0.join("picture.png"));
        let begun = Instant::now();
        let output = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,800"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(["--virtual-time-budget=20000", "--dump-dom"])
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("file://{}{link}", page.display()))
            .output()
            .unwrap();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(50), "it took {took:?}");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let body =
            dom.split_once("<body").map_or("", |rest| rest.1).split_once('>').map_or("", |body| body.0);
        assert!(body.contains("data-ready"), "{dom:.300}\n{}", String::from_utf8_lossy(&output.stderr));
        let _ = fs::remove_dir_all(profile);
        body.to_owned()
    }

    fn said(body: &str, what: &str) -> String {
        let value = body.split_once(&format!("data-{what}=\"")).map_or("", |rest| rest.1);
        value.split_once('"').map_or("", |value| value.0).to_owned()
    }

    #[test]
    fn a_page_draws_what_the_trace_has_and_finds_what_is_searched_for() {
        let folder = Folder::of("draws");
        let (path, page) = (folder.0.join("trace"), folder.0.join("page.html"));
        let device = trace(&path, 100_000);
        plot(&path, &page);
        let body = open(&folder, &page, "");
        assert_eq!(said(&body, "ready"), "yes", "{body}");
        assert_eq!(said(&body, "peak"), device.pool().stats().peak_live.to_string());
        let picture = fs::read(folder.0.join("picture.png")).unwrap_or_default();
        // A page that drew nothing is a few kilobytes of one colour.
        assert!(picture.is_empty() || picture.len() > 20_000, "{} bytes", picture.len());

        let body =
            open(&folder, &page, "#find=blk.%23.weights&from=100&to=90000&at=5000&axis=time&color=label");
        assert_eq!((said(&body, "ready").as_str(), said(&body, "found").as_str()), ("yes", "24"), "{body}");
        let body = open(&folder, &page, "#find=tag%3Aweights%20%3E8MiB%209");
        assert_eq!(said(&body, "found"), "2", "blk.9 and blk.19: {body}");
    }

    #[test]
    fn a_million_events_draw_too() {
        let folder = Folder::of("million");
        let (path, page) = (folder.0.join("trace"), folder.0.join("page.html"));
        drop(trace(&path, 1_000_000));
        plot(&path, &page);
        let body = open(&folder, &page, "");
        assert_eq!(said(&body, "ready"), "yes", "{body}");
        assert!(said(&body, "blocks").parse::<u64>().unwrap() > 400_000, "{body}");
    }

    #[test]
    fn a_page_that_is_damaged_says_so() {
        let folder = Folder::of("damaged");
        let (path, page) = (folder.0.join("trace"), folder.0.join("page.html"));
        drop(trace(&path, 100));
        plot(&path, &page);
        let html = fs::read_to_string(&page).unwrap();
        let start = html.find("type=\"text/plain\">").unwrap() + 60;
        fs::write(&page, format!("{}AAAAAAAA{}", &html[..start], &html[start + 8..])).unwrap();
        assert_eq!(said(&open(&folder, &page, ""), "ready"), "no");
    }
}
