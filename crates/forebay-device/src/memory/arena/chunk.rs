//! A block of the pool that an arena cuts from.

use super::super::{
    lease::{Facts, Handle},
    options::Request,
    pool::Pool,
    range::GRANULE,
    stats::Tag,
    uses::Uses,
};
use crate::{error::Result, label::Label, launch::RegionId};

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) handle: Handle,
    /// What earlier epochs left under way in it: it orders whatever is cut from it next.
    pub(super) uses: Uses,
    pub(super) cursor: u64,
    pub(super) bytes: u64,
    region: RegionId,
    offset: u64,
    address: u64,
    host: usize,
    /// Number of the first buffer that is cut from it.
    pub(super) first: usize,
}

impl Chunk {
    pub(super) fn take(pool: &Pool, bytes: u64, first: usize) -> Result<Self> {
        let bytes = bytes.next_multiple_of(GRANULE);
        let request = Request::new(bytes).exact().tag(Tag::Activations).label("arena");
        let handle = pool.shared.acquire(&request).map_err(|error| *error)?;
        let Facts { region, offset, address, host, .. } = *handle.facts();
        Ok(Self { handle, uses: Uses::default(), cursor: 0, bytes, region, offset, address, host, first })
    }

    /// Makes a lease stand for a part of the chunk.
    #[inline]
    pub(super) fn cut(&self, lease: &mut Handle, offset: u64, bytes: u64, tag: Tag, label: &Label) {
        if let Some(mut sole) = lease.sole() {
            let facts = sole.facts();
            facts.region = self.region;
            facts.offset = self.offset + offset;
            facts.address = self.address + offset;
            facts.host = if self.host == 0 { 0 } else { self.host + offset as usize };
            facts.len = bytes;
            facts.set_taken(bytes.next_multiple_of(GRANULE));
            facts.label.clone_from(label);
            facts.tag = tag;
            if !self.uses.is_empty() {
                sole.uses().inherit(&self.uses);
            }
        }
    }

    /// Takes a lease back if nobody else holds it. Its uses stay with the chunk.
    #[inline]
    pub(super) fn take_back(&mut self, lease: &mut Handle) -> bool {
        if lease.is_guarded() {
            strike_guards(lease);
        }
        let Some(mut sole) = lease.sole() else { return false };
        let uses = sole.uses();
        if !uses.is_empty() {
            self.uses.inherit(uses);
            uses.clear();
        }
        true
    }

    /// Gives the chunk back to its pool, to be free when all that used it is done.
    pub(super) fn give_back(mut self) {
        if let Some(mut sole) = self.handle.sole() {
            sole.uses().inherit(&self.uses);
        }
    }
}

/// Strikes out guards that were forgotten, if nobody else holds the lease.
#[cold]
fn strike_guards(lease: &mut Handle) {
    let home = lease.owner().home.clone();
    if let Some(mut sole) = lease.sole()
        && sole.take_guards()
    {
        home.access.lock().forget(sole.key());
    }
}
