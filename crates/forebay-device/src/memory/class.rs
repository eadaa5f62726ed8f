//! Size classes of small blocks: eight to a doubling, each with a short stack of free blocks kept whole for the next
//! request of the class.
//!
//! Only below 1 MiB: for larger blocks, classes without joining neighbours waste more than they save. The stacks hold
//! blocks that `Range` counts as live; `flush` gives them back before the pool takes anything from the driver.

use super::range::{BlockId, GRANULE};

/// The largest size that is rounded to a class.
pub(super) const LARGEST_CLASS: u64 = 1 << 20;
/// Granules up to which every count has its own class.
const LINEAR: u64 = 16;
/// 16 single counts, then 8 classes for each doubling up to 1 MiB.
const CLASSES: usize = 16 + 8 * 8;
/// Blocks that a class keeps.
const DEPTH: usize = 7;

/// Rounds a size to what is taken from the range: at most an eighth more up to 1 MiB, at most a granule beyond.
pub(super) fn round(bytes: u64, exact: bool) -> Option<u64> {
    let granules = bytes.div_ceil(GRANULE);
    let rounded = if exact || bytes > LARGEST_CLASS || granules <= LINEAR {
        granules
    } else {
        let step = 1 << (granules.ilog2() - 3);
        granules.next_multiple_of(step)
    };
    rounded.checked_mul(GRANULE)
}

/// The class of a rounded size.
pub(super) fn class_of(rounded: u64) -> Option<usize> {
    if rounded > LARGEST_CLASS || rounded == 0 {
        return None;
    }
    let granules = rounded / GRANULE;
    if granules <= LINEAR {
        return Some(granules as usize - 1);
    }
    // granules = (8 + m) * 2^e with m in 0..8, where 16 itself is the last of the single counts.
    let exponent = granules.ilog2() - 3;
    let exact = granules.is_multiple_of(1 << exponent);
    exact.then(|| LINEAR as usize + (exponent as usize - 1) * 8 + ((granules >> exponent) as usize - 8) - 1)
}

/// Free blocks by class.
#[derive(Debug)]
pub(super) struct Classes {
    stacks: Box<[Stack; CLASSES]>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stack {
    count: u8,
    blocks: [BlockId; DEPTH],
}

impl Default for Classes {
    fn default() -> Self {
        Self { stacks: Box::new([Stack::default(); CLASSES]), bytes: 0 }
    }
}

impl Classes {
    /// Bytes in all stacks.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn pop(&mut self, rounded: u64) -> Option<BlockId> {
        let stack = &mut self.stacks[class_of(rounded)?];
        stack.count = stack.count.checked_sub(1)?;
        self.bytes -= rounded;
        Some(stack.blocks[stack.count as usize])
    }

    /// Keeps a block, unless it has no class or its class is full.
    pub(super) fn push(&mut self, rounded: u64, block: BlockId) -> bool {
        let Some(class) = class_of(rounded) else { return false };
        let stack = &mut self.stacks[class];
        if stack.count as usize == DEPTH {
            return false;
        }
        stack.blocks[stack.count as usize] = block;
        stack.count += 1;
        self.bytes += rounded;
        true
    }

    /// Empties all stacks.
    pub(super) fn flush(&mut self, mut free: impl FnMut(BlockId)) {
        for stack in self.stacks.iter_mut() {
            stack.blocks[..stack.count as usize].iter().for_each(|&block| free(block));
            stack.count = 0;
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_wastes_at_most_an_eighth_below_a_mebibyte_and_a_granule_above() {
        for bytes in (1..3 << 20).step_by(61) {
            let rounded = round(bytes, false).unwrap();
            let floor = bytes.next_multiple_of(GRANULE);
            assert!(rounded >= bytes);
            if bytes <= LARGEST_CLASS {
                assert!(rounded <= floor + floor / 8, "{bytes} became {rounded}");
            } else {
                assert_eq!(rounded, floor);
            }
            assert_eq!(round(bytes, true).unwrap(), floor);
        }
        assert_eq!(round(u64::MAX, false), None);
    }

    #[test]
    fn every_rounded_size_has_a_class_of_its_own_and_no_other_size_has_one() {
        let mut seen = std::collections::BTreeMap::new();
        for granules in 1..=LARGEST_CLASS / GRANULE {
            let rounded = round(granules * GRANULE, false).unwrap();
            let class = class_of(rounded).unwrap();
            assert_eq!(*seen.entry(class).or_insert(rounded), rounded);
        }
        assert!(seen.keys().copied().eq(0..CLASSES), "{:?}", seen.keys());
        assert_eq!(class_of(17 * GRANULE), None);
        assert_eq!(class_of(LARGEST_CLASS + GRANULE), None);
    }
}
