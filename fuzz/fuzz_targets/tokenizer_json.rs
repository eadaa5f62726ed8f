//! Any bytes as a `tokenizer.json`, the files beside it and a text, each behind a zero byte: ids are tokens, and text comes
//! out of any ids.
//!
//! The library that reads such files may panic on one, and that has to come out as an error: a panic ends nothing here
//! unless it leaves the target.

#![no_main]

use forebay::generate::tokenizer::{JsonFiles, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: std::panic::set_hook(Box::new(|info| eprintln!("{info}"))),
    |bytes: &[u8]| {
        let mut parts = bytes.splitn(5, |byte| *byte == 0);
        let tokenizer = parts.next().unwrap_or_default();
        let [config, generation, model] = [(); 3].map(|()| parts.next().filter(|part| !part.is_empty()));
        let text = String::from_utf8_lossy(parts.next().unwrap_or(b"Hello, w\xf6rld 1234\n\n"));
        let files = JsonFiles { tokenizer, config, generation, model };
        let Ok(tokenizer) = Tokenizer::from_json("dir/tokenizer.json", &files) else { return };
        for special in [false, true] {
            if let Ok(ids) = tokenizer.encode(&text, special) {
                assert!(ids.iter().all(|id| (*id as usize) < tokenizer.size()));
                tokenizer.decode(&ids, special).unwrap();
            }
        }
        let size = tokenizer.size() as u32;
        let mut decoder = tokenizer.decoder(&[]);
        for id in (0..size.min(50)).chain([size]) {
            let _ = decoder.push(id).map_err(|error| error.to_string());
        }
        decoder.finish();
    }
);
