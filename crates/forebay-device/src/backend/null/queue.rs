//! Queues of the null device: submissions stay in line until the test, or the automatic mode, completes them.

use std::collections::VecDeque;

use super::{control::SubmissionRecord, device::Shared, fence};
use crate::{
    backend::{QueueId, Submission, Work, cpu::module},
    error::Result,
    launch::{Command, CommandList},
};

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) waiting: VecDeque<Submission>,
    /// Submissions stay until the test completes them.
    pub(crate) held: bool,
}

/// Completes what can be completed: all that is not held. Returns when nothing more moves.
pub(crate) fn settle(shared: &Shared, lines: &mut [Line]) {
    while (0..lines.len())
        .any(|queue| !lines[queue].held && complete_first(shared, lines, queue as QueueId, None))
    {}
}

/// Completes the first submission of a queue, unless there is none or it still waits for another queue.
pub(crate) fn complete_first(
    shared: &Shared,
    lines: &mut [Line],
    queue: QueueId,
    forced: Option<Result<()>>,
) -> bool {
    let line = &mut lines[queue as usize];
    let Some(first) = line.waiting.front() else { return false };
    if !fence::ready(&shared.timeline, &first.waits) {
        return false;
    }
    let Some(submission) = line.waiting.pop_front() else { return false };
    // On a lost device nothing runs any more; the memory may be gone.
    let present = shared.timeline.lost().map_or(Ok(()), Err);
    let outcome = present
        .and_then(|()| submission.after.map_or(Ok(()), |tick| shared.timeline.outcome(queue, tick)))
        .and_then(|()| fence::inherited(&shared.timeline, &submission.waits))
        .and_then(|()| forced.unwrap_or(Ok(())));
    if outcome.is_ok() && shared.memory.backing().is_ok() {
        run(list_of(&submission.work));
    }
    let tick = submission.tick;
    if let Work::Once(list) = submission.work {
        shared.recycler.give(list);
    }
    shared.timeline.advance(queue, tick, outcome);
    true
}

/// Copies and fills are carried out, so that data can be looked at.
fn run(list: &CommandList) {
    for command in &list.commands {
        match *command {
            Command::Copy { from, to } => module::copy(from, to, 0, 1),
            Command::Fill { to, byte } => module::fill(to, byte, 0, 1),
            Command::Launch { .. } | Command::Barrier => {}
        }
    }
}

fn list_of(work: &Work) -> &CommandList {
    match work {
        Work::Once(list) => list,
        Work::Graph(graph) => graph.list(),
    }
}

/// What the log keeps of a submission.
pub(crate) fn record(shared: &Shared, submission: &Submission) -> SubmissionRecord {
    let list = list_of(&submission.work);
    let launches = list.commands.iter().filter_map(|command| match command {
        Command::Launch { kernel, .. } => Some(shared.names.name(*kernel)),
        _ => None,
    });
    SubmissionRecord {
        queue: submission.queue,
        tick: submission.tick,
        label: submission.label.to_string(),
        waits: submission.waits.iter().map(|wait| (wait.queue, wait.tick)).collect(),
        launches: launches.collect(),
        barriers: list.commands.iter().filter(|&command| *command == Command::Barrier).count(),
        replayed: matches!(submission.work, Work::Graph(_)),
    }
}
