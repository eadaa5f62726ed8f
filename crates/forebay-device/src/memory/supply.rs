//! Where a pool's memory comes from when it has none ready, and how it goes back.
//!
//! The ladder of `PoolShared::supply`, each rung followed by another look: join the cached blocks; take memory from the
//! driver, giving idle memory back first where that keeps the pool dense; give back all that is free; wait for queued
//! work; ask the program; report. Next room: `pool`, the fast path.

use std::{cmp::Reverse, time::Instant};

use super::{
    options::{Request, Retain},
    pool::{ALIGN, PoolShared},
    range::{Block, BlockId, End, Idle, LARGEST_REGION, Reach},
    state::{Found, State},
    stats::Tag,
    trace::event::Shortage,
};
use crate::{
    backend::{Region, ResidencyChange, timeline::Patience},
    error::{Error, Result},
    sync::MutexGuard,
};

/// Address space that is taken at once where address space is free.
pub(super) const SPAN: u64 = LARGEST_REGION / (2 << 20) * (2 << 20);
/// Bounds of a region where address space comes with memory.
const SLAB: std::ops::RangeInclusive<u64> = 8 << 20..=256 << 20;

/// What one look came to.
enum Look {
    Found(Found),
    Short(Shortage),
}

impl PoolShared {
    /// How many free bytes the pool may keep.
    #[inline]
    pub(super) fn retain(&self, state: &State) -> u64 {
        match self.options.retain {
            Retain::Auto => {
                let lately = self.dense(state).saturating_sub(state.stats.taken);
                lately.max(state.stats.peak_live / 4 + (256 << 20))
            }
            Retain::Bytes(bytes) => bytes,
        }
    }

    /// How much the pool may have mapped without being loose.
    #[inline]
    fn dense(&self, state: &State) -> u64 {
        let most = state.marks.most();
        most.saturating_add(most / 100 * self.options.slack_percent)
    }

