//! B4 to B8 from the side of the host: typed access, guards, and memory of somebody else.

use std::{fs, thread, time::Duration};

use forebay_device::{Error as DeviceError, Holder, MappedFile, Request};
use forebay_tensor::{DType, Error, Tensor};
use half::f16;
use testkit::{Setup, Test};

use crate::{blank, counted, refused, refused_by_device};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Bytes:
        b4_typed_access_sees_exactly_the_view,
        b6_views_that_overlap_have_many_readers_or_one_writer,
        b6_work_on_a_guarded_tensor_is_refused,
        b6_a_guard_waits_for_the_device;
    Every:
        b5_another_type_or_number_of_elements_is_an_error_that_says_which,
        b5_bytes_that_do_not_match_the_shape_are_refused,
        b5_elements_that_are_not_in_a_row_are_no_slice;
    Host:
        b7_a_tensor_of_a_mapped_file_is_only_read,
        b8_a_tensor_of_outside_memory_is_used_in_place;
};

fn holder<T: std::fmt::Debug>(result: Result<T, Error>) -> Holder {
    match refused_by_device(result) {
        DeviceError::Busy { holder, .. } => holder,
        other => panic!("{other}"),
    }
}

fn b4_typed_access_sees_exactly_the_view(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[5, 7]);
    let view = tensor.narrow(0, 2..4).unwrap();
    assert_eq!(view.read::<u32>().unwrap().len(), 14);
    view.write::<u32>().unwrap().fill(u32::MAX);
    let got = tensor.to_vec::<u32>().unwrap();
    for (i, x) in got.into_iter().enumerate() {
        assert_eq!(x, if (14..28).contains(&i) { u32::MAX } else { i as u32 }, "element {i}");
    }
    let halves = [1.0, -0.5, f32::INFINITY, 65504.0].map(f16::from_f32);
    let tensor = Tensor::from_slice(&bed.device, &[2, 2], &halves).unwrap();
    let row = tensor.narrow(0, 1..2).unwrap();
    assert_eq!(row.to_vec::<f16>().unwrap(), halves[2..]);
    assert_eq!(row.to_f32().unwrap(), [f32::INFINITY, 65504.0]);
    row.copy_from(&[f16::ZERO, f16::ONE]).unwrap();
    assert_eq!(tensor.to_f32().unwrap(), [1.0, -0.5, 0.0, 1.0]);
}

fn b5_another_type_or_number_of_elements_is_an_error_that_says_which(on: &Setup) {
    let bed = on.open();
    let tensor = blank(&bed.device, &[3, 4]);
    for error in
        [refused(tensor.read::<f32>()), refused(tensor.write::<f32>()), refused(tensor.to_vec::<f32>())]
    {
        assert_eq!(error, Error::HostType { dtype: "u32", asked: "f32" });
    }
    assert_eq!(refused(tensor.copy_from(&[0i32; 12])), Error::HostType { dtype: "u32", asked: "i32" });
    for given in [0, 11, 13] {
        let wanted = Error::ElementCount { what: "elements", given, wanted: 12 };
        assert_eq!(refused(tensor.copy_from(&vec![0u32; given])), wanted);
        assert_eq!(refused(Tensor::from_slice(&bed.device, &[3, 4], &vec![0u32; given])), wanted);
    }
    assert_eq!(refused(tensor.to_f32()), Error::NoFormat { dtype: "u32" });
    // An offset that no element of the type has.
    let buffer = bed.device.alloc(64).unwrap().slice(2..10).unwrap();
    let shifted = Tensor::of(DType::F32, &[2], buffer).unwrap();
    let error = refused_by_device(shifted.read::<f32>());
    assert!(matches!(error, DeviceError::Misaligned { offset: 2, align: 4 }), "{error}");
}

fn b5_bytes_that_do_not_match_the_shape_are_refused(on: &Setup) {
    let bed = on.open();
    for (dtype, shape, elements, wanted) in [
        (DType::F32, &[3, 5][..], 15, 60),
        (DType::Q8_0, &[2, 64], 128, 136),
        (DType::Q4_K, &[3, 256], 768, 432),
        (DType::BF16, &[], 1, 2),
        (DType::U8, &[0, 9], 0, 0),
    ] {
        for given in
            [wanted + 1, usize::saturating_sub(wanted, 1), 2 * wanted].into_iter().filter(|n| *n != wanted)
        {
            let buffer = bed.device.alloc(given as u64).unwrap();
            let error = refused(Tensor::of(dtype, shape, buffer));
            assert_eq!(
                error,
                Error::ByteLength { what: "buffer", dtype: dtype.name(), elements, given, wanted }
            );
            let numbers = [given, wanted, elements].map(|number| number.to_string());
            assert!(numbers.iter().all(|number| error.to_string().contains(number)), "{error}");
        }
        let buffer = bed.device.alloc(wanted as u64).unwrap();
        assert_eq!(Tensor::of(dtype, shape, buffer).unwrap().elements(), elements);
    }
    let buffer = bed.device.alloc(34).unwrap();
    let error = refused(Tensor::of(DType::Q8_0, &[33], buffer));
    assert_eq!(error.to_string(), "a row of 33 elements is no whole number of q8_0 blocks of 32");
    assert!(matches!(refused(Tensor::request(DType::F32, &[usize::MAX / 8, 4])), Error::Shape { .. }));
    assert_eq!(bed.device.pool().stats().in_use, 0, "what was refused is given back");
}

