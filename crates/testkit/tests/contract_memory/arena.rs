//! P4 and P5 for the arena: a reset takes back what nobody holds and never what somebody does.
//!
//! Every buffer carries bytes of its own from the moment it is handed out, and all that are held are looked at again
//! after every write.

use forebay_device::{Arena, Buffer, Request, Tag};
use testkit::{Setup, Test};

use crate::{MIB, holds, overlap, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Every:
        p4_survivors_are_reported_and_stay_apart,
        p4_everything_comes_back_in_the_end,
        p5_reset_of_an_empty_arena_does_nothing_and_twice_is_once;
    Bytes:
        p4_reset_never_aliases,
        p4_reset_never_aliases_when_steps_repeat,
        p4_reset_leaves_work_in_flight_alone,
        p4_a_reset_buffer_is_ordered_after_its_last_use;
};

/// Buffers that are held, each with the seed of its bytes.
#[derive(Default)]
struct Held {
    all: Vec<(u64, Buffer)>,
    seed: u64,
}

impl Held {
    fn add(&mut self, buffer: Buffer) {
        self.seed += 1;
        assert!(
            self.all.iter().all(|(_, other)| buffer.is_empty() || !overlap(other, &buffer)),
            "{buffer:?}"
        );
        buffer.copy_from(&pattern(self.seed, buffer.len())).unwrap();
        self.all.push((self.seed, buffer));
    }

    fn check(&self) {
        self.all.iter().for_each(|(seed, buffer)| holds(buffer, &pattern(*seed, buffer.len())));
    }
}

/// Sizes of the step of an epoch.
fn size(epoch: u64, i: u64) -> u64 {
    (epoch * 31 + i * 7919) % 9000
}

fn p4_reset_never_aliases(on: &Setup) {
    let bed = on.open();
    let mut arena = Arena::new(bed.device.pool());
    let mut held = Held::default();
    for epoch in 0..40 {
        for i in 0..25 {
            held.add(arena.alloc(size(epoch, i)).unwrap());
            // Some go within the step, in no order.
            if i % 4 == 3 {
                held.all.swap_remove((i * 5 % held.all.len() as u64) as usize);
            }
        }
        held.check();
        // A few stay for good, some of them over many epochs.
        let keep = 6 + (epoch % 3) as usize;
        while held.all.len() > keep {
            held.all.swap_remove((epoch as usize * 13 + held.all.len() * 7) % held.all.len());
        }
        let _ = arena.reset();
        held.check();
        // The pool itself must not hand the bytes of survivors out either.
        let others: Vec<_> = (0..10).map(|i| bed.device.alloc(size(epoch, i) + 1).unwrap()).collect();
        for other in &others {
            other.write::<u8>().unwrap().fill(0xAA);
        }
        held.check();
    }
}

fn p4_reset_never_aliases_when_steps_repeat(on: &Setup) {
    let bed = on.open();
    let mut arena = Arena::new(bed.device.pool());
    let mut kept = Held::default();
    let repeat = |arena: &mut Arena, kept: &mut Held, keep: Option<u64>, late: bool| {
        let mut early = Vec::new();
        for i in 0..20 {
            let buffer = arena.alloc(size(0, i) + 1).unwrap();
            kept.add(buffer.clone());
            early.push(buffer);
            // Each lives for three allocations, so that a plan lays later ones over it; late ones surprise the plan.
            let life = if late && i == 9 { 8 } else { 3 };
            if early.len() > life {
                let gone = early.remove(0);
                if keep != Some(i) {
                    kept.all.retain(|(_, buffer)| buffer.address() != gone.address());
                }
            }
            kept.check();
        }
        for gone in early {
            kept.all.retain(|(_, buffer)| buffer.address() != gone.address());
        }
    };
    for round in 0..4 {
        for _ in 0..4 {
            repeat(&mut arena, &mut kept, None, false);
            let _ = arena.reset();
        }
        assert!(arena.stats().planned > 0, "the steps repeat and a plan serves them");
        repeat(&mut arena, &mut kept, Some(5 + round), round % 2 == 1);
        let report = arena.reset();
        assert_eq!(report.held.len() as u64, 1, "{report:?}");
        for _ in 0..6 {
            repeat(&mut arena, &mut kept, None, false);
            kept.check();
            let _ = arena.reset();
        }
    }
    assert_eq!(kept.all.len(), 4, "one was kept in each round");
    kept.check();
}

fn p4_survivors_are_reported_and_stay_apart(on: &Setup) {
    let bed = on.open();
    for planning in [false, true] {
        let mut arena = Arena::new(bed.device.pool()).planning(planning);
        let mut survivors: Vec<Buffer> = Vec::new();
        for epoch in 0..12u64 {
            let all: Vec<_> = (0..16u64)
                .map(|i| arena.alloc(Request::new(1000 * i + 1).label(format!("{epoch}.{i}"))).unwrap())
                .collect();
            for (i, a) in all.iter().enumerate() {
                assert!(all[..i].iter().chain(&survivors).all(|b| !overlap(a, b)));
            }
            let kept = all[epoch as usize].slice(0..1).unwrap();
            drop(all);
            let report = arena.reset();
            assert_eq!((report.recycled, report.held.len()), (15, 1), "{planning} {epoch}");
            assert_eq!(report.held[0].1, 1000 * epoch + 1);
            assert_eq!(report.held_bytes(), 1000 * epoch + 1);
            assert_eq!(report.held[0].0.as_str(), format!("{epoch}.{epoch}"), "planning: {planning}");
            survivors.push(kept);
        }
        assert_eq!(arena.reset().held, [], "they belong to their holders now");
    }
}

