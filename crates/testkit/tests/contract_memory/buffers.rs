//! B1 to B5 and B9: handles, slices, and what typed access refuses.

use forebay_device::{Buffer, Error, Request};
use testkit::{Setup, Test};

use crate::{MIB, holds, pattern};

pub(crate) const TESTS: &[Test] = testkit::tests! {
    Every:
        b1_the_last_holder_ends_the_membership,
        b2_a_fresh_buffer_is_a_member_without_a_call,
        b3_slices_compose_and_stay_inside,
        b5_what_is_no_element_is_an_error_that_says_which,
        b9_debug_shows_length_device_and_label;
    Bytes:
        b1_clones_and_slices_share_the_bytes,
        b3_a_slice_is_the_same_bytes,
        b4_copies_and_fills_keep_to_the_slice,
        b4_typed_access_sees_exactly_the_slice,
        b9_debug_never_shows_the_bytes;
    Kernels: b4_a_kernel_sees_exactly_the_slice;
};

fn b1_the_last_holder_ends_the_membership(on: &Setup) {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let bed = on.open();
    let residency = bed.device.residency();
    for request in [Request::new(70_000), Request::new(70_000).dedicated()] {
        let buffer = bed.device.alloc(request).unwrap();
        shared(&buffer);
        let holders: Vec<Buffer> =
            (0..10).flat_map(|i| [buffer.clone(), buffer.slice(i..i * 2).unwrap()]).collect();
        assert_eq!(residency.count(), 1);
        drop(buffer);
        for holder in holders {
            assert_eq!(residency.count(), 1);
            std::thread::spawn(move || drop(holder)).join().unwrap();
        }
        assert_eq!(residency.count(), 0);
    }
}

fn b1_clones_and_slices_share_the_bytes(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.upload(&[0u8; 1000]).unwrap();
    let (clone, slice) = (buffer.clone(), buffer.slice(500..600).unwrap());
    slice.write::<u8>().unwrap().fill(5);
    clone.slice(599..601).unwrap().write::<u8>().unwrap().fill(6);
    let wanted: Vec<u8> = (0..1000)
        .map(|i| if (500..599).contains(&i) { 5 } else { 6 * u8::from((599..601).contains(&i)) })
        .collect();
    holds(&buffer, &wanted);
    assert_eq!(slice.to_vec::<u8>().unwrap()[98..], [5, 6]);
}

fn b2_a_fresh_buffer_is_a_member_without_a_call(on: &Setup) {
    let bed = on.open();
    let residency = bed.device.residency();
    let mut all = Vec::new();
    for i in 1..=40u64 {
        let request = Request::new(i * 10_000);
        all.push(bed.device.alloc(if i % 5 == 0 { request.dedicated() } else { request }).unwrap());
        assert_eq!((residency.count(), residency.driver_calls()), (i, 0));
    }
    assert!(residency.staged() > 0);
    assert!(!residency.add(&all[0]).unwrap() && !residency.add(&all[4]).unwrap(), "they are members");
    assert_eq!(residency.count(), 40);
}

fn b3_slices_compose_and_stay_inside(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.alloc(10_000).unwrap();
    let middle = buffer.slice(1000..9000).unwrap();
    let inner = middle.slice(500..=5000).unwrap();
    assert_eq!((inner.len(), inner.address() - buffer.address()), (4501, 1500));
    let last = inner.slice(4500..).unwrap();
    assert_eq!((last.len(), last.address() - buffer.address()), (1, 6000));
    assert_eq!(middle.slice(..).unwrap().len(), 8000);
    assert_eq!(middle.slice(8000..).unwrap().len(), 0, "an empty slice at the end is legal");
    for (start, end) in [(0, 8001), (8001, 8001), (5000, 9000), (0, u64::MAX), (u64::MAX, u64::MAX), (7, 6)] {
        match middle.slice(start..end) {
            Err(Error::OutOfBounds { start: s, end: e, len }) => assert_eq!((s, e, len), (start, end, 8000)),
            other => panic!("{start}..{end}: {other:?}"),
        }
    }
    assert!(middle.slice(0..=u64::MAX).is_err() && middle.slice(u64::MAX..).is_err());
    assert!(middle.slice((std::ops::Bound::Excluded(u64::MAX), std::ops::Bound::Unbounded)).is_err());
    assert_eq!(bed.device.pool().stats().in_use, 1, "no copy was made");
}

fn b3_a_slice_is_the_same_bytes(on: &Setup) {
    let bed = on.open();
    let bytes = pattern(3, 9001);
    let buffer = bed.device.upload(&bytes).unwrap();
    let (mut slice, mut start) = (buffer, 0usize);
    for step in 1..40u64 {
        let from = step * 3 % 17;
        slice = slice.slice(from..slice.len() - step).unwrap();
        start += from as usize;
        holds(&slice, &bytes[start..start + slice.len() as usize]);
    }
}

fn b4_copies_and_fills_keep_to_the_slice(on: &Setup) {
    let bed = on.open();
    let (from, to) = (pattern(1, 3 * MIB + 77), pattern(2, 3 * MIB + 77));
    let (source, target) = (bed.device.upload(&from).unwrap(), bed.device.upload(&to).unwrap());
    let mut session = bed.session();
    let mut wanted = to;
    for (start, len) in
        [(0, 1), (1, 255), (4095, 4098), (70_001, 2 * MIB as usize + 1), (3 * MIB as usize, 77)]
    {
        let mut stage = session.stage("part");
        let range = start as u64..(start + len) as u64;
        stage.copy(&source.slice(range.clone()).unwrap(), &target.slice(range).unwrap()).unwrap();
        let tail = (start + len - 1) as u64;
        stage.fill(&target.slice(tail..=tail).unwrap(), 0x5A).unwrap();
        stage.fence().unwrap().wait().unwrap();
        wanted[start..start + len].copy_from_slice(&from[start..start + len]);
        wanted[start + len - 1] = 0x5A;
        holds(&target, &wanted);
    }
    holds(&source, &from);
}

