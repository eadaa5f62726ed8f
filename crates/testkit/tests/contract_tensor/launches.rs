//! B4 and B7 from the side of kernels: an op sees exactly the tensors that it is given, and which tensors it refuses.

use std::fs;

use forebay_device::{Error as DeviceError, MappedFile};
use forebay_tensor::{
    ArgumentFault, DType, Error, Ops, Tensor, Weight,
    ops::{Add, Append, Copy, Embed, Scale, Softmax},
};
use testkit::{Bed, Setup, Test};

use crate::{refused, refused_by_device};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Rust:
        b4_an_op_sees_exactly_the_view,
        b4_what_an_op_writes_overlaps_nothing_that_it_reads,
        b4_a_tensor_of_another_device_is_refused,
        b4_what_does_not_lie_in_a_row_is_refused_but_by_copy,
        b4_ids_and_positions_that_are_not_there_fail_the_stage_and_nothing_else,
        b7_no_op_writes_to_what_is_only_read;
};

/// Floats that count up from 0.
fn floats(bed: &Bed, shape: &[usize]) -> Tensor {
    let elements: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
    Tensor::from_slice(&bed.device, shape, &elements).unwrap()
}

/// Whether just these elements changed, each to `f` of what it was.
fn changed(tensor: &Tensor, inside: impl Fn(usize) -> bool, f: impl Fn(f32) -> f32) {
    for (i, x) in tensor.to_f32().unwrap().into_iter().enumerate() {
        assert_eq!(x, if inside(i) { f(i as f32) } else { i as f32 }, "element {i}");
    }
}

fn b4_an_op_sees_exactly_the_view(on: &Setup) {
    let bed = on.open();
    let ops = Ops::open(&bed.device).unwrap();
    let mut session = bed.session();
    for (first, last) in [(0, 1), (1, 2), (3, 130), (0, 200), (199, 200), (77, 77)] {
        let all = floats(&bed, &[200, 33]);
        let view = all.narrow(0, first..last).unwrap();
        let mut stage = session.stage("rows");
        ops.record(&mut stage, &Scale { x: &view, factor: 2.0 }).unwrap();
        stage.fence().unwrap().wait().unwrap();
        changed(&all, |i| (first * 33..last * 33).contains(&i), |x| 2.0 * x);
    }
    // One element in the middle of a strided view of a view.
    let all = floats(&bed, &[5, 6, 7]);
    let one = all.narrow(2, 3..6).unwrap().narrow(0, 2..3).unwrap().narrow(1, 5..6).unwrap();
    let mut stage = session.stage("three of a row");
    ops.record(&mut stage, &Scale { x: &one, factor: -1.0 }).unwrap();
    stage.fence().unwrap().wait().unwrap();
    let start = 2 * 42 + 5 * 7 + 3;
    changed(&all, |i| (start..start + 3).contains(&i), |x| -x);
}

fn b4_what_an_op_writes_overlaps_nothing_that_it_reads(on: &Setup) {
    let bed = on.open();
    let ops = Ops::open(&bed.device).unwrap();
    let all = floats(&bed, &[6, 4]);
    let (low, high) = (all.narrow(0, 0..3).unwrap(), all.narrow(0, 2..5).unwrap());
    let mut session = bed.session();
    let mut stage = session.stage("overlap");
    for error in [
        refused_by_device(ops.record(&mut stage, &Copy { x: &low, out: &high })),
        refused_by_device(ops.record(&mut stage, &Add { x: &high, y: &low })),
        refused_by_device(ops.record(&mut stage, &Copy { x: &all, out: &all })),
    ] {
        assert!(error.to_string().contains("overlap"), "{error}");
    }
    assert!(stage.is_empty(), "what was refused leaves the stage as it was");
    let apart = all.narrow(0, 3..6).unwrap();
    ops.record(&mut stage, &Copy { x: &low, out: &apart }).unwrap();
    stage.fence().unwrap().wait().unwrap();
    changed(&all, |i| i >= 12, |x| x - 12.0);
}

