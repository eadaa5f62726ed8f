//! The arena: memory for one step. Allocation is a bump; a reset takes everything back that nobody holds.
//!
//! An epoch lies between two resets. Its buffers are leases that the arena holds a second handle on: at the reset, a
//! lease with that one handle is used again, and a lease that somebody else holds becomes an ordinary lease of the pool,
//! with its own block cut out of the arena's chunk. So a stale handle and a new owner can never share bytes.
//!
//! When two epochs in a row ask for the same sizes (`learning`), the next one is served from a plan (`plan`), in which
//! allocations that are not there at the same time share bytes. Each step checks that what lies beneath it is gone; the
//! first surprise sends the rest of the epoch back to bumping. Next room: `scope`, the epoch that nothing can leave.

mod chunk;
mod learning;
mod plan;
mod planned;
pub(crate) mod scope;
mod slots;

use self::{
    chunk::Chunk,
    learning::Learning,
    plan::Plan,
    planned::Planned,
    scope::Scope,
    slots::{PLANNED, Slots},
};
use super::{
    buffer::Buffer,
    guard::{View, Write},
    lease::Handle,
    options::{Init, Request},
    pool::Pool,
    range::GRANULE,
    trace::device::ArenaName,
};
use crate::{
    error::{Brief, Error, Result},
    label::Label,
};

/// The smallest chunk that an arena takes from its pool.
const LEAST_CHUNK: u64 = 1 << 20;

/// Memory for one step after another.
///
/// ```
/// use forebay_device::{Arena, Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let mut arena = Arena::new(device.pool());
/// let kept = arena.alloc(4096)?;
/// drop(arena.alloc(8192)?);
/// let report = arena.reset();
/// assert_eq!((report.recycled, report.held.len()), (1, 1), "`kept` stays with its holder");
/// kept.write::<u8>()?.fill(1);
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Debug)]
pub struct Arena {
    pool: Pool,
    /// Chunks of this epoch; the last one is being cut.
    chunks: Vec<Chunk>,
    /// Leases of this epoch, then spare ones.
    leases: Vec<Handle>,
    used: usize,
    /// Buffers of a scope, so many of them in use, and the numbers of those that a lease was cut for.
    slots: Slots,
    steps: u32,
    touched: Vec<u32>,
    planning: bool,
    plan: Option<Planned>,
    learning: Learning,
    stats: ArenaStats,
    name: Option<ArenaName>,
}

/// What a reset found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaReport {
    /// Buffers whose bytes are used again.
    pub recycled: u64,
    /// Buffers that somebody still holds: label and bytes. They stay valid and belong to their holders alone now.
    pub held: Vec<(Label, u64)>,
}

