//! The rules of the peers, and what all policies owe: what they reserve covers what is live, up to the limit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn after(kind: PolicyKind, sizes: &[u64]) -> (u64, u64) {
    let mut policy = kind.open(u64::MAX).unwrap();
    for (id, bytes) in sizes.iter().enumerate() {
        assert!(policy.alloc(id as u32, *bytes, Tag::Activations));
    }
    (policy.reserved(), policy.calls())
}

#[test]
fn peers_round_split_and_grow_by_their_rules() {
    assert_eq!(after(PolicyKind::PowersOfTwo, &[3 * MIB, 1, MIB]), (5 * MIB + 1, 3));
    // A small segment, one for middling sizes that serves two, one for a large size.
    let sizes = [KIB, 3 * MIB, 9 * MIB, 11 * MIB - 1, MIB];
    assert_eq!(after(PolicyKind::PyTorch, &sizes), (34 * MIB, 3));
    // A remainder of a mebibyte stays with its block, so the next one does not fit beside it.
    assert_eq!(after(PolicyKind::PyTorch, &[19 * MIB / 2, 19 * MIB / 2, MIB + 1]), (40 * MIB, 2));
    assert_eq!(after(PolicyKind::Expandable, &[KIB, 3 * MIB, 19 * MIB]), (42 * MIB, 3));
    assert_eq!(after(PolicyKind::Exact, &[KIB, 3 * MIB, 19 * MIB]), (24 * MIB, 3));
}

#[test]
fn at_the_limit_each_gives_back_what_it_has_whole_and_asks_once_more() {
    for (kind, limit) in [
        (PolicyKind::PowersOfTwo, 16 * MIB),
        (PolicyKind::PyTorch, 40 * MIB),
        (PolicyKind::Expandable, 20 * MIB),
        (PolicyKind::Exact, 14 * MIB),
        (PolicyKind::Ours, 14 * MIB),
    ] {
        let mut policy = kind.open(limit).unwrap();
        // Two blocks of which one stays, then one that fits only if the memory of the other can go elsewhere.
        assert!(policy.alloc(0, 3 * MIB, Tag::Other) && policy.alloc(1, 3 * MIB, Tag::Other), "{kind}");
        policy.free(0);
        assert!(policy.alloc(2, 8 * MIB, Tag::Other), "{kind} with {} of {limit}", policy.reserved());
        assert!(!policy.alloc(3, 30 * MIB, Tag::Other), "{kind}");
        assert!(policy.reserved() >= 11 * MIB && policy.reserved() <= limit, "{kind}");
        policy.free(1);
        policy.free(2);
        assert!(policy.alloc(4, 8 * MIB, Tag::Other), "{kind} is of use after a refusal");
    }
}

#[test]
fn idle_pages_of_expandable_segments_go_elsewhere() {
    let mut policy = PolicyKind::Expandable.open(60 * MIB).unwrap();
    assert!(policy.alloc(0, 30 * MIB, Tag::Other) && policy.alloc(1, 5 * MIB, Tag::Other));
    assert_eq!(policy.reserved(), 40 * MIB);
    policy.free(0);
    // Of the 30 that are free, one page of 20 is whole; behind the 5 there is room for two more.
    assert!(policy.alloc(2, 38 * MIB, Tag::Other));
    assert_eq!((policy.reserved(), policy.calls(), policy.largest_hole()), (60 * MIB, 3, 10 * MIB));
    assert!(!policy.alloc(3, 11 * MIB, Tag::Other) && policy.alloc(4, 10 * MIB, Tag::Other));
}

/// Blocks as a plain list, so that two that overlap are noticed.
#[test]
fn growing_ranges_never_hand_out_an_address_twice() {
    let mut policy = growing::Growing::best_fit(40 * MIB);
    let (mut seed, mut live) = (5u64, Vec::new());
    let mut refused = 0;
    for id in 0..20_000u32 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bytes = 1 + (seed >> 40) % (3 * MIB);
        let before = refused;
        if policy.alloc(id, bytes, Tag::Other) {
            live.push((id, bytes));
        } else {
            refused += 1;
            assert!(!live.is_empty());
        }
        if refused > before || live.len() > 30 {
            for _ in 0..live.len().min(4) {
                policy.free(live.swap_remove((seed >> 20) as usize % live.len()).0);
            }
        }
        let held: u64 = live.iter().map(|(_, bytes)| bytes).sum();
        assert!(policy.reserved() >= held && policy.reserved() <= 40 * MIB);
        policy.assert_disjoint();
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn names_are_read_back() {
    for kind in PolicyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let error = "buddy".parse::<PolicyKind>().unwrap_err().to_string();
    assert!(error.contains("\"buddy\"") && error.contains("pytorch, pow2"), "{error}");
}
