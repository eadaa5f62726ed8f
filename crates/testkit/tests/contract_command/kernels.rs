//! Kernels and launches: found by name, refused with the argument that is wrong, separated where ranges conflict.

use forebay_device::{
    Arg, ArgumentFault, Buffer, Device, Error, Grid, ImageFormat, KernelDef, NullCall, Param, Signature,
    Stage,
};
use testkit::{BLOCK, Kernels, Setup, Test, definitions, tests};

use crate::{ODD, empty, filled};

pub(crate) const TESTS: &[Test] = tests! {
    Every: k1_a_kernel_is_loaded_once_and_found_by_name,
        k1_an_unknown_name_is_told_with_the_near_ones,
        k3_ranges_that_touch_need_no_barrier_in_either_order,
        k3_every_kind_of_conflict_needs_one_barrier,
        s11_a_refused_launch_leaves_the_stage_as_it_was,
        s11_a_grid_that_no_device_has_is_refused;
    Kernels: k1_a_second_device_runs_the_same_definition,
        k2_arguments_are_those_of_the_moment_of_recording,
        k3_dependent_launches_of_one_stage_see_each_others_writes,
        s11_a_stage_with_a_refused_launch_still_runs;
    Rust: k2_groups_own_as_many_elements_as_an_argument_says;
};

fn k2_groups_own_as_many_elements_as_an_argument_says(setup: &Setup) {
    let bed = setup.open();
    let signature = Signature::new([Param::write::<u32>().per_group_of(1), Param::u32()]);
    let def = KernelDef::new("number", signature).cpu(|group| group.write(0).fill(group.index() as u32));
    let kernel = bed.device.load(&def).unwrap();
    let mut session = bed.session();
    for length in [1, 3, 7, 64, 100] {
        let buffer = bed.device.upload(&[99u32; 64]).unwrap();
        let mut stage = session.stage("number");
        let groups = 64u32.div_ceil(length) + 1;
        stage.launch(&kernel, Grid::linear(groups, 1), &[buffer.arg(), length.into()]).unwrap();
        stage.fence().unwrap().wait().unwrap();
        let wanted: Vec<u32> = (0..64).map(|i| i / length).collect();
        assert_eq!(buffer.to_vec::<u32>().unwrap(), wanted, "{length} elements a group");
    }
}

fn k1_a_kernel_is_loaded_once_and_found_by_name(setup: &Setup) {
    let bed = setup.open();
    let first = Kernels::load(&bed.device).unwrap();
    let calls = bed.control.as_ref().map(|control| control.calls(NullCall::KernelLoad));
    Kernels::load(&bed.device).unwrap();
    assert_eq!(bed.control.as_ref().map(|control| control.calls(NullCall::KernelLoad)), calls);
    let found = bed.device.kernel("add").unwrap();
    assert_eq!((found.name(), found.signature()), ("add", first.add.signature()));
    let other = KernelDef::new("add", Signature::new([Param::u32()])).cpu(|_| ());
    assert!(matches!(bed.device.load(&other), Err(Error::Module { .. })), "one name, one signature");
}