fn b4_a_kernel_sees_exactly_the_slice(on: &Setup) {
    let bed = on.open();
    let kernels = bed.kernels();
    let mut session = bed.session();
    for (first, count) in [(0u64, 1u64), (1, 255), (3, 256), (7, 257), (64, 2000), (2999, 1)] {
        let all = bed.device.upload(&[7u32; 3000]).unwrap();
        let ones = bed.device.upload(&[1u32; 3000]).unwrap();
        let sums = bed.device.upload(&[0u32; 3]).unwrap();
        let range = 4 * first..4 * (first + count);
        // A slice of a slice: offsets add up.
        let (part, part_of_ones) =
            (all.slice(range.clone()).unwrap().slice(..).unwrap(), ones.slice(range).unwrap());
        let mut stage = session.stage("slice");
        kernels.fill(&mut stage, &part, 9).unwrap();
        kernels.copy(&mut stage, &part, &part_of_ones).unwrap();
        kernels.reduce_sum(&mut stage, &part, &sums.slice(4..8).unwrap()).unwrap();
        stage.fence().unwrap().wait().unwrap();
        let inside = |i: usize| (first..first + count).contains(&(i as u64));
        let (got, ones) = (all.to_vec::<u32>().unwrap(), ones.to_vec::<u32>().unwrap());
        assert!(got.iter().enumerate().all(|(i, &x)| x == if inside(i) { 9 } else { 7 }), "{first} {count}");
        assert!(ones.iter().enumerate().all(|(i, &x)| x == if inside(i) { 9 } else { 1 }), "{first} {count}");
        assert_eq!(sums.to_vec::<u32>().unwrap(), [0, 9 * count as u32, 0]);
    }
}

fn b4_typed_access_sees_exactly_the_slice(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.upload(&(0..1000u16).collect::<Vec<_>>()).unwrap();
    let slice = buffer.slice(200..208).unwrap().slice(2..6).unwrap();
    assert_eq!(slice.to_vec::<u16>().unwrap(), [101, 102]);
    slice.write::<u16>().unwrap().copy_from_slice(&[7, 8]);
    let mut two = [0u16; 2];
    slice.copy_to(&mut two).unwrap();
    assert_eq!(two, [7, 8]);
    assert!(matches!(slice.copy_to(&mut [0u16; 3]), Err(Error::OutOfBounds { end: 6, len: 4, .. })));
    slice.slice(0..2).unwrap().copy_from(&[9u16]).unwrap();
    let all = buffer.to_vec::<u16>().unwrap();
    assert_eq!(all[99..105], [99, 100, 9, 8, 103, 104]);
    assert_eq!(
        buffer.slice(200..208).unwrap().to_vec::<u64>().unwrap(),
        [100 | 9 << 16 | 8 << 32 | 103 << 48]
    );
}

fn b5_what_is_no_element_is_an_error_that_says_which(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.alloc(1000).unwrap();
    let odd = buffer.slice(..999).unwrap();
    assert!(matches!(odd.read::<u32>(), Err(Error::PartialElement { len: 999, element: 4 })));
    assert!(matches!(odd.write::<u16>(), Err(Error::PartialElement { len: 999, element: 2 })));
    let shifted = buffer.slice(2..10).unwrap();
    assert!(matches!(shifted.read::<u64>(), Err(Error::Misaligned { offset: 2, align: 8 })));
    assert!(matches!(shifted.try_write::<u32>(), Err(Error::Misaligned { offset: 2, align: 4 })));
    let empty = buffer.slice(3..3).unwrap();
    for buffer in [&buffer, &odd, &shifted, &empty] {
        let error = buffer.read::<()>().unwrap_err();
        assert!(matches!(&error, Error::ZeroSized { name } if *name == "()"), "{error}");
        assert!(matches!(buffer.try_read::<[u32; 0]>(), Err(Error::ZeroSized { .. })));
        assert!(matches!(buffer.write::<()>(), Err(Error::ZeroSized { .. })));
        assert!(matches!(buffer.to_vec::<()>(), Err(Error::ZeroSized { .. })));
        assert!(matches!(buffer.copy_from(&[(); 5]), Err(Error::ZeroSized { .. })));
    }
    assert!(matches!(bed.device.upload(&[(); 5]), Err(Error::ZeroSized { .. })));
    assert!(matches!(buffer.copy_from(&[0u32; 251]), Err(Error::Length { given: 1004, wanted: 1000 })));
    assert!(matches!(buffer.copy_from(&[0u32; 249]), Err(Error::Length { given: 996, wanted: 1000 })));
    assert_eq!(bed.device.pool().stats().in_use, 1);
}

fn b9_debug_shows_length_device_and_label(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.alloc(Request::new(12_345).label("blk.7.ffn")).unwrap();
    let text = format!("{:?} {:#?}", buffer, buffer.slice(5..12).unwrap());
    for part in ["12345", "blk.7.ffn", bed.device.kind().name(), "len: 7"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

fn b9_debug_never_shows_the_bytes(on: &Setup) {
    let bed = on.open();
    let buffer = bed.device.upload(&[0x51DE_u16; 64]).unwrap();
    let texts = [
        format!("{buffer:?}"),
        format!("{:?}", buffer.read::<u16>().unwrap()),
        format!("{:?}", buffer.write::<u16>().unwrap()),
        format!("{:?}", buffer.arg()),
    ];
    for text in texts {
        assert!(!text.contains(&0x51DE.to_string()) && !text.contains("222, 81"), "{text}");
    }
}