impl ArenaReport {
    /// Bytes of the buffers that somebody still holds.
    pub fn held_bytes(&self) -> u64 {
        self.held.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What an arena counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaStats {
    /// Resets so far.
    pub epochs: u64,
    /// Allocations served by a plan.
    pub planned: u64,
    /// Allocations served by bumping.
    pub bumped: u64,
    /// Plans that met a surprise.
    pub surprises: u64,
    /// Bytes that the arena holds from its pool.
    pub reserved: u64,
}

impl Arena {
    /// An arena that takes its memory from a pool.
    pub fn new(pool: &Pool) -> Self {
        Self {
            pool: pool.clone(),
            chunks: Vec::new(),
            leases: Vec::new(),
            used: 0,
            slots: Slots::default(),
            steps: 0,
            touched: Vec::new(),
            planning: true,
            plan: None,
            learning: Learning::default(),
            stats: ArenaStats::default(),
            name: pool.shared.home.trace.arena(|| pool.shared.lock().trace.number()),
        }
    }

    /// Whether epochs that repeat are planned. They are, unless this says otherwise.
    #[must_use]
    pub fn planning(mut self, on: bool) -> Self {
        self.planning = on;
        self
    }

    /// A buffer for this epoch. It may be kept longer: a reset then leaves it alone and says so.
    ///
    /// # Errors
    /// As [`Pool::alloc`], when the arena has to grow.
    #[inline]
    pub fn alloc(&mut self, request: impl Into<Request>) -> Result<Buffer> {
        let request = request.into();
        match self.serve(&request) {
            Ok(lease) => Ok(Buffer::new(lease.second(), request.bytes)),
            Err(error) => Err(*error),
        }
    }

    /// Runs a step whose buffers cannot leave it, then resets. What the step recorded on queues keeps what it binds.
    /// The step is an epoch of its own: whatever was allocated before it in this one meets its reset first.
    ///
    /// ```
    /// use forebay_device::{Arena, Device, DeviceOptions};
    ///
    /// let device = Device::open(&DeviceOptions::cpu())?;
    /// let mut arena = Arena::new(device.pool());
    /// let result = arena.scope(|scope| {
    ///     let scratch = scope.alloc(64)?;
    ///     scratch.write::<u32>()?.fill(3);
    ///     Ok::<_, forebay_device::Error>(scope.promote(scratch))
    /// })?;
    /// assert_eq!(result.to_vec::<u32>()?, [3; 16]);
    /// # Ok::<(), forebay_device::Error>(())
    /// ```
    pub fn scope<R>(&mut self, step: impl for<'s> FnOnce(&mut Scope<'s>) -> R) -> R {
        if self.used > 0 || self.plan.as_ref().is_some_and(|planned| planned.next > 0) {
            let _ = self.reset();
        }
        // The guard resets also when the step panics, so that its leases do not linger.
        let guard = ResetAtEnd(self);
        Scope::enter(guard.0, step)
    }

    /// Begins the next epoch. Nothing is waited for: what queued work still uses is ordered before its next use.
    pub fn reset(&mut self) -> ArenaReport {
        let mut report = ArenaReport::default();
        self.stats.epochs += 1;
        self.end_scope(&mut report);
        let scoped = std::mem::take(&mut self.steps) > 0;
        self.end_plan(&mut report);
        self.learn(scoped);
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut detached = Vec::new();
        let mut rest = chunks.as_mut_slice();
        while let [chunk, later @ ..] = rest {
            let end = later.first().map_or(self.used, |next| next.first);
            rest = later;
            let mut survivors = Vec::new();
            for index in chunk.first..end {
                if chunk.take_back(&mut self.leases[index]) {
                    report.recycled += 1;
                } else {
                    survivors.push(index);
                }
            }
            self.detach(chunk, &survivors, &mut report);
            detached.extend(survivors);
        }
        // What was detached belongs to its holder now, also if that let go of it meanwhile.
        for index in detached.into_iter().rev() {
            drop(self.leases.swap_remove(index));
        }
        self.used = 0;
        self.keep_one(chunks);
        if let Some(name) = self.name {
            let ArenaStats { epochs, reserved, .. } = self.stats();
            self.pool.shared.home.trace.arena_reset(name, &report, epochs, reserved);
        }
        report
    }

    /// What was counted so far.
    pub fn stats(&self) -> ArenaStats {
        let chunks: u64 = self.chunks.iter().map(|chunk| chunk.bytes).sum();
        let planned = self.plan.as_ref().map_or(0, |planned| planned.chunk.bytes);
        ArenaStats { reserved: chunks + planned, ..self.stats }
    }

    /// The next lease of this epoch, cut for a request.
    #[inline]
    pub(super) fn serve(&mut self, request: &Request) -> Brief<&mut Handle> {
        let lease = self.next(request)?;
        if request.init == Init::Zeroed {
            zero(lease)?;
        }
        Ok(lease)
    }

    #[inline]
    fn next(&mut self, request: &Request) -> Brief<&mut Handle> {
        if let Some(planned) = &mut self.plan
            && !planned.broken
        {
            if planned.advance(request) {
                self.stats.planned += 1;
                return match &mut self.plan {
                    Some(planned) => Ok(&mut planned.leases[planned.next - 1]),
                    None => unreachable!("it has just advanced"),
                };
            }
            planned.broken = true;
            self.stats.surprises += 1;
        }
        self.bump(request)
    }

    fn bump(&mut self, request: &Request) -> Brief<&mut Handle> {
        let offset = self.room(request.bytes)?;
        if self.used == self.leases.len() {
            self.pool.shared.spare_leases(&mut self.leases);
        }
        if self.learns() {
            self.learning.note(request, |earlier| self.leases[earlier as usize].is_alone());
        }
        let (Some(chunk), Some(lease)) = (self.chunks.last(), self.leases.get_mut(self.used)) else {
            return Err(Error::TooLarge { asked: request.bytes, most: 0 }.into());
        };
        chunk.cut(lease, offset, request.bytes, request.tag, &request.label);
        self.used += 1;
        self.stats.bumped += 1;
        Ok(lease)
    }

    /// Whether this epoch may become a plan.
    #[inline]
    fn learns(&self) -> bool {
        self.planning && self.plan.is_none() && !self.learning.pauses()
    }

    /// Room in the last chunk, from here on taken: its offset.
    #[inline]
    fn room(&mut self, bytes: u64) -> Brief<u64> {
        let Some(size) = bytes.checked_next_multiple_of(GRANULE) else {
            return Err(Error::TooLarge { asked: bytes, most: u64::MAX - GRANULE }.into());
        };
        if self.chunks.last().is_none_or(|chunk| chunk.bytes - chunk.cursor < size) {
            self.add_chunk(size)?;
        }
        let Some(chunk) = self.chunks.last_mut() else { return Ok(0) };
        let offset = chunk.cursor;
        chunk.cursor += size;
        Ok(offset)
    }

    #[cold]
    fn add_chunk(&mut self, size: u64) -> Result<()> {
        let held: u64 = self.chunks.iter().map(|chunk| chunk.bytes).sum();
        // Doubling what the epoch holds bounds the number of chunks; the next epoch gets by with one. Nothing needs none.
        let wanted = if size == 0 { 0 } else { size.max(held).max(LEAST_CHUNK) };
        let chunk = match Chunk::take(&self.pool, wanted, self.used) {
            Err(_) if wanted > size => Chunk::take(&self.pool, size, self.used)?,
            taken => taken?,
        };
        self.chunks.push(chunk);
        Ok(())
    }

    /// Keeps one chunk that would have held the whole epoch, or none yet if that takes a larger one.
    fn keep_one(&mut self, mut chunks: Vec<Chunk>) {
        // A plan that held all through the epoch needs no chunk beside its own.
        if self.plan.is_some() && chunks.iter().all(|chunk| chunk.cursor == 0) {
            chunks.into_iter().for_each(Chunk::give_back);
            return;
        }
        let needed: u64 = chunks.iter().map(|chunk| chunk.cursor).sum();
        let timeline = self.pool.shared.home.timeline();
        chunks.retain(|chunk| chunk.bytes > 0);
        for chunk in &mut chunks {
            chunk.uses.prune(timeline);
            (chunk.cursor, chunk.first) = (0, 0);
        }
        if chunks.len() == 1 {
            self.chunks = chunks;
            return;
        }
        let several = !chunks.is_empty();
        chunks.into_iter().for_each(Chunk::give_back);
        if several {
            // Failing here is no loss: the first allocation of the next epoch tries again and reports.
            self.chunks.extend(Chunk::take(&self.pool, needed.max(LEAST_CHUNK), 0));
        }
    }

    /// Gives leases that somebody holds a block of their own, and the chunk's other bytes back to the pool.
    fn detach(&self, chunk: &mut Chunk, survivors: &[usize], report: &mut ArenaReport) {
        if survivors.is_empty() {
            return;
        }
        let held: Vec<&Handle> = survivors.iter().map(|&index| &self.leases[index]).collect();
        Self::carve(&self.pool, chunk, &held, report);
    }

    fn carve(pool: &Pool, chunk: &mut Chunk, held: &[&Handle], report: &mut ArenaReport) {
        report.held.extend(held.iter().map(|lease| (lease.facts().label.clone(), lease.facts().len)));
        let mut held = held.to_vec();
        held.sort_by_key(|lease| lease.facts().offset);
        pool.shared.carve(&mut chunk.handle, &chunk.uses, &held);
        chunk.bytes = 0;
    }

    /// Ends the buffers of a scope: takes back what nobody holds, and gives the rest blocks of its own.
    fn end_scope(&mut self, report: &mut ArenaReport) {
        let mut held = Vec::new();
        while let Some(index) = self.touched.pop() {
            let slot = self.slots.at_mut(index);
            let (number, lease) = (slot.chunk.get(), slot.lease.take());
            let (Some(mut lease), Some(chunk)) = (lease, self.chunk(number)) else { continue };
            match chunk.take_back(&mut lease) {
                true => self.leases.push(lease),
                false => held.push((number, lease)),
            }
        }
        report.recycled += u64::from(self.steps) - held.len() as u64;
        held.sort_by_key(|(number, _)| *number);
        let pool = self.pool.clone();
        for group in held.chunk_by(|a, b| a.0 == b.0) {
            let leases: Vec<&Handle> = group.iter().map(|(_, lease)| lease).collect();
            if let Some(chunk) = self.chunk(group[0].0) {
                Self::carve(&pool, chunk, &leases, report);
            }
        }
    }

    /// A chunk by the number that slots have for it.
    fn chunk(&mut self, number: u32) -> Option<&mut Chunk> {
        match number {
            PLANNED => self.plan.as_mut().map(|planned| &mut planned.chunk),
            _ => self.chunks.get_mut(number as usize),
        }
    }

    /// Ends the planned part of an epoch.
    fn end_plan(&mut self, report: &mut ArenaReport) {
        let Some(mut planned) = self.plan.take() else { return };
        let mut survivors = Vec::new();
        for index in 0..planned.next.min(planned.leases.len()) {
            if planned.chunk.take_back(&mut planned.leases[index]) {
                report.recycled += 1;
            } else {
                survivors.push(index);
            }
        }
        let whole = planned.chunk.bytes > 0 || planned.plan.bytes == 0;
        if survivors.is_empty() && whole && !planned.broken {
            planned.chunk.uses.prune(self.pool.shared.home.timeline());
            planned.next = 0;
            self.plan = Some(planned);
            return;
        }
        if !survivors.is_empty() {
            let held: Vec<&Handle> = survivors.iter().map(|&index| &planned.leases[index]).collect();
            Self::carve(&self.pool, &mut planned.chunk, &held, report);
        }
        if planned.chunk.bytes > 0 {
            planned.chunk.give_back();
        }
        self.learning.surprised();
    }

    /// Compares this epoch with the last, and plans the next if they agree.
    fn learn(&mut self, scoped: bool) {
        if !self.planning || self.plan.is_some() {
            return self.learning.skip();
        }
        let Some(expected) = self.learning.end() else { return };
        // Without memory for the plan, bumping goes on.
        let labels = if scoped { None } else { Some(&self.leases[..self.used]) };
        self.plan = Planned::new(&self.pool, Plan::pack(&expected), labels).ok();
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.planning = false;
        let _ = self.reset();
        if let Some(planned) = self.plan.take() {
            planned.chunk.give_back();
        }
        std::mem::take(&mut self.chunks).into_iter().for_each(Chunk::give_back);
    }
}

struct ResetAtEnd<'a>(&'a mut Arena);

impl Drop for ResetAtEnd<'_> {
    fn drop(&mut self) {
        let _ = self.0.reset();
    }
}

#[cold]
fn zero(lease: &Handle) -> Result<()> {
    let view = View { handle: lease, start: 0, len: lease.facts().len };
    if view.len > 0 {
        Write::<u8>::new(view, true)?.fill(0);
    }
    Ok(())
}
