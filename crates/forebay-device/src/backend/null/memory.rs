//! Memory of the null device: real pages of the host, or addresses with nothing behind them, up to a capacity.

use std::{collections::HashMap, ops::Range};

use crate::{
    backend::{Region, cpu::memory::Regions},
    error::{Error, MemoryReport, Result},
    launch::RegionId,
    sync::{Mutex, lock},
};

/// Address space with a capacity.
#[derive(Debug)]
pub(crate) struct Capacity {
    bytes: u64,
    /// The unit of mapping; 0 when a region comes with its memory.
    page: u64,
    /// None when nothing is behind the addresses.
    backing: Option<Regions>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    next: RegionId,
    next_address: u64,
    /// Mapped bytes of each region.
    regions: HashMap<RegionId, u64>,
}

impl Capacity {
    pub(crate) fn new(bytes: u64, page: u64, backed: bool) -> Self {
        let state = State { next_address: 1 << 40, ..State::default() };
        Self { bytes, page, backing: backed.then(|| Regions::new(u64::MAX)), state: Mutex::new(state) }
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> u64 {
        lock(&self.state).used
    }

    pub(crate) fn reserve(&self, bytes: u64) -> Result<Region> {
        let whole = self.page == 0;
        let mut state = lock(&self.state);
        if whole {
            self.fits(&state, bytes)?;
        }
        let region = match &self.backing {
            Some(backing) => {
                let region = backing.reserve(bytes)?;
                if whole {
                    backing.map(region.id, 0..region.bytes)?;
                }
                Region { bytes, mapped: whole, ..region }
            }
            None => {
                let (id, address) = (state.next, state.next_address);
                state.next += 1;
                state.next_address = address
                    .checked_add(bytes)
                    .and_then(|end| end.checked_next_multiple_of(1 << 21))
                    .ok_or(Error::TooLarge { asked: bytes, most: self.bytes })?;
                Region { id, address, host: 0, bytes, mapped: whole, zeroed: true }
            }
        };
        let mapped = if whole { bytes } else { 0 };
        state.used += mapped;
        state.regions.insert(region.id, mapped);
        Ok(region)
    }

    fn fits(&self, state: &State, bytes: u64) -> Result<()> {
        if bytes > self.bytes - state.used {
            let report = MemoryReport { asked: bytes, limit: self.bytes, ..Default::default() };
            return Err(Error::Exhausted(Box::new(report)));
        }
        Ok(())
    }

    pub(crate) fn map(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        let mut state = lock(&self.state);
        let bytes = range.end - range.start;
        self.fits(&state, bytes)?;
        if let Some(backing) = &self.backing {
            backing.map(region, range)?;
        }
        state.used += bytes;
        *state.regions.entry(region).or_default() += bytes;
        Ok(())
    }

    pub(crate) fn unmap(&self, region: RegionId, range: Range<u64>) -> Result<()> {
        let mut state = lock(&self.state);
        let bytes = range.end - range.start;
        if let Some(backing) = &self.backing {
            backing.unmap(region, range)?;
        }
        state.used -= bytes;
        *state.regions.entry(region).or_default() -= bytes;
        Ok(())
    }

    pub(crate) fn release(&self, region: RegionId) -> Result<()> {
        let mut state = lock(&self.state);
        if let Some(backing) = &self.backing {
            backing.release(region)?;
        }
        state.used -= state.regions.remove(&region).unwrap_or(0);
        Ok(())
    }

    pub(crate) fn import(&self, address: u64, host: usize, bytes: u64) -> Region {
        let mut state = lock(&self.state);
        let region = match &self.backing {
            Some(backing) => backing.import(host, bytes),
            None => {
                state.next += 1;
                Region { id: state.next - 1, address, host, bytes, mapped: true, zeroed: false }
            }
        };
        state.regions.insert(region.id, 0);
        region
    }

    pub(crate) fn backing(&self) -> Result<&Regions> {
        let nothing = Error::Unsupported { what: "show bytes that are only simulated", backend: "null" };
        self.backing.as_ref().ok_or(nothing)
    }
}
