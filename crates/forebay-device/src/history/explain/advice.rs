//! What to do about it: rules on the numbers of an explanation, the most helpful first.

use super::Explanation;
use crate::{
    error::Bytes,
    memory::{stats::Tag, trace::event::Shortage},
};

pub(super) fn of(told: &Explanation) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(refused) = &told.refused {
        let asked = refused.asked;
        match refused.why {
            Shortage::Budget => advice.push(format!(
                "The budget of {} is what ran out, not the memory: one of {} would have served this request.",
                refused.tag,
                Bytes(needed(told, refused.tag, asked))
            )),
            Shortage::Limit => {
                let page = told.origin.page;
                let more = if page > 0 { asked.next_multiple_of(page) } else { asked };
                let limit = told.reserved.saturating_sub(told.idle).saturating_add(more);
                advice.push(format!(
                    "Raise the limit: one of {} would have served this request.",
                    Bytes(limit)
                ));
            }
            Shortage::Driver => {
                advice.push("The device itself has no more: other programs may hold the rest of it.".into());
            }
        }
        if let Some(share) = told.queues.iter().find(|share| share.enough.is_some()) {
            let tick = share.enough.unwrap_or(share.last);
            advice.push(format!(
                "Wait for tick {tick} of queue {} before asking: what was dropped is free then, and enough.",
                share.queue
            ));
        }
        let room = told.room();
        if told.free >= asked && room < asked {
            advice.push(format!(
                "Enough is free, but in pieces of {} at most: take what stays for long before what comes and goes.",
                Bytes(room)
            ));
        }
    }
    if let Some((tag, bytes)) = told.by_tag.first().filter(|(_, bytes)| *bytes > told.live / 2) {
        let share = bytes * 100 / told.live.max(1);
        let what = match tag {
            Tag::Weights => {
                "a model with fewer bits a weight takes less, or map its file instead of reading it"
            }
            Tag::Kv => "a shorter context (`--ctx`) or a smaller type of the cache (`--kv`) takes less",
            Tag::Activations => "fewer tokens at a time (`--chunk`) take less",
            Tag::Staging => "copy less at a time between host and device",
            Tag::Other => "give buffers a tag and a label, so that this report can say whose they are",
        };
        advice.push(format!("{share} % of what is live is {tag}: {what}."));
    }
    advice
}

/// The budget that would have done.
fn needed(told: &Explanation, tag: Tag, asked: u64) -> u64 {
    let held = told.by_tag.iter().find(|(other, _)| *other == tag).map_or(0, |(_, bytes)| *bytes);
    held.saturating_add(asked)
}
