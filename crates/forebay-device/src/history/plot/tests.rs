//! The page holds what the trace says, and nothing in a trace can break out of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::Cursor;

use super::*;
use crate::{Arena, Device, DeviceOptions, NullOptions, Request, TraceOptions};

fn page(device: &Device, name: &str) -> Page {
    let mut bytes = Vec::new();
    device.trace().unwrap().write(&mut bytes).unwrap();
    Page::of(&mut Log::new(Cursor::new(bytes), "trace").unwrap(), name).unwrap()
}

#[test]
fn blocks_live_from_event_to_event_and_lie_where_they_lay() {
    let options = DeviceOptions::null().memory_limit(16 << 20).trace(TraceOptions::ring(1 << 12));
    let (device, control) = NullOptions::default().backed(false).open(&options).unwrap();
    let mut session = device.session().unwrap();
    control.hold(session.queue().id(), true);
    let kept = device.alloc(Request::new(3000).tag(Tag::Kv).label("kept")).unwrap();
    let used = device.alloc(Request::new(5 << 20).label("used")).unwrap();
    let mut stage = session.stage("use");
    stage.fill(&used, 1).unwrap();
    stage.submit().unwrap();
    drop(used);
    control.hold(session.queue().id(), false);
    drop(device.alloc(100).unwrap());
    device.pool().trim(0).unwrap();
    drop(device.alloc(40 << 20).unwrap_err());
    let page = page(&device, "x");
    let labels: Vec<_> = page.blocks.iter().map(|block| page.labels[block.label as usize].as_str()).collect();
    assert_eq!(labels, ["kept", "used", ""]);
    let [first, second, third] = &page.blocks[..] else { panic!("{:?}", page.blocks) };
    assert_eq!((first.freed, first.done, first.bytes), (NEVER, NEVER, 3000));
    assert!(second.freed > second.start && second.done > second.freed && second.done != NEVER);
    assert_eq!(third.freed, third.done);
    let map = page.map();
    let place = |block: &Block| map.place(block.spot.unwrap().region, block.spot.unwrap().offset).unwrap();
    let ends: Vec<_> = [first, second].map(|b| (place(b), place(b) + (b.taken / 256) as u32)).into();
    assert!(ends[0].1 <= ends[1].0 || ends[1].1 <= ends[0].0, "{ends:?}");
    let kinds: Vec<_> = page.marks.iter().map(|mark| mark.1).collect();
    for kind in [MarkKind::Mapped, MarkKind::Submitted, MarkKind::Trimmed, MarkKind::Refused] {
        assert!(kinds.contains(&kind), "{kind:?} is missing in {kinds:?}");
    }
    assert_eq!(page.reserved.last().unwrap().1, device.pool().stats().reserved);
    let mapped: u64 =
        page.stretches.iter().filter(|stretch| stretch.to == NEVER).map(|stretch| stretch.bytes).sum();
    assert_eq!(mapped, device.pool().stats().reserved);
    drop(kept);
}

#[test]
fn names_from_a_trace_stay_text() {
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(100))).unwrap();
    let wild = "</script><script>alert(1)</script> @@DATA@@ \"\u{1}";
    drop(device.alloc(Request::new(10).label(wild.to_owned())).unwrap());
    let page = page(&device, "</title><b>@@");
    let html = page.html();
    assert!(!html.contains("alert(1)") && !html.contains("<b>@@"), "labels are packed, names escaped");
    assert!(page.meta().contains(r"\u003c/script>") && !page.meta().contains("</script>"));
    assert_eq!(html.matches("<script").count(), 2);
    assert!(html.contains("&lt;/title&gt;&lt;b&gt;"));
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(100))).unwrap();
    let html = page(&device, "x").html();
    for reach in ["http:", "https:", "src=", "href=", "import ", "fetch(", "XMLHttp", "url("] {
        assert!(!html.contains(reach), "{reach}");
    }
}

#[test]
fn arenas_and_rings_without_a_beginning_make_pages_too() {
    let device = Device::open(&DeviceOptions::null().trace(TraceOptions::ring(100))).unwrap();
    let mut arena = Arena::new(device.pool());
    for i in 0..300 {
        let kept = arena.alloc(1000 + i).unwrap();
        drop(arena.alloc(50).unwrap());
        drop(arena.reset());
        drop(kept);
    }
    let page = page(&device, "x");
    assert!(page.origin.first > 0 && page.events > 50 && page.events().1 == 0);
    assert!(!page.blocks.is_empty() && !page.columns_are_empty());
}

impl Page {
    fn columns_are_empty(&self) -> bool {
        pack::packed(&self.meta(), self.columns()).len() < 100
    }
}
