//! What a submission waits for on the device: few in nearly all cases, so they lie in place and cost no memory.
//!
//! A list and nothing else; who waits and how is the business of the backends.

use std::ops::{Deref, DerefMut};

use super::DeviceWait;

/// Waits that lie in place.
const IN_PLACE: usize = 4;

/// The waits of one submission.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    few: [DeviceWait; IN_PLACE],
    count: usize,
    /// All of them, once there are more than lie in place.
    many: Vec<DeviceWait>,
}

impl Default for Waits {
    fn default() -> Self {
        let none = DeviceWait { queue: 0, tick: 0, cascade: false };
        Self { few: [none; IN_PLACE], count: 0, many: Vec::new() }
    }
}

impl Waits {
    pub(crate) fn push(&mut self, wait: DeviceWait) {
        if self.count < IN_PLACE {
            self.few[self.count] = wait;
        } else {
            if self.many.is_empty() {
                self.many.extend(self.few);
            }
            self.many.push(wait);
        }
        self.count += 1;
    }
}

impl Deref for Waits {
    type Target = [DeviceWait];
    fn deref(&self) -> &[DeviceWait] {
        if self.count <= IN_PLACE { &self.few[..self.count] } else { &self.many }
    }
}

impl DerefMut for Waits {
    fn deref_mut(&mut self) -> &mut [DeviceWait] {
        if self.count <= IN_PLACE { &mut self.few[..self.count] } else { &mut self.many }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_waits_are_kept_in_order_however_many_there_are() {
        let mut waits = Waits::default();
        for count in 0..3 * IN_PLACE as u64 {
            assert_eq!(waits.len() as u64, count);
            assert!(waits.iter().map(|wait| wait.tick).eq(1..=count));
            waits.push(DeviceWait { queue: 0, tick: count, cascade: false });
            // What is changed in place is what is seen later.
            waits.iter_mut().last().unwrap().tick += 1;
        }
    }
}