fn b4_a_tensor_of_another_device_is_refused(on: &Setup) {
    let (bed, other) = (on.open(), on.open());
    let ops = Ops::open(&bed.device).unwrap();
    let (ours, theirs) = (floats(&bed, &[4]), floats(&other, &[4]));
    let mut session = bed.session();
    let mut stage = session.stage("foreign");
    for error in [
        refused_by_device(ops.record(&mut stage, &Add { x: &ours, y: &theirs })),
        refused_by_device(ops.record(&mut stage, &Add { x: &theirs, y: &ours })),
        refused_by_device(ops.record(&mut stage, &Scale { x: &theirs, factor: 2.0 })),
    ] {
        assert!(matches!(error, DeviceError::ForeignDevice { .. }), "{error}");
    }
    assert!(stage.is_empty());
    drop(stage);
    let mut session = other.session();
    let mut stage = session.stage("foreign kernels");
    let error = refused_by_device(ops.record(&mut stage, &Scale { x: &theirs, factor: 2.0 }));
    assert!(matches!(error, DeviceError::ForeignDevice { .. }), "{error}");
    changed(&ours, |_| false, |x| x);
    changed(&theirs, |_| false, |x| x);
}

fn b4_what_does_not_lie_in_a_row_is_refused_but_by_copy(on: &Setup) {
    let bed = on.open();
    let ops = Ops::open(&bed.device).unwrap();
    let all = floats(&bed, &[3, 4]);
    let columns = all.narrow(1, 1..3).unwrap();
    let mut session = bed.session();
    let mut stage = session.stage("columns");
    let fault = ArgumentFault::Strided { strides: vec![4, 1] };
    let wanted = Error::Argument { op: "softmax", argument: "x", fault };
    assert_eq!(refused(ops.record(&mut stage, &Softmax { x: &columns, scale: 1.0 })), wanted);
    let out = Tensor::of(DType::F32, &[3, 2], bed.device.alloc(24).unwrap()).unwrap();
    ops.record(&mut stage, &Copy { x: &columns, out: &out }).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(out.to_vec::<f32>().unwrap(), [1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
    changed(&all, |_| false, |x| x);
}

fn b4_ids_and_positions_that_are_not_there_fail_the_stage_and_nothing_else(on: &Setup) {
    let bed = on.open();
    let ops = Ops::open(&bed.device).unwrap();
    for id in [2u32, 3, u32::MAX] {
        // What failed work wrote cannot be looked at, but what lies around it can.
        let around = [(); 5].map(|()| floats(&bed, &[2, 32]));
        let [before, out, between, cache, after] = &around;
        let ids = Tensor::from_slice(&bed.device, &[1], &[id]).unwrap();
        let out = out.narrow(0, 0..1).unwrap();
        let op = Embed { table: &Weight::rows(before).unwrap(), ids: &ids, out: &out };
        let (mut one, mut other) = (bed.session(), bed.session());
        let mut stage = one.stage("look up");
        ops.record(&mut stage, &op).unwrap();
        let error = stage.fence().unwrap().wait().unwrap_err().to_string();
        assert!(error.contains(&format!("id {id} is not in a table of 2 rows")), "{error}");

        let cache = cache.reshape(&[1, 2, 32]).unwrap();
        let x = before.narrow(0, 0..1).unwrap().reshape(&[1, 1, 32]).unwrap();
        let op = Append { x: &x, positions: &ids, places: None, cache: &cache, ring: false };
        let mut stage = other.stage("append");
        ops.record(&mut stage, &op).unwrap();
        let error = stage.fence().unwrap().wait().unwrap_err().to_string();
        assert!(error.contains(&format!("position {id} is not in a cache of 2")), "{error}");
        for tensor in [before, between, after] {
            changed(tensor, |_| false, |x| x);
        }
    }
}

fn b7_no_op_writes_to_what_is_only_read(on: &Setup) {
    let bed = on.open();
    let ops = Ops::open(&bed.device).unwrap();
    let path = std::env::temp_dir().join(format!("forebay-only-read-{}-{}", std::process::id(), on.name));
    fs::write(&path, [1.0f32, 2.0].map(f32::to_le_bytes).concat()).unwrap();
    let file = MappedFile::open(&path).unwrap();
    fs::remove_file(path).unwrap();
    let weights = Tensor::of(DType::F32, &[2], bed.device.adopt_file(&file).unwrap()).unwrap();
    let x = floats(&bed, &[2]);
    let mut session = bed.session();
    let mut stage = session.stage("only read");
    let error = refused_by_device(ops.record(&mut stage, &Scale { x: &weights, factor: 2.0 }));
    assert!(matches!(error, DeviceError::ReadOnly { .. }), "{error}");
    ops.record(&mut stage, &Add { x: &x, y: &weights }).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 3.0]);
}
