//! Everything a program holds, dropped in every order while work is under way.

use std::{any::Any, time::Duration};

use forebay_device::{Arena, BackendKind, Buffer, Pool, PoolOptions, QueueKind, Request};
use testkit::{Setup, Test, tests};

pub(crate) const TESTS: &[Test] = tests! {
    Bytes: everything_is_dropped_in_random_orders,
        what_outlives_the_device_goes_on_working;
    Host: adopted_memory_stays_until_its_work_is_done;
    SteeredBytes: nothing_is_left_whatever_goes_first;
};

/// A source of random numbers that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// A program in the middle of its work, taken apart.
fn program(setup: &Setup, dice: &mut Dice) -> (Vec<Box<dyn Any>>, Option<forebay_device::NullControl>) {
    let bed = setup.open();
    let device = bed.device.clone();
    let pool = Pool::new(&device, PoolOptions::default()).unwrap();
    let mut arena = Arena::new(&pool);
    let mut parts: Vec<Box<dyn Any>> = Vec::new();
    let mut buffers: Vec<Buffer> = (0..6)
        .map(|i| match i % 3 {
            0 => device.alloc(4 * 700).unwrap(),
            1 => pool.alloc(Request::new(4 * 700).dedicated()).unwrap(),
            _ => arena.alloc(4 * 700).unwrap(),
        })
        .collect();
    if device.caps().unified {
        buffers.push(device.adopt(vec![1u32; 700]).unwrap());
    }
    let copies = device.open_queue(QueueKind::Copy).unwrap();
    let mut sessions = [bed.session(), bed.other_session(), device.session_on(copies).unwrap()];
    let held = dice.roll(2) == 0 && setup.kind == BackendKind::Null;
    for session in &sessions {
        if let Some(control) = bed.control.as_ref().filter(|_| held) {
            control.hold(session.queue().id(), true);
        }
    }
    for _ in 0..8 {
        let session = &mut sessions[dice.roll(3)];
        let (from, to) = (dice.roll(buffers.len()), dice.roll(buffers.len()));
        let kernels = session.queue().kind() == QueueKind::Compute;
        let mut stage = session.stage("under way");
        if kernels && dice.roll(3) == 0 {
            bed.kernels().spin(&mut stage, &buffers[to], 3, Duration::from_millis(1)).unwrap();
        }
        if from != to {
            stage.copy(&buffers[from], &buffers[to]).unwrap();
        }
        stage.fill(&buffers[from], 7).unwrap();
        match dice.roll(3) {
            0 => parts.push(Box::new(stage.fence().unwrap())),
            1 => stage.submit().unwrap(),
            _ => {
                let recording = stage.record().unwrap();
                let _ = session.replay(&recording).unwrap();
                parts.push(Box::new(recording));
            }
        }
    }
    parts.push(Box::new(bed.kernels().clone()));
    parts.push(Box::new((pool, arena)));
    parts.extend(sessions.into_iter().map(|session| Box::new(session) as Box<dyn Any>));
    parts.extend(buffers.into_iter().map(|buffer| Box::new(buffer) as Box<dyn Any>));
    parts.push(Box::new(device));
    let control = bed.control.clone();
    parts.push(Box::new(bed));
    (parts, control)
}

fn drop_all(mut parts: Vec<Box<dyn Any>>, dice: &mut Dice) {
    while !parts.is_empty() {
        drop(parts.swap_remove(dice.roll(parts.len())));
        if dice.roll(8) == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
}

fn everything_is_dropped_in_random_orders(setup: &Setup) {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (parts, _) = program(setup, &mut dice);
        drop_all(parts, &mut dice);
    }
}

fn nothing_is_left_whatever_goes_first(setup: &Setup) {
    for seed in 100..200 {
        let mut dice = Dice(seed);
        let (parts, control) = program(setup, &mut dice);
        if seed % 3 == 0 {
            control.as_ref().unwrap().lose("unplugged");
        }
        drop_all(parts, &mut dice);
        assert_eq!(control.unwrap().used(), 0, "seed {seed}");
    }
}

fn adopted_memory_stays_until_its_work_is_done(setup: &Setup) {
    for last in 0..3 {
        let bed = setup.open();
        let adopted = bed.device.adopt(vec![1u32; 50_000]).unwrap();
        let mut session = bed.session();
        let gate = bed.gate(&mut session);
        let mut stage = session.stage("writes into the vector");
        for byte in 0..20 {
            stage.fill(&adopted, byte).unwrap();
        }
        let fence = stage.fence().unwrap();
        drop(adopted);
        // Freed vectors would be handed out again here.
        let others: Vec<Vec<u32>> = (0..4).map(|_| vec![9; 50_000]).collect();
        let mut parts: Vec<Option<Box<dyn Any>>> =
            vec![Some(Box::new(fence)), Some(Box::new(session)), Some(Box::new(bed)), Some(Box::new(gate))];
        let kept = parts[last].take();
        // The gate opens before the device may go: its work has to end by itself.
        parts.reverse();
        drop(parts);
        drop(kept);
        assert!(others.iter().flatten().all(|&x| x == 9));
    }
}

fn what_outlives_the_device_goes_on_working(setup: &Setup) {
    let bed = setup.open();
    let (pool, buffer, mut session) =
        (bed.device.pool().clone(), bed.device.alloc(64).unwrap(), bed.session());
    let mut stage = session.stage("kept");
    stage.fill(&buffer, 5).unwrap();
    let recording = stage.record().unwrap();
    drop(bed);
    let more = pool.alloc(64).unwrap();
    for _ in 0..3 {
        let fence = session.replay(&recording).unwrap();
        let mut stage = session.stage("copies");
        stage.copy(&buffer, &more).unwrap();
        stage.submit().unwrap();
        fence.wait().unwrap();
        assert_eq!(more.to_vec::<u8>().unwrap(), [5; 64]);
        more.write::<u8>().unwrap().fill(0);
    }
    let device = session.device().clone();
    drop(session);
    device.session().unwrap().stage("anew").fence().unwrap().wait().unwrap();
}
