//! What opening a card says where there is none, and where there is no such card.

#![cfg(feature = "cuda")]

use forebay_device::{Device, DeviceOptions, Error};

#[test]
fn without_a_driver_or_beyond_the_last_card_the_error_says_so() {
    // No machine has so many cards, and most that build this have no driver at all.
    match Device::open(&DeviceOptions::cuda().ordinal(usize::MAX)) {
        Err(Error::Unavailable { backend: "cuda", why }) => {
            let known = ["driver library", "no card", "driver sees", "driver serves", "does not start"];
            assert!(known.iter().any(|part| why.contains(part)), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
