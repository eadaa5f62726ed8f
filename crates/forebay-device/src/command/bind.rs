//! Which allocations a stage uses, each once, and whether it reads or writes them.
//!
//! A stage keeps a handle on everything it binds, so that nothing goes away between recording and submission. A small
//! table by address finds what was bound before without a search.

use crate::{launch::Access, memory::lease::Handle};

/// Places of the table. A collision only costs one more entry.
const PLACES: usize = 128;

/// One allocation and how it is used.
#[derive(Clone, Debug)]
pub(crate) struct BoundLease {
    pub(crate) handle: Handle,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

/// All allocations of a stage.
#[derive(Debug)]
pub(crate) struct Bound {
    leases: Vec<BoundLease>,
    /// For each place, one more than the index of the lease last bound there.
    recent: [u32; PLACES],
}

impl Default for Bound {
    fn default() -> Self {
        Self { leases: Vec::new(), recent: [0; PLACES] }
    }
}

impl Bound {
    pub(crate) fn clear(&mut self) {
        self.leases.clear();
        self.recent = [0; PLACES];
    }

    pub(crate) fn leases(&self) -> &[BoundLease] {
        &self.leases
    }

    pub(crate) fn bind(&mut self, handle: &Handle, access: Access) {
        // Leases are a multiple of 128 bytes apart.
        let place = (handle.key() >> 7) % PLACES;
        let recent = self.recent[place].checked_sub(1).map(|index| index as usize);
        let lease = match recent.filter(|&index| self.leases[index].handle.key() == handle.key()) {
            Some(index) => &mut self.leases[index],
            None => {
                self.leases.push(BoundLease { handle: handle.clone(), reads: false, writes: false });
                let index = self.leases.len() - 1;
                self.recent[place] = index as u32 + 1;
                &mut self.leases[index]
            }
        };
        lease.reads |= access.reads();
        lease.writes |= access.writes();
    }

    /// The leases alone, for a recording that keeps them.
    pub(crate) fn take(&mut self) -> Vec<BoundLease> {
        self.recent = [0; PLACES];
        std::mem::take(&mut self.leases)
    }
}