fn b5_elements_that_are_not_in_a_row_are_no_slice(on: &Setup) {
    let bed = on.open();
    let columns = blank(&bed.device, &[3, 4]).narrow(1, 1..3).unwrap();
    let wanted = Error::Strided { shape: vec![3, 2], strides: vec![4, 1] };
    assert_eq!(refused(columns.read::<u32>()), wanted);
    assert_eq!(refused(columns.write::<u32>()), wanted);
    assert_eq!(refused(columns.copy_from(&[0u32; 6])), wanted);
    assert_eq!(refused(columns.to_f32()), wanted);
}

fn b6_views_that_overlap_have_many_readers_or_one_writer(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[6, 8]);
    let (low, high) = (tensor.narrow(0, 0..3).unwrap(), tensor.narrow(0, 3..6).unwrap());
    let middle = tensor.narrow(0, 2..4).unwrap();
    {
        let (all, part) = (tensor.read::<u32>().unwrap(), middle.read::<u32>().unwrap());
        assert_eq!((all[47], part[0]), (47, 16));
        assert_eq!(holder(high.write::<u32>()), Holder::HostRead);
        assert_eq!(holder(tensor.copy_from(&[0u32; 48])), Holder::HostRead);
    }
    let mut guard = low.write::<u32>().unwrap();
    assert_eq!(holder(middle.read::<u32>()), Holder::HostWrite);
    assert_eq!(holder(tensor.to_vec::<u32>()), Holder::HostWrite);
    let mut other = high.write::<u32>().unwrap();
    (guard[23], other[0]) = (1, 2);
    drop((guard, other));
    assert_eq!(middle.to_vec::<u32>().unwrap()[7..9], [1, 2]);
}

fn b6_work_on_a_guarded_tensor_is_refused(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[4, 4]);
    let (row, rest) = (tensor.narrow(0, 1..2).unwrap(), tensor.narrow(0, 2..4).unwrap());
    let mut session = bed.session();
    let guard = row.write::<u32>().unwrap();
    let mut stage = session.stage("all of it");
    stage.fill(tensor.buffer(), 0).unwrap();
    assert!(matches!(stage.fence(), Err(DeviceError::Busy { holder: Holder::HostWrite, .. })));
    let mut stage = session.stage("other rows");
    stage.fill(rest.buffer(), 0xFF).unwrap();
    stage.fence().unwrap().wait().unwrap();
    drop(guard);
    let wanted: Vec<u32> = (0..8).chain([u32::MAX; 8]).collect();
    assert_eq!(tensor.to_vec::<u32>().unwrap(), wanted, "what was refused has changed nothing");
}

fn b6_a_guard_waits_for_the_device(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[4, 64]);
    let low = tensor.narrow(0, 0..2).unwrap();
    let mut session = bed.session();
    let gate = bed.gate(&mut session);
    let mut stage = session.stage("slow");
    stage.fill(low.buffer(), 0x11).unwrap();
    stage.submit().unwrap();
    assert!(matches!(
        refused_by_device(low.buffer().try_read::<u32>().map_err(Error::from)),
        DeviceError::Busy { .. }
    ));
    thread::scope(|threads| {
        let reader = threads.spawn(|| low.to_vec::<u32>().unwrap());
        thread::sleep(Duration::from_millis(3));
        gate.open();
        assert_eq!(reader.join().unwrap(), [0x1111_1111; 128]);
    });
}

fn b7_a_tensor_of_a_mapped_file_is_only_read(on: &Setup) {
    let bed = on.open();
    let folder = std::env::temp_dir().join(format!("forebay-tensor-{}-{}", std::process::id(), on.name));
    fs::create_dir_all(&folder).unwrap();
    let numbers: Vec<f32> = (0..1000).map(|i| i as f32 * 0.5).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(folder.join("weights"), &bytes).unwrap();
    let file = MappedFile::open(folder.join("weights")).unwrap();
    fs::remove_dir_all(folder).unwrap();
    let tensor = Tensor::of(DType::F32, &[10, 100], bed.device.adopt_file(&file).unwrap()).unwrap();
    assert_eq!(tensor.name().as_str(), "weights");
    assert_eq!(bed.device.pool().stats().reserved, 0, "no copy was made");
    let rows = tensor.narrow(0, 7..9).unwrap();
    assert_eq!(rows.to_vec::<f32>().unwrap(), numbers[700..900]);
    for refusal in [
        refused_by_device(rows.write::<f32>()),
        refused_by_device(tensor.copy_from(&numbers)),
        refused_by_device(tensor.reshape(&[1000]).unwrap().write::<f32>()),
    ] {
        assert!(matches!(&refusal, DeviceError::ReadOnly { label } if &**label == "weights"), "{refusal}");
    }
    assert_eq!(tensor.to_f32().unwrap(), numbers);
}

fn b8_a_tensor_of_outside_memory_is_used_in_place(on: &Setup) {
    let bed = on.open();
    let vector: Vec<u32> = (0..600).collect();
    let address = vector.as_ptr() as u64;
    let tensor = Tensor::of(DType::U32, &[20, 30], bed.device.adopt(vector).unwrap()).unwrap();
    let rows = tensor.narrow(0, 5..6).unwrap();
    assert_eq!(rows.buffer().address(), address + 5 * 30 * 4);
    let copy = bed.device.alloc(Request::new(120)).unwrap();
    let copy = Tensor::of(DType::U32, &[30], copy).unwrap();
    let mut session = bed.session();
    let mut stage = session.stage("use");
    stage.copy(rows.buffer(), copy.buffer()).unwrap();
    stage.fill(rows.buffer(), 0).unwrap();
    stage.fence().unwrap().wait().unwrap();
    assert_eq!(copy.to_vec::<u32>().unwrap(), (150..180).collect::<Vec<_>>());
    assert_eq!(tensor.to_vec::<u32>().unwrap()[149..181].iter().sum::<u32>(), 149 + 180);
}
