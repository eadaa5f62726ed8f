//! What has no size is legal everywhere and does nothing.

use forebay_device::{Access, Arena, Error, Grid, ImageFormat, Param, PerGroup, Request, Signature};
use testkit::{BLOCK, Setup, Test, tests};

pub(crate) const TESTS: &[Test] = tests! {
    Every: empty_buffers_are_allocated_bound_copied_and_launched_over,
        empty_stages_and_recordings_run;
    Kernels: a_launch_without_groups_runs_nothing;
};

fn empty_buffers_are_allocated_bound_copied_and_launched_over(setup: &Setup) {
    let bed = setup.open();
    let before = bed.device.pool().stats();
    let (a, b) =
        (bed.device.alloc(0).unwrap(), bed.device.alloc(Request::new(0).dedicated().zeroed()).unwrap());
    let real = bed.device.alloc(64).unwrap();
    let slice = real.slice(64..).unwrap();
    assert!(a.is_empty() && b.is_empty() && slice.is_empty());
    let mut arena = Arena::new(bed.device.pool());
    let scratch = arena.alloc(0).unwrap();
    let mut session = bed.session();
    let taken = session.alloc(0).unwrap();
    for empty in [&a, &b, &slice, &scratch, &taken] {
        assert_eq!(empty.read::<u32>().unwrap().len(), 0);
        assert_eq!(empty.write::<u64>().unwrap().len(), 0);
        assert_eq!(empty.to_vec::<f32>().unwrap(), Vec::<f32>::new());
        empty.copy_from::<u32>(&[]).unwrap();
        assert_eq!(empty.slice(..).unwrap().len(), 0);
        assert!(matches!(empty.slice(0..1), Err(Error::OutOfBounds { .. })));
        let mut stage = session.stage("over nothing");
        stage.copy(empty, &a).unwrap();
        stage.copy(&a, empty).unwrap();
        stage.fill(empty, 1).unwrap();
        assert_eq!(stage.len(), 0, "nothing was recorded");
        bed.kernels().fill(&mut stage, empty, 1).unwrap();
        let args = [empty.arg(), empty.arg(), empty.arg(), 0u32.into()];
        stage.launch(&bed.kernels().add, Grid::linear(1, BLOCK), &args).unwrap();
        stage.fence().unwrap().wait().unwrap();
    }
    drop((a, b, slice, scratch, taken, real));
    drop(arena);
    let after = bed.device.pool().stats();
    assert_eq!((after.in_use, after.live), (before.in_use, before.live));
}

fn empty_stages_and_recordings_run(setup: &Setup) {
    let bed = setup.open();
    let mut session = bed.session();
    let recording = session.stage("empty").record().unwrap();
    assert_eq!(recording.bindings(), 0);
    for _ in 0..3 {
        session.stage("empty").fence().unwrap().wait().unwrap();
        session.stage("empty").submit().unwrap();
        session.replay(&recording).unwrap().wait().unwrap();
    }
    assert_eq!(session.stats().submissions, 9);
    session.finish().unwrap().wait().unwrap();
}

fn a_launch_without_groups_runs_nothing(setup: &Setup) {
    let bed = setup.open();
    let buffer = bed.device.upload(&[7u32; 64]).unwrap();
    let signature =
        Signature::new([Param::Buffer { access: Access::Write, element: 4, per_group: PerGroup::All }]);
    const TRAP: &str = ".version 7.0\n.target sm_70\n.address_size 64\n\
        .visible .entry never(.param .u64 a) { trap; }\n";
    const SETS: &str =
        "#include <metal_stdlib>\nkernel void never(device uint *a [[buffer(0)]]) { a[0] = 1; }\n";
    let def = forebay_device::KernelDef::new("never", signature).cpu(|_| panic!("it ran"));
    let def = def.image(ImageFormat::Ptx, TRAP.as_bytes(), "never");
    let def = def.image(ImageFormat::Msl, SETS.as_bytes(), "never");
    let kernel = bed.device.load(&def).unwrap();
    let mut session = bed.session();
    let mut stage = session.stage("no groups");
    for groups in [[0, 1, 1], [1, 0, 1], [4, 4, 0], [u32::MAX, u32::MAX, 0]] {
        let grid = Grid { groups, ..Grid::linear(1, 1) };
        assert_eq!(grid.count(), 0);
        stage.launch(&kernel, grid, &[buffer.arg()]).unwrap();
        assert!(stage.launch(&kernel, grid, &[]).is_err(), "its arguments are still checked");
    }
    stage.launch(&kernel, Grid::linear(1, 0), &[buffer.arg()]).unwrap();
    assert_eq!(stage.len(), 0);
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(buffer.to_vec::<u32>().unwrap(), [7; 64]);
}