fn k1_an_unknown_name_is_told_with_the_near_ones(setup: &Setup) {
    let bed = setup.open();
    let near_of = |name: &str| match bed.device.kernel(name) {
        Err(Error::UnknownKernel { name: told, near }) => {
            assert_eq!(told, name);
            near
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(near_of("add"), Vec::<String>::new(), "nothing is loaded yet");
    Kernels::load(&bed.device).unwrap();
    assert_eq!(near_of("reduce_summ"), ["reduce_sum"]);
    assert_eq!(near_of("spim")[0], "spin");
    assert_eq!(near_of("flash_attention_backward"), Vec::<String>::new());
    let text = bed.device.kernel("coppy").unwrap_err().to_string();
    assert!(text.contains("coppy") && text.contains("copy"), "{text}");
    near_of("");
}

fn k1_a_second_device_runs_the_same_definition(setup: &Setup) {
    let [add, ..] = definitions();
    for _ in 0..2 {
        let bed = setup.open();
        let kernel = bed.device.load(&add).unwrap();
        let (a, out) = (filled(&bed, 3), empty(&bed));
        let mut session = bed.session();
        let mut stage = session.stage("add");
        let args = [a.arg(), a.arg(), out.arg(), (ODD as u32).into()];
        stage.launch(&kernel, Grid::linear(4, BLOCK), &args).unwrap();
        stage.fence().unwrap().wait().unwrap();
        assert_eq!(out.to_vec::<u32>().unwrap(), vec![6; ODD]);
    }
}

fn k2_arguments_are_those_of_the_moment_of_recording(setup: &Setup) {
    let bed = setup.open();
    let buffers: Vec<Buffer> = (0..40).map(|_| filled(&bed, 0)).collect();
    let before = bed.device.pool().stats();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("many values");
    let mut value = 100u32;
    for buffer in &buffers {
        value += 1;
        let args = [buffer.arg(), value.into(), (ODD as u32).into()];
        stage.launch(&bed.kernels().fill, Grid::linear(4, BLOCK), &args).unwrap();
    }
    value = 0;
    let fence = stage.fence().unwrap();
    gate.open();
    fence.wait().unwrap();
    for (buffer, value) in buffers.iter().zip(101 + value..) {
        assert_eq!(buffer.to_vec::<u32>().unwrap(), vec![value; ODD]);
    }
    let after = bed.device.pool().stats();
    assert_eq!((before.hits, before.misses), (after.hits, after.misses), "a launch takes no device memory");
}

/// Barriers of a stage with two launches over bytes of one buffer: what the first and the second read and write.
fn barriers(
    stage: &mut Stage<'_>,
    kernel: &forebay_device::Kernel,
    first: [&Buffer; 2],
    second: [&Buffer; 2],
) -> usize {
    for [read, write] in [first, second] {
        stage.launch(kernel, Grid::linear(1, 1), &[read.arg(), write.arg()]).unwrap();
    }
    stage.barriers()
}

fn touch(device: &Device) -> forebay_device::Kernel {
    let signature = Signature::new([Param::read::<u8>(), Param::write::<u8>()]);
    const NOTHING: &str = ".version 7.0\n.target sm_70\n.address_size 64\n\
        .visible .entry touch(.param .u64 a, .param .u64 b) { ret; }\n";
    const NOTHING_MSL: &str =
        "kernel void touch(device const uchar *a [[buffer(0)]], device uchar *b [[buffer(1)]]) {}";
    let text = format!("#include <metal_stdlib>\n{NOTHING_MSL}\n");
    let def = KernelDef::new("touch", signature).cpu(|_| ());
    let def = def.image(ImageFormat::Ptx, NOTHING.as_bytes(), "touch");
    device.load(&def.image(ImageFormat::Msl, text.into_bytes(), "touch")).unwrap()
}

fn k3_ranges_that_touch_need_no_barrier_in_either_order(setup: &Setup) {
    let bed = setup.open();
    let kernel = touch(&bed.device);
    let (buffer, other) = (bed.device.alloc(4096).unwrap(), bed.device.alloc(64).unwrap());
    let mut session = bed.session();
    for cut in [1, 127, 128, 129, 255] {
        let (low, high) = (buffer.slice(0..cut).unwrap(), buffer.slice(cut..256).unwrap());
        for (first, second) in [(&low, &high), (&high, &low)] {
            let mut stage = session.stage("touching");
            assert_eq!(barriers(&mut stage, &kernel, [&other, first], [&other, second]), 0);
            drop(stage);
            let mut stage = session.stage("write beside a read");
            assert_eq!(barriers(&mut stage, &kernel, [first, &other], [&other, second]), 1, "it reads other");
            drop(stage);
            let mut stage = session.stage("write what was read");
            assert_eq!(barriers(&mut stage, &kernel, [first, &other], [second, first]), 1);
            drop(stage);
            let mut stage = session.stage("read twice, write beside");
            assert_eq!(barriers(&mut stage, &kernel, [first, &other], [first, second]), 0);
        }
        let wide = buffer.slice(cut - 1..256).unwrap();
        let mut stage = session.stage("one byte in common");
        assert_eq!(barriers(&mut stage, &kernel, [&other, &low], [&other, &wide]), 1);
    }
}

fn k3_every_kind_of_conflict_needs_one_barrier(setup: &Setup) {
    let bed = setup.open();
    let kernel = touch(&bed.device);
    let [x, y, z, w] = [0; 4].map(|_| bed.device.alloc(64).unwrap());
    let mut session = bed.session();
    for (first, second, wanted, what) in [
        ([&x, &y], [&y, &z], 1, "read after write"),
        ([&x, &y], [&z, &x], 1, "write after read"),
        ([&x, &y], [&z, &y], 1, "write after write"),
        ([&x, &y], [&x, &z], 0, "read after read"),
        ([&x, &y], [&z, &w], 0, "nothing in common"),
    ] {
        let mut stage = session.stage(what);
        assert_eq!(barriers(&mut stage, &kernel, first, second), wanted, "{what}");
        stage.copy(&w, &w.slice(0..0).unwrap()).unwrap_err();
        stage.fence().unwrap().wait().unwrap();
        if let Some(control) = &bed.control {
            assert_eq!(control.submissions().last().unwrap().barriers, wanted);
        }
    }
}

fn k3_dependent_launches_of_one_stage_see_each_others_writes(setup: &Setup) {
    let bed = setup.open();
    let elements = 40_000u32;
    let [a, b, c] = [0; 3].map(|_| bed.device.alloc(4 * u64::from(elements)).unwrap());
    let sum = bed.device.alloc(4).unwrap();
    let kernels = bed.kernels();
    let mut session = bed.session();
    for round in 1..60u32 {
        let mut stage = session.stage("dependent");
        kernels.fill(&mut stage, &a, round).unwrap();
        kernels.copy(&mut stage, &a, &b).unwrap();
        kernels.add(&mut stage, &a, &b, &c).unwrap();
        stage.copy(&c, &b).unwrap();
        kernels.reduce_sum(&mut stage, &b, &sum).unwrap();
        kernels.fill(&mut stage, &b, 0).unwrap();
        assert_eq!(stage.barriers(), 5);
        stage.fence().unwrap().wait().unwrap();
        assert_eq!(sum.to_vec::<u32>().unwrap(), [2 * round * elements]);
    }
}

/// Launches that must be refused, each with what is said about it.
fn refused(stage: &mut Stage<'_>, kernels: &Kernels, good: &Buffer, foreign: &Buffer, odd: &Buffer) {
    let grid = Grid::linear(4, BLOCK);
    let n = Arg::from(ODD as u32);
    let mut fault = |args: &[Arg<'_>]| match stage.launch(&kernels.fill, grid, args) {
        Err(Error::Argument { kernel, index, fault }) => {
            assert_eq!(&*kernel, "fill");
            (index, fault)
        }
        other => panic!("{other:?}"),
    };
    let value = Arg::from(1u32);
    assert_eq!(fault(&[]), (0, ArgumentFault::Count { given: 0, wanted: 3 }));
    assert_eq!(fault(&[good.arg(), value]), (2, ArgumentFault::Count { given: 2, wanted: 3 }));
    assert_eq!(fault(&[good.arg(), value, n, n]), (3, ArgumentFault::Count { given: 4, wanted: 3 }));
    let kind = |given, wanted| ArgumentFault::Kind { given, wanted };
    assert_eq!(fault(&[value, value, n]), (0, kind("a u32", "a buffer")));
    assert_eq!(fault(&[good.arg(), 1.0f32.into(), n]), (1, kind("an f32", "a u32")));
    assert_eq!(fault(&[good.arg(), value, odd.arg()]), (2, kind("a buffer", "a u32")));
    assert!(matches!(fault(&[odd.arg(), value, n]), (0, ArgumentFault::Element { element: 4, .. })));
    let many = [value; 25];
    assert!(matches!(fault(&many), (24, ArgumentFault::Limit { asked: 25, most: 24 })));
    let foreign = stage.launch(&kernels.fill, grid, &[foreign.arg(), value, n]);
    assert!(matches!(foreign, Err(Error::ForeignDevice { what: "buffer", .. })), "{foreign:?}");
    let same = stage.launch(&kernels.copy, grid, &[good.arg(), good.arg(), n]);
    assert!(
        matches!(same, Err(Error::Argument { index: 1, fault: ArgumentFault::Overlaps { other: 0 }, .. })),
        "{same:?}"
    );
}

fn s11_a_refused_launch_leaves_the_stage_as_it_was(setup: &Setup) {
    let (bed, other) = (setup.open(), setup.open());
    let (good, foreign, odd) = (empty(&bed), empty(&other), bed.device.alloc(17).unwrap());
    let kernels = bed.kernels();
    let mut session = bed.session();
    let mut stage = session.stage("refusals");
    refused(&mut stage, kernels, &good, &foreign, &odd);
    assert!(stage.is_empty());
    kernels.fill(&mut stage, &good, 1).unwrap();
    refused(&mut stage, kernels, &good, &foreign, &odd);
    assert_eq!((stage.len(), stage.barriers()), (1, 0));
    let kernel =
        stage.launch(&other.kernels().fill, Grid::linear(1, 1), &[good.arg(), 1u32.into(), 1u32.into()]);
    assert!(matches!(kernel, Err(Error::ForeignDevice { what: "kernel", .. })), "{kernel:?}");
    assert!(matches!(stage.copy(&good, &odd), Err(Error::Length { .. })));
    assert!(matches!(stage.fill(&foreign, 0), Err(Error::ForeignDevice { .. })));
    assert!(matches!(stage.fill(3u32, 0), Err(Error::Argument { .. })));
    assert_eq!((stage.len(), stage.barriers()), (1, 0));
    drop(odd);
    let held = bed.device.pool().stats().in_use;
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(held, 1, "what was refused is not kept");
    if let Some(control) = &bed.control {
        assert_eq!(control.submissions().last().unwrap().launches, ["fill"]);
    }
}

fn s11_a_grid_that_no_device_has_is_refused(setup: &Setup) {
    let bed = setup.open();
    let buffer = empty(&bed);
    let mut session = bed.session();
    let mut stage = session.stage("grids");
    let most = u32::MAX;
    for groups in [[most; 3], [most, 2, 1], [1 << 16, 1 << 16, 1], [1, most, 3]] {
        let grid = Grid { groups, ..Grid::linear(1, BLOCK) };
        let outcome = stage.launch(&bed.kernels().fill, grid, &[buffer.arg(), 1u32.into(), 1u32.into()]);
        assert!(
            matches!(outcome, Err(Error::Argument { fault: ArgumentFault::Limit { .. }, .. })),
            "{groups:?}: {outcome:?}"
        );
    }
    assert!(stage.is_empty());
    stage.fence().unwrap().wait().unwrap();
}

fn s11_a_stage_with_a_refused_launch_still_runs(setup: &Setup) {
    let bed = setup.open();
    let (a, b) = (filled(&bed, 0), filled(&bed, 0));
    let kernels = bed.kernels();
    let mut session = bed.session();
    let mut stage = session.stage("partly refused");
    kernels.fill(&mut stage, &a, 8).unwrap();
    stage.launch(&kernels.fill, Grid::linear(4, BLOCK), &[b.arg()]).unwrap_err();
    kernels.copy(&mut stage, &a, &b).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(b.to_vec::<u32>().unwrap(), vec![8; ODD]);
}
