//! B1 to B3, B9 and B10: who holds the bytes, views of views, what can be reshaped, and what is printed.

use forebay_device::Request;
use forebay_tensor::{DType, Error, Level, Tensor, Weight, WeightBytes, quant::mlx};
use testkit::{Setup, Test};

use crate::{blank, counted, refused};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Every:
        b1_the_last_view_ends_the_membership,
        b2_a_fresh_tensor_is_a_member_without_a_call,
        b3_what_reaches_out_of_a_tensor_is_an_error_with_the_values,
        b3_views_take_no_memory,
        b9_debug_shows_type_shape_device_and_label,
        b10_reshape_wants_the_same_elements_in_a_row;
    Bytes:
        b1_clones_and_views_share_the_bytes,
        b3_views_of_views_are_relative_and_the_same_bytes,
        b3_views_of_blocks_cut_between_them,
        b9_debug_never_shows_the_elements,
        b10_a_reshaped_tensor_is_the_same_elements;
};

fn b1_the_last_view_ends_the_membership(on: &Setup) {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let bed = on.open();
    let residency = bed.device.residency();
    let buffer = bed.device.alloc(Tensor::request(DType::F32, &[6, 5]).unwrap()).unwrap();
    let tensor = Tensor::of(DType::F32, &[6, 5], buffer).unwrap();
    shared(&tensor);
    let holders = [
        tensor.clone(),
        tensor.narrow(0, 2..5).unwrap(),
        tensor.narrow(1, 1..2).unwrap(),
        tensor.transpose(0, 1).unwrap(),
        tensor.reshape(&[30]).unwrap(),
        tensor.clone().label("another name"),
    ];
    let weight: Weight = Weight::rows(&tensor).unwrap();
    shared(&weight);
    drop(tensor);
    for holder in holders {
        assert_eq!(residency.count(), 1);
        std::thread::spawn(move || drop(holder)).join().unwrap();
    }
    assert_eq!(residency.count(), 1, "the weight holds it");
    drop(weight);
    assert_eq!(residency.count(), 0);
}

fn b1_clones_and_views_share_the_bytes(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[3, 4]);
    let (clone, row) = (tensor.clone(), tensor.narrow(0, 1..2).unwrap());
    row.copy_from(&[90u32, 91, 92, 93]).unwrap();
    clone.narrow(0, 2..3).unwrap().write::<u32>().unwrap()[3] = 99;
    assert_eq!(tensor.to_vec::<u32>().unwrap(), [0, 1, 2, 3, 90, 91, 92, 93, 8, 9, 10, 99]);
}

fn b2_a_fresh_tensor_is_a_member_without_a_call(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let mut all = Vec::new();
    for rows in 1..=20usize {
        let request = Tensor::request(DType::Q8_0, &[rows, 64]).unwrap();
        all.push(Tensor::of(DType::Q8_0, &[rows, 64], bed.device.alloc(request).unwrap()).unwrap());
        assert_eq!((residency.count(), residency.driver_calls()), (rows as u64, 0));
    }
    assert!(!residency.add(all[7].buffer()).unwrap(), "it is a member");
}

fn b3_views_of_views_are_relative_and_the_same_bytes(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[4, 3, 5]);
    let outer = tensor.narrow(0, 1..4).unwrap();
    let inner = outer.narrow(0, 1..3).unwrap();
    assert_eq!((inner.shape(), inner.to_vec::<u32>().unwrap()), (&[2, 3, 5][..], (30..60).collect()));
    let row = inner.narrow(0, 1..2).unwrap().narrow(1, 2..3).unwrap();
    assert_eq!((row.shape(), row.to_vec::<u32>().unwrap()), (&[1, 1, 5][..], (55..60).collect()));
    let element = row.narrow(2, 3..4).unwrap();
    assert_eq!(element.to_vec::<u32>().unwrap(), [58]);
    element.copy_from(&[7u32]).unwrap();
    assert_eq!(tensor.to_vec::<u32>().unwrap()[57..], [57, 7, 59]);
    // A column is not in a row; each of its elements is, wherever axes were moved before.
    let columns = tensor.transpose(0, 2).unwrap().narrow(0, 2..4).unwrap();
    assert_eq!((columns.shape(), columns.layout().strides()), (&[2, 3, 4][..], &[1, 5, 15][..]));
    for (at, wanted) in [([0, 0, 0], 2), ([1, 2, 3], 7), ([0, 1, 2], 37)] {
        let mut one = columns.clone();
        for (axis, index) in at.into_iter().enumerate() {
            one = one.narrow(axis, index..index + 1).unwrap();
        }
        assert_eq!(one.to_vec::<u32>().unwrap(), [wanted], "{at:?}");
    }
    for axis in 0..3 {
        let none = inner.narrow(axis, 2..2).unwrap();
        assert_eq!((none.elements(), none.to_vec::<u32>().unwrap()), (0, vec![]), "axis {axis}");
    }
}

