//! Kernels that panic: their stage fails, and nothing else does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use forebay_device::{Error, Fence, Grid, Kernel, KernelDef, Param, Signature};
use testkit::{Bed, Setup, Test, tests};

pub(crate) const TESTS: &[Test] = tests! {
    Rust: a_panic_between_barriers_fails_its_stage_and_the_workers_survive,
        what_is_thrown_may_throw_again,
        a_kernel_that_breaks_its_signature_fails_its_stage,
        other_sessions_and_queues_go_on_beside_a_failing_one;
};

const ELEMENTS: u32 = 40_000;

/// Panics in one group of a grid, or in none.
fn fragile(bed: &Bed) -> Kernel {
    let signature = Signature::new([Param::read_write::<u32>().per_group(256), Param::u32()]);
    let code = |group: &forebay_device::Group<'_>| {
        assert!(group.index() as u32 != group.u32(1), "planted in group {}", group.index());
        group.write::<u32>(0).iter_mut().for_each(|x| *x = x.wrapping_add(1));
    };
    bed.device.load(&KernelDef::new("fragile", signature).cpu(code)).unwrap()
}

fn is_planted(outcome: &Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::KernelFault { kernel, detail, .. })
        if &**kernel == "fragile" && detail.contains("planted"))
}

fn a_panic_between_barriers_fails_its_stage_and_the_workers_survive(setup: &Setup) {
    let bed = setup.open();
    let kernel = fragile(&bed);
    let data = bed.device.alloc(4 * u64::from(ELEMENTS)).unwrap();
    let groups = ELEMENTS.div_ceil(256);
    for round in 0..40 {
        data.write::<u32>().unwrap().fill(0);
        let mut session = bed.session();
        let mut stage = session.stage("fragile");
        for step in 0..5 {
            // In the middle of the stage, on the group of another worker each round.
            let bad = if step == 2 { round * groups / 40 } else { u32::MAX };
            stage.launch(&kernel, Grid::linear(groups, 256), &[data.arg(), bad.into()]).unwrap();
        }
        assert_eq!(stage.barriers(), 4);
        let fence = stage.fence().unwrap();
        for _ in 0..3 {
            assert!(is_planted(&fence.wait()), "round {round}");
        }
        assert!(data.read::<u32>().is_err(), "bytes of a failed stage are nobody's result");

        let mut session = bed.session();
        let mut stage = session.stage("sound");
        bed.kernels().fill(&mut stage, &data, round).unwrap();
        for _ in 0..3 {
            stage.launch(&kernel, Grid::linear(groups, 256), &[data.arg(), u32::MAX.into()]).unwrap();
        }
        stage.fence().unwrap().wait().unwrap();
        assert_eq!(data.to_vec::<u32>().unwrap(), vec![round + 3; ELEMENTS as usize]);
    }
}

struct Bomb(Arc<AtomicU32>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::panic::panic_any("once more");
    }
}

fn what_is_thrown_may_throw_again(setup: &Setup) {
    let bed = setup.open();
    let dropped = Arc::new(AtomicU32::new(0));
    let inside = dropped.clone();
    let def = KernelDef::new("bomb", Signature::new([Param::u32()]))
        .cpu_shares(move |_| std::panic::panic_any(Bomb(inside.clone())));
    let kernel = bed.device.load(&def).unwrap();
    for _ in 0..3 {
        let mut session = bed.session();
        let mut stage = session.stage("thrown");
        stage.launch(&kernel, Grid::linear(64, 1), &[1u32.into()]).unwrap();
        let outcome = stage.fence().unwrap().wait();
        assert!(matches!(outcome, Err(Error::KernelFault { .. })), "{outcome:?}");
    }
    assert!(dropped.load(Ordering::Relaxed) >= 3);
    bed.session().stage("sound").fence().unwrap().wait().unwrap();
}

fn a_kernel_that_breaks_its_signature_fails_its_stage(setup: &Setup) {
    let bed = setup.open();
    let buffer = bed.device.alloc(64).unwrap();
    type Code = fn(&forebay_device::Group<'_>);
    let cases: [(&str, Code); 7] = [
        ("reads a written argument", |group| _ = group.read::<u32>(0)),
        ("takes an argument twice", |group| _ = (group.write::<u32>(0), group.write::<u32>(0))),
        ("takes another element", |group| _ = group.write::<u64>(0)),
        ("takes a scalar as a buffer", |group| _ = group.read::<u32>(1)),
        ("takes a buffer as a scalar", |group| _ = group.u32(0)),
        ("takes another scalar", |group| _ = group.f32(1)),
        ("asks past the end", |group| _ = group.u32(2)),
    ];
    for (name, code) in cases {
        let signature = Signature::new([Param::write::<u32>(), Param::u32()]);
        let kernel = bed.device.load(&KernelDef::new(name, signature).cpu(code)).unwrap();
        let mut session = bed.session();
        let mut stage = session.stage("broken");
        stage.launch(&kernel, Grid::linear(1, 1), &[buffer.arg(), 1u32.into()]).unwrap();
        let outcome = stage.fence().unwrap().wait();
        assert!(
            matches!(&outcome, Err(Error::KernelFault { kernel, .. }) if &**kernel == name),
            "{outcome:?}"
        );
    }
}

fn other_sessions_and_queues_go_on_beside_a_failing_one(setup: &Setup) {
    let bed = setup.open();
    let kernel = fragile(&bed);
    let groups = ELEMENTS.div_ceil(256);
    let (first, other) = (bed.session().queue(), bed.other_session().queue());
    thread::scope(|threads| {
        for worker in 0..3 {
            let (bed, kernel) = (&bed, &kernel);
            threads.spawn(move || {
                let data = bed.device.upload(&vec![0u32; ELEMENTS as usize]).unwrap();
                for round in 1..30 {
                    let mut session = bed.device.session_on(if worker == 2 { other } else { first }).unwrap();
                    let bad = if worker == 0 { 3 } else { u32::MAX };
                    let fences: Vec<Fence> = (0..3)
                        .map(|_| {
                            let mut stage = session.stage("one of three");
                            let args = [data.arg(), bad.into()];
                            stage.launch(kernel, Grid::linear(groups, 256), &args).unwrap();
                            stage.fence().unwrap()
                        })
                        .collect();
                    for fence in &fences {
                        let outcome = fence.wait();
                        assert_eq!(is_planted(&outcome), worker == 0, "{worker}: {outcome:?}");
                    }
                    if worker != 0 {
                        assert_eq!(data.to_vec::<u32>().unwrap(), vec![3 * round; ELEMENTS as usize]);
                    }
                }
            });
        }
    });
}
