//! Any bytes as a trace of any kind: what comes out of it can be replayed, explained, exported and drawn.

#![no_main]

use std::io::Cursor;

use forebay_device::history::{Demand, Explanation, Format, Log, Page, PolicyKind, cheapest_limit, replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let open = || Log::new(Cursor::new(bytes.to_vec()), "trace").map(Log::up_to_damage);
    let Ok(log) = open() else { return };
    let mut last = None;
    let demand = Demand::of(log.inspect(|entry| {
        let Ok(entry) = entry else { return };
        assert!(last.is_none_or(|last| last + 1 == entry.number));
        last = Some(entry.number);
    }))
    .expect("damage is borne");
    // Sizes near the end of what can be counted take no memory, but a pool of ours takes its time for them.
    if demand.peak_live() < 1 << 40 {
        for kind in PolicyKind::ALL {
            let outcome = replay(&demand, kind, u64::MAX).expect("a policy opens");
            assert!(outcome.refused.is_some() || outcome.peak_reserved >= demand.peak_live());
            if outcome.refused.is_none() && demand.calls().len() < 100 {
                let limit = cheapest_limit(&demand, kind, outcome.peak_reserved).expect("a policy opens");
                assert!(limit <= outcome.peak_reserved);
            }
        }
    }
    let told = Explanation::of(open, None).expect("it was read before");
    assert!(!told.to_string().is_empty());
    for format in Format::ALL {
        let mut log = open().expect("it was read before");
        format.write(&mut log, &mut Vec::new(), "out").expect("a vector takes all");
    }
    let page = Page::of(&mut open().expect("it was read before"), "page").expect("damage is borne");
    assert!(page.html().starts_with("<!doctype html>"));
});
