//! Steps whose buffers cannot leave them, looked at through the bytes: shared by none, ordered after all work.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use forebay_device::{Arena, Buffer, Device, DeviceOptions, NullOptions, Request, Scope, Scratch};

/// Numbers that repeat with their seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn shows(bytes: &[u8], byte: u8) -> bool {
    bytes.iter().all(|&b| b == byte)
}

/// One request of a step, and when its buffer goes.
#[derive(Clone, Copy)]
struct Planned {
    bytes: u64,
    gone_by: usize,
    looked_at: bool,
}

fn steps(dice: &mut Dice, count: usize) -> Vec<Planned> {
    let lives =
        |dice: &mut Dice, step| if dice.below(8) == 0 { count } else { step + 1 + dice.below(6) as usize };
    (0..count)
        .map(|step| Planned {
            bytes: dice.below(4) * 700 + dice.below(3),
            gone_by: lives(dice, step),
            looked_at: dice.below(3) > 0,
        })
        .collect()
}

/// Plays steps; everything that is looked at keeps its paint until it goes. Returns what was promoted.
fn play<'s>(scope: &mut Scope<'s>, steps: &[Planned], promote: impl Fn(usize) -> bool) -> Vec<(Buffer, u8)> {
    let mut live: Vec<(usize, Scratch<'s>)> = Vec::new();
    let mut promoted = Vec::new();
    for (step, planned) in steps.iter().enumerate() {
        let (gone, stay): (Vec<_>, Vec<_>) = live.into_iter().partition(|(s, _)| steps[*s].gone_by <= step);
        for (s, scratch) in gone {
            assert!(
                !steps[s].looked_at || shows(&scratch.read().unwrap(), s as u8),
                "step {s} was written over"
            );
            if promote(s) {
                promoted.push((scope.promote(scratch), s as u8));
            }
        }
        live = stay;
        let scratch = scope.alloc(planned.bytes).unwrap();
        assert_eq!(scratch.len(), planned.bytes);
        if planned.looked_at {
            scratch.write::<u8>().unwrap().fill(step as u8);
        }
        live.push((step, scratch));
    }
    for (s, scratch) in &live {
        assert!(
            !steps[*s].looked_at || shows(&scratch.read().unwrap(), *s as u8),
            "step {s} was written over"
        );
    }
    promoted
}

#[test]
fn steps_that_repeat_share_bytes_only_with_what_is_gone() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let mut dice = Dice(5);
    for round in 0..40 {
        let mut arena = Arena::new(device.pool());
        let mut usual = steps(&mut dice, 60);
        usual[0].bytes = 4096;
        let unplanned: u64 = usual.iter().map(|step| step.bytes.next_multiple_of(256)).sum();
        for _ in 0..4 {
            arena.scope(|scope| play(scope, &usual, |_| false));
        }
        let stats = arena.stats();
        assert_eq!((stats.planned, stats.surprises), (2 * 60, 0), "round {round}");
        assert!(stats.reserved < unplanned, "{} of {unplanned}", stats.reserved);
        // Some live longer than they used to, or are of another size.
        let mut other = usual.clone();
        let at = dice.below(60) as usize;
        match round % 3 {
            0 => other.iter_mut().for_each(|step| step.gone_by = 60),
            1 => other[at].bytes += 1,
            _ => other[at].gone_by = 60,
        }
        arena.scope(|scope| play(scope, &other, |_| false));
        assert!(arena.stats().surprises <= 1);
        arena.scope(|scope| play(scope, &usual, |_| false));
    }
    assert_eq!(device.pool().stats().in_use, 0);
}

#[test]
fn what_is_promoted_keeps_its_bytes_through_later_steps_of_any_kind() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let mut dice = Dice(11);
    for _ in 0..20 {
        let mut arena = Arena::new(device.pool());
        let mut usual = steps(&mut dice, 40);
        usual.iter_mut().for_each(|step| step.looked_at = true);
        let mut kept = Vec::new();
        for epoch in 0..12 {
            let some = |step: usize| epoch % 4 == 3 && step % 5 == 2;
            let promoted = arena.scope(|scope| play(scope, &usual, some));
            assert_eq!(promoted.is_empty(), epoch % 4 != 3);
            kept.extend(promoted);
            if epoch == 7 {
                let between = arena.alloc(3000).unwrap();
                between.write::<u8>().unwrap().fill(0xEE);
                kept.push((between, 0xEE));
            }
        }
        assert!(arena.stats().planned > 0);
        drop(arena);
        assert!(kept.iter().all(|(buffer, byte)| shows(&buffer.read().unwrap(), *byte)));
        assert_eq!(device.pool().stats().in_use, kept.len() as u64);
    }
}

#[test]
fn a_step_is_ordered_after_the_work_on_what_lay_beneath_it() {
    let (device, control) = NullOptions::default().open(&DeviceOptions::null()).unwrap();
    let mut arena = Arena::new(device.pool());
    let mut session = device.session().unwrap();
    let usual = |scope: &mut Scope<'_>, session: &mut forebay_device::Session| {
        let first = scope.alloc(4096).unwrap();
        let mut stage = session.stage("fills first");
        stage.fill(&first, 9).unwrap();
        let _ = stage.fence().unwrap();
        drop(first);
        // Nobody looks at this one: what comes after it has to know of the work all the same.
        drop(scope.alloc(4096).unwrap());
        let last = scope.alloc(Request::new(4096).label("last")).unwrap();
        scope.promote(last)
    };
    let queue = session.queue().id();
    // Work of the same step lies beneath.
    for _ in 0..3 {
        arena.scope(|scope| drop(usual(scope, &mut session)));
    }
    control.hold(queue, true);
    let last = arena.scope(|scope| usual(scope, &mut session));
    assert_eq!(arena.stats().planned, 2 * 3, "this is about planned steps");
    assert!(last.try_write::<u8>().is_err(), "the host waits for the work beneath");
    control.hold(queue, false);
    last.write::<u8>().unwrap().fill(1);

    // Work of the step before, planned and not.
    for planning in [false, true] {
        let mut arena = Arena::new(device.pool()).planning(planning);
        let one = |scope: &mut Scope<'_>| {
            let only = scope.alloc(4096).unwrap();
            scope.promote(only)
        };
        for _ in 0..3 {
            arena.scope(|scope| drop(one(scope)));
        }
        control.hold(queue, true);
        arena.scope(|scope| {
            let only = scope.alloc(4096).unwrap();
            let mut stage = session.stage("fills");
            stage.fill(&only, 9).unwrap();
            let _ = stage.fence().unwrap();
        });
        let only = arena.scope(one);
        assert_eq!(arena.stats().planned > 0, planning);
        assert!(only.try_write::<u8>().is_err(), "the host waits for the step before");
        control.hold(queue, false);
        only.write::<u8>().unwrap().fill(1);
    }
}

#[test]
fn a_scratch_that_is_forgotten_costs_nothing_later() {
    let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
    let mut arena = Arena::new(device.pool());
    for _ in 0..6 {
        arena.scope(|scope| {
            for bytes in [0, 1, 700] {
                let scratch = scope.alloc(Request::new(bytes).zeroed()).unwrap();
                assert!(shows(&scratch.read().unwrap(), 0));
                std::mem::forget(scratch);
            }
        });
    }
    let stats = arena.stats();
    assert_eq!((stats.epochs, stats.surprises), (6, 0));
    drop(arena);
    let pool = device.pool().stats();
    assert_eq!((pool.in_use, pool.live, pool.taken), (0, 0, 0));
}
