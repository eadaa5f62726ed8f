//! The arena: memory for one step. Allocation is a bump; a reset takes everything back that nobody holds.
//!
//! An epoch lies between two resets. Its buffers are leases that the arena holds a second handle on: at the reset, a
//! lease with that one handle is used again, and a lease that somebody else holds becomes an ordinary lease of the pool,
//! with its own block cut out of the arena's chunk. So a stale handle and a new owner can never share bytes.
//!
//! When two epochs in a row ask for the same sizes, the next one is served from a plan (`plan`), in which allocations
//! that are not there at the same time share bytes. Each step checks that what lies beneath it is gone; the first
//! surprise sends the rest of the epoch back to bumping.

use super::{
    buffer::Buffer,
    lease::{Facts, Handle},
    options::{Init, Request},
    plan::{Observed, Plan},
    pool::Pool,
    range::GRANULE,
    scope::Scope,
    stats::Tag,
    trace::device::ArenaName,
    uses::Uses,
};
use crate::{
    error::{Error, Result},
    label::Label,
    launch::RegionId,
};

/// The smallest chunk that an arena takes from its pool.
const LEAST_CHUNK: u64 = 1 << 20;
/// Looks at live leases that an epoch may spend on learning lifetimes. What is not seen to go is taken to stay.
const LEARNING: u32 = 200_000;

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
    planning: bool,
    plan: Option<Planned>,
    learned: Vec<Observed>,
    learning: Learning,
    stats: ArenaStats,
    name: Option<ArenaName>,
}

/// A block of the pool that an arena cuts from.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) handle: Handle,
    /// What earlier epochs left under way in it: it orders whatever is cut from it next.
    uses: Uses,
    cursor: u64,
    bytes: u64,
    region: RegionId,
    offset: u64,
    address: u64,
    host: usize,
    /// Number of the first lease that is cut from it.
    first: usize,
}

/// An epoch served from a plan.
#[derive(Debug)]
struct Planned {
    plan: Plan,
    chunk: Chunk,
    leases: Vec<Handle>,
    next: usize,
    broken: bool,
}

