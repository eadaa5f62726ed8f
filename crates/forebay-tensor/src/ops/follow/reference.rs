//! What `follow` means.

/// The ids and the positions of the next step.
pub(super) fn follow(found: &[u32], positions: &[u32]) -> [Vec<u32>; 2] {
    let further = |position: &u32| (u64::from(*position) + 1) as u32;
    [found.to_vec(), positions.iter().map(further).collect()]
}