fn b3_views_of_blocks_cut_between_them(on: &Setup) {
    let bed = on.open();
    let bytes: Vec<u8> = (0..3 * 2 * 34).map(|i| i as u8).collect();
    let tensor = Tensor::of(DType::Q8_0, &[3, 64], bed.device.upload(&bytes).unwrap()).unwrap();
    let block = tensor.narrow(0, 1..2).unwrap().narrow(1, 32..64).unwrap();
    assert_eq!(block.buffer().to_vec::<u8>().unwrap(), bytes[3 * 34..4 * 34]);
    let error = refused(tensor.narrow(1, 16..48));
    assert_eq!(
        error.to_string(),
        "range 16..48 of axis 1 does not lie in shape [3, 64] in whole blocks of 32"
    );
    assert!(matches!(refused(tensor.transpose(0, 1)), Error::Axis { axis: 1, .. }));
}

fn b3_what_reaches_out_of_a_tensor_is_an_error_with_the_values(on: &Setup) {
    let bed = on.open();
    let tensor = blank(&bed.device, &[4, 3]);
    let view = tensor.narrow(0, 1..3).unwrap();
    for (axis, start, end) in [(0, 0, 3), (0, 3, 3), (1, 2, 4), (0, 2, 1), (1, 0, usize::MAX)] {
        let error = refused(view.narrow(axis, start..end));
        assert_eq!(error, Error::Range { axis, start, end, shape: vec![2, 3], block: 1 });
        assert!(error.to_string().contains(&format!("{start}..{end} of axis {axis}")), "{error}");
    }
    for axis in [2, 4, usize::MAX] {
        assert_eq!(refused(view.narrow(axis, 0..1)), Error::Axis { axis, shape: vec![2, 3] });
        assert_eq!(refused(view.transpose(0, axis)), Error::Axis { axis, shape: vec![2, 3] });
    }
}

fn b3_views_take_no_memory(on: &Setup) {
    let bed = on.open();
    let tensor = blank(&bed.device, &[64, 64]);
    let before = bed.device.pool().stats();
    let views: Vec<Tensor> =
        (0..64).map(|i| tensor.narrow(0, i..64).unwrap().narrow(1, i..64).unwrap()).collect();
    assert_eq!(views[63].elements(), 1);
    let after = bed.device.pool().stats();
    assert_eq!((after.in_use, after.live), (before.in_use, before.live));
}

