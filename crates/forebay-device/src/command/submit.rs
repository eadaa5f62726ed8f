//! The step from recorded to submitted: one lock, under which host guards are checked, waits are collected, the tick is
//! taken, the work is handed over and every allocation is stamped. All of it happens, or none.

use super::{bind::BoundLease, fence::Fence, recording::Recording, session::Session};
use crate::{
    backend::{DeviceWait, Submission, Work, waits::Waits},
    error::{Error, Result},
    label::Label,
    launch::{ArgumentValue, Command, CommandList, Param, Place},
    memory::{access::AccessGuard, lease::Handle},
    sync::Arc,
    timing::Timings,
};

impl Session {
    /// Submits what the open stage recorded.
    pub(super) fn submit_stage(&mut self, label: Label, fenced: bool) -> Result<Fence> {
        let list = std::mem::replace(&mut self.list, self.device.home().backend.recycle());
        let bound = std::mem::take(&mut self.bound);
        let fence = self.submit_work(Work::Once(list), bound.leases(), label, fenced);
        self.bound = bound;
        fence
    }

    /// Keeps what the open stage recorded.
    pub(super) fn keep_stage(&mut self, label: Label) -> Result<Recording> {
        if !self.waits.is_empty() {
            let what =
                "keep a wait for a fence in a recording: call `after` on the session before the replay";
            return Err(Error::Unsupported { what, backend: self.device.kind().name() });
        }
        let list = std::mem::replace(&mut self.list, self.device.home().backend.recycle());
        let launches = list.commands.iter().any(|command| matches!(command, Command::Launch { .. }));
        let graph = self.home().backend.graph(list)?;
        let bound = self.bound.take().into();
        Ok(Recording { home: self.device.home().clone(), graph, bound, label, launches })
    }

    /// Submits work that uses these allocations.
    pub(super) fn submit_work(
        &mut self,
        work: Work,
        bound: &[BoundLease],
        label: Label,
        fenced: bool,
    ) -> Result<Fence> {
        let home = self.device.home().clone();
        home.take_deferred()?;
        home.sweep_graves();
        let told = home.residency.commit(home.backend.as_ref())?;
        let queue = self.queue.id;
        let profile = self.profiling.then(|| Arc::new(Timings::default()));

        let mut access = home.access.lock();
        if let Some(trace) = access.trace() {
            trace.residency_told(told);
        }
        for lease in bound {
            self.check_guards(&access, lease, &work)?;
        }
        let mut waits = Waits::default();
        let previous = self.last.filter(|&(_, fenced)| fenced).map(|(tick, _)| (queue, tick));
        for (queue, tick) in previous.into_iter().chain(self.waits.iter().chain(&self.asked).copied()) {
            note_wait(&mut waits, DeviceWait { queue, tick, cascade: true });
        }
        let counted = waits.len() as u64;
        for lease in bound {
            for used in lease.handle.uses(&mut access).iter().filter(|used| used.queue != queue) {
                let tick = used.blocks(lease.writes);
                if tick > 0 && !home.timeline().is_done(used.queue, tick) {
                    note_wait(&mut waits, DeviceWait { queue: used.queue, tick, cascade: false });
                }
            }
        }
        let tick = self.device.queues().next_tick(queue);
        let submission = Submission {
            queue,
            tick,
            label,
            after: self.last.map(|(tick, _)| tick),
            waits,
            work,
            profile: profile.clone(),
        };
        if let Some(trace) = access.trace() {
            trace.submitted(home.timeline(), &submission, bound.len(), fenced);
        }
        if let Err((error, _)) = home.backend.submit(submission) {
            if let Some(trace) = access.trace() {
                trace.refused(queue, tick);
            }
            return Err(error);
        }
        self.device.queues().take_tick(queue, tick);
        for lease in bound {
            lease.handle.uses(&mut access).stamp(queue, tick, lease.reads, lease.writes);
        }
        drop(access);
        home.trace.flush_if_due();

        self.last = Some((tick, fenced));
        self.stats.submissions += 1;
        self.asked.clear();
        self.stats.waits += counted;
        if fenced {
            self.stats.fences += 1;
            self.stats.events = 1;
        }
        Ok(self.fence_at(tick, profile))
    }

    pub(super) fn fence_at(&self, tick: u64, profile: Option<Arc<Timings>>) -> Fence {
        let names = profile.as_ref().map(|_| self.device.kernel_names().clone());
        Fence { home: self.device.home().clone(), queue: self.queue.id, tick, profile, names }
    }

    /// Refuses work that clashes with a host guard. Guards are rare: only then are the single ranges looked at.
    fn check_guards(&self, access: &AccessGuard<'_>, lease: &BoundLease, work: &Work) -> Result<()> {
        if !access.is_guarded(&lease.handle) {
            return Ok(());
        }
        let list: &CommandList = match work {
            Work::Once(list) => list,
            Work::Graph(graph) => graph.list(),
        };
        for command in &list.commands {
            match *command {
                Command::Launch { kernel, first, count, .. } => {
                    let Some(signature) = self.device.signature(kernel) else { continue };
                    for (value, param) in list.arguments_of(first, count).iter().zip(signature.params()) {
                        if let (ArgumentValue::Buffer(place), Param::Buffer { access: how, .. }) =
                            (value, param)
                        {
                            check_place(access, &lease.handle, place, how.writes())?;
                        }
                    }
                }
                Command::Copy { from, to } => {
                    check_place(access, &lease.handle, &from, false)?;
                    check_place(access, &lease.handle, &to, true)?;
                }
                Command::Fill { to, .. } => check_place(access, &lease.handle, &to, true)?,
                Command::Barrier => {}
            }
        }
        Ok(())
    }
}

/// Checks the part of a place that lies in an allocation.
fn check_place(access: &AccessGuard<'_>, handle: &Handle, place: &Place, writes: bool) -> Result<()> {
    let facts = handle.facts();
    let (first, end) = (facts.offset, facts.offset + facts.len);
    if place.region != facts.region || place.offset >= end || place.offset + place.len <= first {
        return Ok(());
    }
    let start = place.offset.max(first) - first;
    access.check(handle, start, (place.offset + place.len).min(end) - first, writes)
}

/// Adds a wait. For the order alone one a queue is enough, as the later tick covers the earlier; a result that is needed
/// is waited for by its own tick.
fn note_wait(waits: &mut Waits, wait: DeviceWait) {
    let same = |other: &&mut DeviceWait| {
        other.queue == wait.queue
            && other.cascade == wait.cascade
            && (!wait.cascade || other.tick == wait.tick)
    };
    match waits.iter_mut().find(same) {
        Some(other) => other.tick = other.tick.max(wait.tick),
        None => waits.push(wait),
    }
}