/// What is observed while no plan serves.
#[derive(Debug, Default)]
struct Learning {
    observed: Vec<Observed>,
    /// Leases of this epoch that were there when last looked at.
    live: Vec<u32>,
    budget: u32,
    /// Epochs to sit out after a plan that did not hold, and how many to sit out after the next.
    pause: u32,
    patience: u32,
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
            planning: true,
            plan: None,
            learned: Vec::new(),
            learning: Learning { budget: LEARNING, patience: 1, ..Learning::default() },
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
        let buffer = Buffer::whole(self.serve(&request)?.second());
        if request.init == Init::Zeroed && !buffer.is_empty() {
            buffer.write::<u8>()?.fill(0);
        }
        Ok(buffer)
    }

    /// Runs a step whose buffers cannot leave it, then resets. What the step recorded on queues keeps what it binds.
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
        // The guard resets also when the step panics, so that its leases do not linger.
        let guard = ResetAtEnd(self);
        Scope::enter(guard.0, step)
    }

    /// Begins the next epoch. Nothing is waited for: what queued work still uses is ordered before its next use.
    pub fn reset(&mut self) -> ArenaReport {
        let mut report = ArenaReport::default();
        self.stats.epochs += 1;
        self.end_plan(&mut report);
        self.learn();
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
    pub(super) fn serve(&mut self, request: &Request) -> Result<&mut Handle> {
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

    fn bump(&mut self, request: &Request) -> Result<&mut Handle> {
        let size = request.bytes.checked_next_multiple_of(GRANULE);
        let size = size.ok_or(Error::TooLarge { asked: request.bytes, most: u64::MAX - GRANULE })?;
        if self.chunks.last().is_none_or(|chunk| chunk.bytes - chunk.cursor < size) {
            self.add_chunk(size)?;
        }
        if self.used == self.leases.len() {
            self.pool.shared.spare_leases(&mut self.leases);
        }
        if self.planning && self.learning.pause == 0 {
            self.learning.note(&self.leases, request);
        }
        let (Some(chunk), Some(lease)) = (self.chunks.last_mut(), self.leases.get_mut(self.used)) else {
            return Err(Error::TooLarge { asked: request.bytes, most: 0 });
        };
        chunk.cut(lease, chunk.cursor, request.bytes, request.tag, &request.label);
        chunk.cursor += size;
        self.used += 1;
        self.stats.bumped += 1;
        Ok(lease)
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

    /// Ends the planned part of an epoch.
    fn end_plan(&mut self, report: &mut ArenaReport) {
        let Some(mut planned) = self.plan.take() else { return };
        let mut survivors = Vec::new();
        for index in 0..planned.next {
            if planned.chunk.take_back(&mut planned.leases[index]) {
                report.recycled += 1;
            } else {
                survivors.push(index);
            }
        }
        if survivors.is_empty() && !planned.broken {
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
        self.learned.clear();
        self.learning.pause = self.learning.patience;
        self.learning.patience = (self.learning.patience * 2).min(1024);
    }

    /// Compares this epoch with the last, and plans the next if they agree.
    fn learn(&mut self) {
        self.learning.live.clear();
        self.learning.budget = LEARNING;
        let now = std::mem::take(&mut self.learning.observed);
        if !self.planning || self.plan.is_some() {
            return;
        }
        if self.learning.pause > 0 {
            self.learning.pause -= 1;
            return;
        }
        let same = !now.is_empty()
            && now.len() == self.learned.len()
            && now.iter().zip(&self.learned).all(|(a, b)| (a.bytes, a.tag) == (b.bytes, b.tag));
        if !same {
            self.learned = now;
            return;
        }
        let later = |(a, b): (&Observed, &Observed)| Observed { gone_by: a.gone_by.max(b.gone_by), ..*a };
        let observed: Vec<_> = now.iter().zip(&self.learned).map(later).collect();
        // Without memory for the plan, bumping goes on.
        self.plan = Planned::new(&self.pool, Plan::pack(&observed), &self.leases[..self.used]).ok();
        self.learned = now;
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

impl Chunk {
    fn take(pool: &Pool, bytes: u64, first: usize) -> Result<Self> {
        let bytes = bytes.next_multiple_of(GRANULE);
        let request = Request::new(bytes).exact().tag(Tag::Activations).label("arena");
        let handle = pool.shared.acquire(&request)?;
        let Facts { region, offset, address, host, .. } = *handle.facts();
        Ok(Self { handle, uses: Uses::default(), cursor: 0, bytes, region, offset, address, host, first })
    }

    /// Makes a lease stand for a part of the chunk.
    #[inline]
    fn cut(&self, lease: &mut Handle, offset: u64, bytes: u64, tag: Tag, label: &Label) {
        if let Some(mut sole) = lease.sole() {
            let facts = sole.facts();
            facts.region = self.region;
            facts.offset = self.offset + offset;
            facts.address = self.address + offset;
            facts.host = if self.host == 0 { 0 } else { self.host + offset as usize };
            facts.len = bytes;
            facts.taken = bytes.next_multiple_of(GRANULE);
            facts.label.clone_from(label);
            facts.tag = tag;
            if !self.uses.is_empty() {
                sole.uses().inherit(&self.uses);
            }
        }
    }

    /// Takes a lease back if nobody else holds it. Its uses stay with the chunk.
    #[inline]
    fn take_back(&mut self, lease: &mut Handle) -> bool {
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
    fn give_back(mut self) {
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

impl Planned {
    fn new(pool: &Pool, plan: Plan, labels: &[Handle]) -> Result<Self> {
        let chunk = Chunk::take(pool, plan.bytes, 0)?;
        let mut leases = Vec::with_capacity(plan.steps.len());
        while leases.len() < plan.steps.len() {
            pool.shared.spare_leases(&mut leases);
        }
        let unnamed = Label::default();
        for (index, (lease, step)) in leases.iter_mut().zip(&plan.steps).enumerate() {
            let label = labels.get(index).map_or(&unnamed, |lease| &lease.facts().label);
            chunk.cut(lease, step.offset, step.bytes, step.tag, label);
        }
        Ok(Self { plan, chunk, leases, next: 0, broken: false })
    }

    /// Takes the next step, if it is this request and everything beneath it is gone.
    #[inline]
    fn advance(&mut self, request: &Request) -> bool {
        let Some(step) = self.plan.steps.get(self.next) else { return false };
        if (step.bytes, step.tag) != (request.bytes, request.tag) {
            return false;
        }
        let mut stamped = !self.chunk.uses.is_empty();
        for &below in self.plan.beneath(step) {
            match self.leases[below as usize].sole() {
                Some(mut gone) => stamped |= !gone.uses().is_empty(),
                None => return false,
            }
        }
        if stamped {
            self.order();
        }
        if let Some(mut next) = self.leases[self.next].sole() {
            next.facts().label.clone_from(&request.label);
        }
        self.next += 1;
        true
    }

    /// Orders the next step after whatever work still uses the bytes that it takes over.
    #[cold]
    fn order(&mut self) {
        let step = &self.plan.steps[self.next];
        let (earlier, rest) = self.leases.split_at_mut(self.next);
        if let Some(mut sole) = rest.first_mut().and_then(Handle::sole) {
            sole.uses().inherit(&self.chunk.uses);
            for &below in self.plan.beneath(step) {
                if let Some(mut below) = earlier[below as usize].sole() {
                    sole.uses().inherit(below.uses());
                }
            }
        }
    }
}

impl Learning {
    /// Notes a request, and which earlier ones are gone by now.
    fn note(&mut self, leases: &[Handle], request: &Request) {
        let step = self.observed.len() as u32;
        self.look(leases, step);
        self.live.push(step);
        self.observed.push(Observed { bytes: request.bytes, tag: request.tag, gone_by: u32::MAX });
    }

    fn look(&mut self, leases: &[Handle], step: u32) {
        self.budget = self.budget.saturating_sub(self.live.len() as u32);
        if self.budget == 0 {
            return;
        }
        let observed = &mut self.observed;
        self.live.retain(|&lease| {
            let gone = leases[lease as usize].is_alone();
            if gone {
                observed[lease as usize].gone_by = step;
            }
            !gone
        });
    }
}