fn b9_debug_shows_type_shape_device_and_label(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.alloc(Request::new(2 * 3 * 4).label("blk.7.ffn")).unwrap();
    let tensor = Tensor::of(DType::F32, &[2, 3], buffer).unwrap();
    let text = format!("{tensor:?} {:?}", tensor.transpose(0, 1).unwrap().label("turned"));
    let device = bed.device.kind().name();
    for part in ["F32", "[2, 3]", "[3, 2]", "[1, 3]", "blk.7.ffn", "turned", device] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let weight: Weight = Weight::rows(&tensor).unwrap().label("gate");
    let text = format!("{weight:?}");
    for part in ["F32", "[2, 3]", "gate"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

fn b9_debug_never_shows_the_elements(on: &Setup) {
    let bed = on.open();
    let tensor = Tensor::from_slice(&bed.device, &[8, 2], &[0x51DE_51DE_u32; 16]).unwrap();
    let mut texts = vec![
        format!("{tensor:?}"),
        format!("{tensor:#?}"),
        format!("{:?}", tensor.read::<u32>().unwrap()),
        format!("{:?}", tensor.write::<u32>().unwrap()),
        format!("{:?}", Tensor::of(DType::F32, &[16], tensor.buffer().clone()).unwrap()),
    ];
    let block = [0xDE; 34];
    let bytes = WeightBytes::of(DType::Q8_0, [1, 32], &block).unwrap();
    let planes =
        mlx::Planes { codes: &[0xDE; 16], scales: &[0xDE; 2], biases: &[0xDE; 2], scale_type: DType::F16 };
    texts.extend([format!("{bytes:?}"), format!("{planes:?}")]);
    if let Ok(packed) = Weight::pack(&bed.device, &bytes, Level::Plain, "weight", |_| ()) {
        texts.push(format!("{packed:?}"));
    }
    for text in texts {
        for secret in [0x51DE_51DE_u32.to_string(), "222".to_owned(), "de, de".to_owned()] {
            assert!(!text.contains(&secret), "{secret} is in {text}");
        }
    }
}

fn b10_a_reshaped_tensor_is_the_same_elements(on: &Setup) {
    let bed = on.open();
    let tensor = counted(&bed.device, &[4, 6]);
    for shape in [&[24][..], &[2, 12], &[2, 3, 4], &[1, 24, 1, 1], &[6, 4]] {
        let reshaped = tensor.reshape(shape).unwrap();
        assert_eq!(reshaped.shape(), shape);
        assert_eq!(reshaped.to_vec::<u32>().unwrap(), (0..24).collect::<Vec<_>>());
    }
    let rows = tensor.narrow(0, 1..3).unwrap().reshape(&[3, 4]).unwrap();
    assert_eq!(rows.narrow(0, 2..3).unwrap().to_vec::<u32>().unwrap(), [14, 15, 16, 17]);
    rows.narrow(0, 0..1).unwrap().copy_from(&[1u32; 4]).unwrap();
    assert_eq!(tensor.to_vec::<u32>().unwrap()[4..12], [4, 5, 1, 1, 1, 1, 10, 11]);
    // One column of one row is in a row, whatever its strides say.
    let one = tensor.transpose(0, 1).unwrap().narrow(1, 3..4).unwrap().narrow(0, 2..3).unwrap();
    assert_eq!(one.reshape(&[]).unwrap().to_vec::<u32>().unwrap(), [20]);
}

fn b10_reshape_wants_the_same_elements_in_a_row(on: &Setup) {
    let bed = on.open();
    let tensor = blank(&bed.device, &[4, 6]);
    for shape in [&[23][..], &[25], &[4, 7], &[0], &[]] {
        let wanted = Error::Reshape { from: vec![4, 6], to: shape.to_vec(), contiguous: true };
        assert_eq!(refused(tensor.reshape(shape)), wanted);
    }
    for view in [tensor.narrow(1, 0..3).unwrap(), tensor.transpose(0, 1).unwrap()] {
        let to = [view.elements()];
        let error = refused(view.reshape(&to));
        let wanted = Error::Reshape { from: view.shape().to_vec(), to: to.to_vec(), contiguous: false };
        assert_eq!(error, wanted);
        assert!(error.to_string().ends_with("its elements do not lie in a row; copy it first"), "{error}");
    }
    assert!(matches!(refused(tensor.reshape(&[2, 2, 2, 3, 1])), Error::Shape { most: 4, .. }));
    assert!(matches!(refused(tensor.reshape(&[usize::MAX, 2])), Error::Shape { .. }));
    let blocks = bed.device.alloc(Tensor::request(DType::Q8_0, &[2, 64]).unwrap()).unwrap();
    let blocks = Tensor::of(DType::Q8_0, &[2, 64], blocks).unwrap();
    assert_eq!(blocks.reshape(&[4, 32]).unwrap().shape(), [4, 32]);
    let wanted = Error::PartialBlock { dtype: "q8_0", elements: 16, block: 32 };
    assert_eq!(refused(blocks.reshape(&[8, 16])), wanted);
    let none = tensor.narrow(1, 6..6).unwrap();
    assert_eq!(none.reshape(&[0, 9]).unwrap().shape(), [0, 9]);
}
