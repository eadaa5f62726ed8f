//! Who comes after whom, seen in data: stage one is slow or held on purpose, and what comes next reads what it wrote.

use std::time::Duration;

use forebay_device::{Buffer, Fence, Session};
use testkit::{Bed, Setup, Test, tests};

use crate::{ODD, empty, filled};

pub(crate) const TESTS: &[Test] = tests! {
    Bytes: s3_a_stage_reads_what_the_held_one_before_it_wrote,
        s3_another_queue_reads_what_a_held_queue_wrote,
        s3_another_queue_writes_after_a_held_queue_has_read;
    Kernels: s3_a_stage_reads_what_a_slow_one_wrote,
        s3_a_chain_of_stages_adds_up,
        s3_a_diamond_over_two_queues_meets_again,
        s3_an_explicit_fence_orders_what_shares_no_memory,
        s6_finish_waits_for_everything_that_was_submitted;
};

const SLOW: Duration = Duration::from_millis(30);
/// Long enough for work that nothing holds back to have run.
const AWHILE: Duration = Duration::from_millis(15);

fn words(buffer: &Buffer) -> Vec<u32> {
    buffer.to_vec::<u32>().unwrap()
}

fn copy(session: &mut Session, from: &Buffer, to: &Buffer) -> Fence {
    let mut stage = session.stage("copy");
    stage.copy(from, to).unwrap();
    stage.fence().unwrap()
}

fn spin(bed: &Bed, session: &mut Session, out: &Buffer, value: u32) -> Fence {
    let mut stage = session.stage("slow");
    bed.kernels().spin(&mut stage, out, value, SLOW).unwrap();
    stage.fence().unwrap()
}

fn s3_a_stage_reads_what_the_held_one_before_it_wrote(setup: &Setup) {
    let bed = setup.open();
    let (a, b, c) = (filled(&bed, 5), filled(&bed, 1), filled(&bed, 2));
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let _ = copy(&mut session, &a, &b);
    let last = copy(&mut session, &b, &c);
    std::thread::sleep(AWHILE);
    assert!(!last.is_done());
    gate.open();
    assert_eq!(words(&c), vec![5; ODD], "the guard waits for the copies");
    last.wait().unwrap();
}

fn s3_another_queue_reads_what_a_held_queue_wrote(setup: &Setup) {
    let bed = setup.open();
    let (a, b, c) = (filled(&bed, 5), filled(&bed, 1), filled(&bed, 2));
    let (mut one, mut two) = (bed.session(), bed.other_session());
    let gate = bed.gate(&mut one);
    let _ = copy(&mut one, &a, &b);
    let read = copy(&mut two, &b, &c);
    std::thread::sleep(AWHILE);
    assert!(!read.is_done(), "it did not wait for the queue that writes");
    gate.open();
    read.wait().unwrap();
    assert_eq!(words(&c), vec![5; ODD]);
}

fn s3_another_queue_writes_after_a_held_queue_has_read(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 5), filled(&bed, 1));
    let (mut one, mut two) = (bed.session(), bed.other_session());
    let gate = bed.gate(&mut one);
    let read = copy(&mut one, &a, &b);
    let mut stage = two.stage("overwrite");
    stage.fill(&a, 9).unwrap();
    let written = stage.fence().unwrap();
    std::thread::sleep(AWHILE);
    assert!(!written.is_done(), "it did not wait for the queue that reads");
    gate.open();
    written.wait().unwrap();
    read.wait().unwrap();
    assert_eq!(words(&b), vec![5; ODD]);
    assert_eq!(a.to_vec::<u8>().unwrap(), vec![9; 4 * ODD]);
}

fn s3_a_stage_reads_what_a_slow_one_wrote(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 1), filled(&bed, 2));
    let mut session = bed.session();
    let slow = spin(&bed, &mut session, &a, 5);
    let mut stage = session.stage("reads");
    bed.kernels().copy(&mut stage, &a, &b).unwrap();
    let last = stage.fence().unwrap();
    assert!(!slow.is_done(), "recording and submitting took longer than the slow kernel");
    assert_eq!(words(&b), vec![5; ODD]);
    last.wait().unwrap();
}

fn s3_a_chain_of_stages_adds_up(setup: &Setup) {
    const STAGES: u32 = 60;
    let bed = setup.open();
    let (one, mut from, mut to) = (filled(&bed, 1), filled(&bed, 0), filled(&bed, 99));
    let mut session = bed.session();
    let _ = spin(&bed, &mut session, &from, 1000);
    for _ in 0..STAGES {
        let mut stage = session.stage("link");
        bed.kernels().add(&mut stage, &from, &one, &to).unwrap();
        let _ = stage.fence().unwrap();
        std::mem::swap(&mut from, &mut to);
    }
    let end = session.finish().unwrap();
    end.wait().unwrap();
    assert_eq!(words(&from), vec![1000 + STAGES; ODD]);
    assert_eq!(words(&to), vec![1000 + STAGES - 1; ODD]);
}

fn s3_a_diamond_over_two_queues_meets_again(setup: &Setup) {
    for explicit in [true, false] {
        let bed = setup.open();
        let [x, left, right, out] = [0; 4].map(|value| filled(&bed, value));
        let (mut one, mut two) = (bed.session(), bed.other_session());
        for round in 1..8 {
            let top = spin(&bed, &mut one, &x, round);

            let mut stage = two.stage("left");
            if explicit {
                stage.after(&top).unwrap();
            }
            bed.kernels().add(&mut stage, &x, &x, &left).unwrap();
            let left_done = stage.fence().unwrap();

            let mut stage = one.stage("right");
            bed.kernels().copy(&mut stage, &x, &right).unwrap();
            let _ = stage.fence().unwrap();

            let mut stage = one.stage("bottom");
            if explicit {
                stage.after(&left_done).unwrap();
            }
            bed.kernels().add(&mut stage, &left, &right, &out).unwrap();
            let bottom = stage.fence().unwrap();
            if round % 2 == 0 {
                bottom.wait().unwrap();
            }
            assert_eq!(words(&out), vec![3 * round; ODD], "explicit fences: {explicit}");
        }
    }
}

fn s3_an_explicit_fence_orders_what_shares_no_memory(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (empty(&bed), empty(&bed));
    let (mut one, mut two) = (bed.session(), bed.other_session());
    let gate = bed.gate(&mut one);
    let first = spin(&bed, &mut one, &a, 1);
    let mut stage = two.stage("unrelated, but after");
    stage.after(&first).unwrap();
    bed.kernels().fill(&mut stage, &b, 2).unwrap();
    let second = stage.fence().unwrap();
    std::thread::sleep(AWHILE);
    assert!(!second.is_done());
    gate.open();
    second.wait().unwrap();
    assert!(first.is_done());
}

fn s6_finish_waits_for_everything_that_was_submitted(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 0), filled(&bed, 0));
    let mut session = bed.session();
    let _ = spin(&bed, &mut session, &a, 5);
    let mut stage = session.stage("without a fence");
    bed.kernels().spin(&mut stage, &b, 6, SLOW).unwrap();
    stage.submit().unwrap();
    let end = session.finish().unwrap();
    end.wait().unwrap();
    end.wait().unwrap();
    assert!(a.try_read::<u32>().unwrap().iter().all(|&x| x == 5));
    assert!(b.try_read::<u32>().unwrap().iter().all(|&x| x == 6));
}