    /// Serves a request that the fast path could not. The lock is given up while waiting.
    pub(super) fn supply<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        rounded: u64,
        request: &Request,
    ) -> Result<(MutexGuard<'a, State>, Found)> {
        let started = Instant::now();
        let mut callbacks = self.options.on_pressure.iter();
        let mut others = false;
        loop {
            let shortage = match self.look(&mut state, rounded, request)? {
                Look::Found(found) => return Ok((state, found)),
                Look::Short(shortage) => shortage,
            };
            // What is idle in the device's other pools may be all that is missing. Their locks are taken without ours.
            if !others && !matches!(shortage, Shortage::Budget) {
                others = true;
                drop(state);
                let freed = self.home.residency.trim_others(self)?;
                state = self.lock();
                if freed > 0 {
                    continue;
                }
            }
            // Waiting is worth it only for work that is under way, and for no budget.
            let mut pending = Vec::new();
            if !matches!(shortage, Shortage::Budget) {
                pending.extend(state.retire.pending().map(|(queue, tick, _)| (queue, tick)));
                pending.extend(self.home.grave_ticks());
            }
            drop(state);
            let swept = self.home.sweep_graves();
            let waited = swept
                || !pending.is_empty() && {
                    let left = self.options.patience.saturating_sub(started.elapsed());
                    let patience = Patience { timeout: Some(left), cancel: None };
                    self.home.timeline().wait_any(&pending, patience).is_ok()
                };
            state = self.lock();
            if waited {
                continue;
            }
            if let Some(callback) = callbacks.next() {
                drop(state);
                callback(rounded);
                state = self.lock();
                continue;
            }
            return Err(self.refuse(&mut state, request, &shortage));
        }
    }

    /// Everything that can be tried without waiting.
    fn look(&self, state: &mut State, rounded: u64, request: &Request) -> Result<Look> {
        state.collect(self);
        if !self.fits_budget(state, request) {
            return Ok(Look::Short(Shortage::Budget));
        }
        if !request.dedicated {
            if let Some(found) = state.find(self, rounded, request) {
                return Ok(Look::Found(found));
            }
            state.flush_classes();
            if let Some(found) = state.find(self, rounded, request) {
                return Ok(Look::Found(found));
            }
        }
        let first = match self.grow(state, rounded, request)? {
            Look::Short(shortage) => shortage,
            found @ Look::Found(_) => return Ok(found),
        };
        // Idle memory in the wrong place may be all that is missing.
        state.flush_classes();
        if self.give_back(state, 0, None)? == 0 {
            return Ok(Look::Short(first));
        }
        self.grow(state, rounded, request)
    }

    /// Takes memory from the driver for one block.
    fn grow(&self, state: &mut State, rounded: u64, request: &Request) -> Result<Look> {
        if request.dedicated {
            self.grow_dedicated(state, rounded)
        } else if self.page == 0 {
            self.grow_region(state, rounded, request)
        } else {
            self.grow_pages(state, rounded, request)
        }
    }

    /// Where pages are mapped one by one: a block of address space, and memory behind what is missing of it.
    fn grow_pages(&self, state: &mut State, rounded: u64, request: &Request) -> Result<Look> {
        let end = if request.tag.stays() { End::Low } else { End::High };
        let block = match state.range.alloc(rounded, ALIGN, end, Reach::Any) {
            Some(block) => block,
            None => {
                let page = self.page;
                let span =
                    self.home.caps().memory.saturating_mul(4).clamp(1 << 30, SPAN).next_multiple_of(page);
                let region = match self.reserve_span(state, span.max(rounded), rounded) {
                    Ok(region) => region,
                    Err(error) => return shortage_of(error),
                };
                let local = state.add_region(region);
                let bytes = region.bytes.min(SPAN) / page * page;
                if !state.range.add_region(local, bytes, false) {
                    return Ok(Look::Short(Shortage::Driver));
                }
                match state.range.alloc(rounded, ALIGN, end, Reach::Any) {
                    Some(block) => block,
                    None => return Ok(Look::Short(Shortage::Driver)),
                }
            }
        };
        let missing: Vec<_> = state.range.missing(block).collect();
        let bytes = missing.iter().map(|run| run.end - run.start).sum::<u64>();
        let room = self.make_room(state, bytes, rounded);
        if !matches!(room, Ok(None)) {
            state.range.free(block);
        }
        if let Some(shortage) = room? {
            return Ok(Look::Short(shortage));
        }
        let local = state.range.block(block).map_or(0, |place| place.region);
        let region = state.region_id(local);
        for (done, run) in missing.iter().enumerate() {
            state.stats.driver_calls += 1;
            if let Err(error) = self.home.backend.region_map(region, run.clone()) {
                let unmapped = missing[done..].iter().map(|run| run.end - run.start).sum();
                state.trace.driver_refused(run.end - run.start);
                self.home.unreserve(unmapped);
                state.range.free(block);
                return shortage_of(error);
            }
            state.range.mapped(block, run.clone());
            state.stats.reserved += run.end - run.start;
            state.trace.region_mapped(region, run.start, run.end - run.start);
            self.stage(region, run.start, run.end - run.start, true);
        }
        state.stats.note_peaks();
        let zeroed = self.is_fresh(state, block, bytes, local);
        Ok(Look::Found(Found::Block(block, zeroed)))
    }

    /// Takes address space: as much as helps, or as little as the process is allowed.
    fn reserve_span(&self, state: &mut State, span: u64, least: u64) -> Result<Region> {
        let page = self.page;
        let (mut size, least) = (span, least.next_multiple_of(page));
        loop {
            state.stats.driver_calls += 1;
            match self.home.backend.region_reserve(self.options.kind, size) {
                Err(Error::Exhausted(_)) if size > least => {
                    state.trace.driver_refused(size);
                    size = (size / 2).max(least).next_multiple_of(page)
                }
                outcome => {
                    match &outcome {
                        Ok(region) => state.trace.region_reserved(region, region.bytes, false),
                        Err(_) => state.trace.driver_refused(size),
                    }
                    return outcome;
                }
            }
        }
    }

    /// Whether every byte of a block lies in pages that were mapped just now and come zeroed.
    fn is_fresh(&self, state: &State, block: BlockId, mapped: u64, local: u32) -> bool {
        let page = self.page;
        let zeroed = state.regions.get(local as usize).copied().flatten().is_some_and(|region| region.zeroed);
        let Some(Block { offset, bytes, .. }) = state.range.block(block) else { return false };
        let cover = (offset + bytes).next_multiple_of(page) - offset / page * page;
        zeroed && mapped == cover
    }

    /// Where a region comes with its memory: a slab for many blocks, or a region for one large block.
    fn grow_region(&self, state: &mut State, rounded: u64, request: &Request) -> Result<Look> {
        let slab = (state.stats.reserved / 8).clamp(*SLAB.start(), *SLAB.end()).next_multiple_of(ALIGN);
        let wanted = if request.tag == Tag::Weights || rounded > slab / 2 { rounded } else { slab };
        // The limit decides how large a slab may be; the block itself is the least that helps.
        let mut size = wanted;
        loop {
            let short = if let Some(shortage) = self.make_room(state, size, rounded)? {
                Look::Short(shortage)
            } else {
                state.stats.driver_calls += 1;
                match self.home.backend.region_reserve(self.options.kind, size) {
                    Ok(region) => return Ok(self.take_region(state, region, size, rounded, request)),
                    Err(error) => {
                        self.home.unreserve(size);
                        state.trace.driver_refused(size);
                        shortage_of(error)?
                    }
                }
            };
            if size == rounded {
                return Ok(short);
            }
            size = (size / 2).next_multiple_of(ALIGN).max(rounded);
        }
    }

    fn take_region(
        &self,
        state: &mut State,
        region: Region,
        size: u64,
        rounded: u64,
        request: &Request,
    ) -> Look {
        let local = state.add_region(region);
        state.stats.reserved += size;
        state.trace.region_reserved(&region, size, true);
        state.stats.note_peaks();
        self.stage(region.id, 0, size, true);
        let end = if request.tag.stays() { End::Low } else { End::High };
        let block = state
            .range
            .add_region(local, size, true)
            .then(|| state.range.alloc(rounded, ALIGN, end, Reach::Mapped))
            .flatten();
        match block {
            Some(block) => Look::Found(Found::Block(block, region.zeroed)),
            None => Look::Short(Shortage::Driver),
        }
    }

    /// Counts bytes against the limits, after giving idle memory back where the pool would get too loose.
    fn make_room(&self, state: &mut State, bytes: u64, rounded: u64) -> Result<Option<Shortage>> {
        let live = (state.stats.taken + state.retire.bytes()).saturating_add(rounded);
        let dense = live.saturating_add(live / 100 * self.options.slack_percent).max(self.dense(state));
        let after = state.stats.reserved.saturating_add(bytes);
        let most = dense.min(self.options.limit);
        if after > self.options.limit {
            let keep = state.free_bytes().saturating_sub(after - most);
            self.give_back(state, keep, None)?;
        } else if after > most {
            self.ease(state, state.free_bytes().saturating_sub(after - most), None)?;
        }
        if state.stats.reserved.saturating_add(bytes) > self.options.limit || !self.home.reserve(bytes) {
            return Ok(Some(Shortage::Limit));
        }
        Ok(None)
    }

    /// As `give_back`, for calls on the way of every request. Holes smaller than a page cannot be given back: after a
    /// look that found no others, the next one waits until enough was freed since.
    pub(super) fn ease(&self, state: &mut State, keep: u64, first: Option<Block>) -> Result<()> {
        if first.is_none() && state.free_bytes() <= state.vain_look.saturating_add(state.stats.reserved / 256)
        {
            state.vain_look = state.vain_look.min(state.free_bytes());
            return Ok(());
        }
        // Blocks that are kept whole for their class hold on to the pages they lie in.
        state.flush_classes();
        self.give_back(state, keep, first)?;
        state.vain_look = state.free_bytes();
        Ok(())
    }

    /// Gives free memory back to the driver until at most `keep` bytes of it are left, `first` before all other, then
    /// what was used longest ago. Returns how much went.
    pub(super) fn give_back(&self, state: &mut State, keep: u64, first: Option<Block>) -> Result<u64> {
        let mut gone = 0;
        if self.page == 0 {
            let mut idle: Vec<u32> = state.range.wholly_free_regions().collect();
            let is_first = |local: u32| first.is_some_and(|first| first.region == local);
            idle.sort_by_key(|&local| Reverse((is_first(local), state.range.region_age(local))));
            for local in idle {
                if state.free_bytes() <= keep {
                    break;
                }
                let (region, bytes) = (state.region_id(local), state.range.region_bytes(local).unwrap_or(0));
                state.stats.driver_calls += 1;
                // Before anything is noted: what the driver refuses to take stays the pool's.
                self.home.backend.region_release(region)?;
                if state.range.remove_region(local) {
                    state.regions[local as usize] = None;
                    self.stage(region, 0, bytes, false);
                    self.account_gone(state, bytes);
                    state.trace.region_released(region, bytes);
                    gone += bytes;
                }
            }
        } else if state.free_bytes() > keep {
            let mut idle = state.range.idle();
            if let Some(first) = first {
                idle = put_first(idle, &first, self.page);
            }
            for run in idle {
                if state.free_bytes() <= keep {
                    break;
                }
                let (region, bytes) = (state.region_id(run.region), run.bytes.end - run.bytes.start);
                state.stats.driver_calls += 1;
                self.home.backend.region_unmap(region, run.bytes.clone())?;
                if state.range.unmapped(&run) {
                    self.stage(region, run.bytes.start, bytes, false);
                    self.account_gone(state, bytes);
                    state.trace.region_unmapped(region, run.bytes.start, bytes);
                    gone += bytes;
                }
            }
        }
        if gone > 0 {
            state.stats.trims += 1;
            state.trace.trimmed(gone, keep);
        }
        Ok(gone)
    }

    fn account_gone(&self, state: &mut State, bytes: u64) {
        state.stats.reserved -= bytes;
        self.home.unreserve(bytes);
    }

    fn stage(&self, region: u32, offset: u64, bytes: u64, add: bool) {
        self.home.residency.stage(ResidencyChange { region, offset, bytes, add });
    }

    /// Takes a region from the driver for one buffer alone.
    fn grow_dedicated(&self, state: &mut State, size: u64) -> Result<Look> {
        if let Some(shortage) = self.make_room(state, size, size)? {
            return Ok(Look::Short(shortage));
        }
        let region = self.home.backend.region_reserve(self.options.kind, size).and_then(|region| {
            if region.mapped {
                return Ok(region);
            }
            self.home.backend.region_map(region.id, 0..size).map(|()| region).inspect_err(|_| {
                let _ = self.home.backend.region_release(region.id);
            })
        });
        state.stats.driver_calls += 1;
        match region {
            Ok(region) => {
                state.stats.reserved += size;
                state.trace.region_reserved(&region, size, true);
                Ok(Look::Found(Found::Region(region)))
            }
            Err(error) => {
                self.home.unreserve(size);
                state.trace.driver_refused(size);
                shortage_of(error)
            }
        }
    }

    /// Refuses a batch that cannot be served as a whole, before any of it is. The program is asked first.
    pub(super) fn check_batch(&self, requests: &[Request]) -> Result<()> {
        let sum = requests.iter().try_fold(0u64, |sum, request| sum.checked_add(request.bytes));
        let mut callbacks = self.options.on_pressure.iter();
        loop {
            let mut state = self.lock();
            state.collect(self);
            let all = sum.and_then(|sum| state.stats.taken.checked_add(sum));
            let lacks = match all {
                Some(all) if all <= self.options.limit => return Ok(()),
                _ => all.map(|all| all - self.options.limit),
            };
            let (Some(lacks), Some(callback)) = (lacks, callbacks.next()) else {
                let whole = Request::new(sum.unwrap_or(u64::MAX));
                return Err(self.refuse(&mut state, &whole, &Shortage::Limit));
            };
            drop(state);
            callback(lacks);
        }
    }

    pub(super) fn would_fit(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        state.collect(self);
        let most = self.options.limit.min(self.home.limit()).min(self.home.caps().memory);
        let held = state.stats.taken + state.retire.bytes();
        let others = self.home.reserved() - state.stats.reserved.min(self.home.reserved());
        bytes <= self.max_buffer
            && held.checked_add(others).and_then(|sum| sum.checked_add(bytes)).is_some_and(|sum| sum <= most)
    }

    fn refuse(&self, state: &mut State, request: &Request, shortage: &Shortage) -> Error {
        let tag = matches!(shortage, Shortage::Budget).then_some(request.tag);
        let report = Box::new(state.report(self, request.bytes, tag));
        state.trace.out_of_memory(request, report.limit, *shortage, &state.stats);
        match shortage {
            Shortage::Driver => Error::Exhausted(report),
            Shortage::Limit | Shortage::Budget => Error::LimitExceeded(report),
        }
    }
}