fn p4_everything_comes_back_in_the_end(on: &Setup) {
    let bed = on.open();
    let (pool, residency) = (bed.device.pool(), bed.device.residency());
    let mut arena = Arena::new(pool);
    let mut held = Vec::new();
    for epoch in 0..10u64 {
        for i in 0..10u64 {
            let tag = Tag::ALL[i as usize % 5];
            let buffer = arena.alloc(Request::new(MIB / 3 * (i % 4) + i).tag(tag)).unwrap();
            if (epoch + i) % 9 == 0 {
                held.push(buffer);
            }
        }
        let _ = arena.reset();
        let stats = pool.stats();
        assert_eq!(stats.taken + stats.retiring + stats.free, stats.reserved, "{stats:?}");
        assert_eq!(stats.by_tag.iter().sum::<u64>(), stats.live, "{stats:?}");
    }
    drop(arena);
    let stats = pool.stats();
    let sum: u64 = held.iter().map(Buffer::len).sum();
    assert_eq!((stats.in_use, stats.live), (held.len() as u64, sum), "{stats:?}");
    assert_eq!(residency.count(), held.iter().filter(|buffer| !buffer.is_empty()).count() as u64);
    drop(held);
    pool.trim(0).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.live, stats.taken, stats.reserved), (0, 0, 0, 0), "{stats:?}");
    assert_eq!(residency.count(), 0);
    assert!(bed.control.as_ref().is_none_or(|control| control.used() == 0));
}

fn p5_reset_of_an_empty_arena_does_nothing_and_twice_is_once(on: &Setup) {
    let bed = on.open();
    let mut arena = Arena::new(bed.device.pool());
    for _ in 0..3 {
        let report = arena.reset();
        assert_eq!((report.recycled, report.held.len()), (0, 0));
    }
    assert_eq!(bed.device.pool().stats().reserved, 0);
    let (gone, kept) = (arena.alloc(100).unwrap(), arena.alloc(200).unwrap());
    drop(gone);
    assert_eq!((arena.reset().recycled, arena.reset().recycled), (1, 0));
    let before = bed.device.pool().stats();
    for _ in 0..5 {
        let report = arena.reset();
        assert_eq!((report.recycled, report.held.len()), (0, 0));
    }
    assert_eq!(bed.device.pool().stats(), before, "{kept:?}");
}

fn p4_reset_leaves_work_in_flight_alone(on: &Setup) {
    let bed = on.open();
    for planning in [false, true] {
        let mut arena = Arena::new(bed.device.pool()).planning(planning);
        let (mut slow, mut quick) = (bed.session(), bed.other_session());
        for epoch in 0..6u64 {
            let wanted = pattern(epoch, 5001);
            let source = arena.alloc(5001).unwrap();
            source.copy_from(&wanted).unwrap();
            let out = bed.device.alloc(5001).unwrap();
            let gate = bed.gate(&mut slow);
            let mut stage = slow.stage("slow copy");
            stage.copy(&source, &out).unwrap();
            stage.submit().unwrap();
            drop(source);
            assert_eq!(arena.reset().recycled, 1);
            // The same bytes at once, for another queue and for the host: both have to wait for the copy.
            let again = arena.alloc(5001).unwrap();
            let mut stage = quick.stage("overwrite");
            stage.fill(&again, 0xEE).unwrap();
            let overwritten = stage.fence().unwrap();
            assert!(again.try_write::<u8>().is_err(), "the copy still reads it");
            gate.open();
            overwritten.wait().unwrap();
            holds(&out, &wanted);
            again.write::<u8>().unwrap().fill(1);
            drop(again);
            let _ = arena.reset();
        }
    }
}

fn p4_a_reset_buffer_is_ordered_after_its_last_use(on: &Setup) {
    let bed = on.open();
    let (mut slow, mut quick) = (bed.session(), bed.other_session());
    let mut arena = Arena::new(bed.device.pool());
    let wanted = pattern(9, 3000);
    let (kept, source) = (arena.alloc(700).unwrap(), arena.alloc(3000).unwrap());
    source.copy_from(&wanted).unwrap();
    kept.copy_from(&wanted[..700]).unwrap();
    let out = bed.device.alloc(3000).unwrap();
    let gate = bed.gate(&mut slow);
    let mut stage = slow.stage("slow copy");
    stage.copy(&source, &out).unwrap();
    let copied = stage.fence().unwrap();
    drop(source);
    // The survivor splits the chunk: its other pieces go back to the pool with the copy still under way.
    assert_eq!(arena.reset().held_bytes(), 700);
    drop(arena);
    let mut others = Vec::new();
    for i in 0..40u64 {
        let other = quick.alloc(100 + i * 97).unwrap();
        let mut stage = quick.stage("overwrite");
        stage.fill(&other, 0xEE).unwrap();
        stage.submit().unwrap();
        others.push(other);
    }
    gate.open();
    copied.wait().unwrap();
    holds(&out, &wanted);
    holds(&kept, &wanted[..700]);
}