impl State {
    /// Notes a region under the first free number.
    pub(super) fn add_region(&mut self, region: Region) -> u32 {
        let local = self.regions.iter().position(Option::is_none).unwrap_or(self.regions.len());
        if local == self.regions.len() {
            self.regions.push(None);
        }
        self.regions[local] = Some(region);
        local as u32
    }

    /// Gives a dedicated region back to the driver.
    pub(super) fn free_region(&mut self, pool: &PoolShared, region: u32, size: u64) -> Result<()> {
        self.stats.driver_calls += 1;
        // What the driver does not take back is still counted against the limits.
        pool.home.backend.region_release(region)?;
        pool.account_gone(self, size);
        self.trace.region_released(region, size);
        Ok(())
    }
}

/// Idle pages, those inside one block before all others, which keep their order.
fn put_first(idle: Vec<Idle>, block: &Block, page: u64) -> Vec<Idle> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    // Pages at its edges belong to its neighbours as well.
    let (first, last) = (block.offset.next_multiple_of(page), (block.offset + block.bytes) / page * page);
    for run in idle {
        let (start, end) = (run.bytes.start, run.bytes.end);
        let (low, high) = (first.clamp(start, end), last.clamp(start, end));
        if run.region != block.region || low >= high {
            others.push(run);
            continue;
        }
        ours.push(run.part(low..high));
        others.extend(
            [start..low, high..end].into_iter().filter(|part| !part.is_empty()).map(|part| run.part(part)),
        );
    }
    ours.append(&mut others);
    ours
}

/// An error of the driver that means "no memory", as a shortage; any other as itself.
fn shortage_of(error: Error) -> Result<Look> {
    match error {
        Error::Exhausted(_) => Ok(Look::Short(Shortage::Driver)),
        other => Err(other),
    }
}
