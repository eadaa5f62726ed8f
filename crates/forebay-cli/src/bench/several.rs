//! Rounds of several texts that take a token each at a time: all of them go through the same weights in one step.

use std::time::Instant;

use forebay::{
    Engine,
    generate::{batch::Batch, text::Text},
};

use super::{Ids, Test};
use crate::cli::Failure;

/// Tokens a second of one round, those of all texts together, and how often it asked for memory.
pub(super) fn one_round(engine: &Engine, batch: &mut Batch, test: &Test) -> Result<(f64, u64), Failure> {
    let mut ids = Ids::of(engine);
    let mut next = Vec::with_capacity(test.sequences);
    for place in 0..batch.places() {
        // Whoever was there before has left.
        let _ = batch.leave(place);
    }
    for _ in 0..test.sequences {
        let depth: Vec<u32> = (0..test.depth.max(1)).map(|_| ids.next()).collect();
        let Some(place) = batch.join(&depth)? else {
            return Err(Failure::Usage("more sequences than places".to_owned()));
        };
        next.push((place, ids.next()));
    }
    batch.wait()?;
    let before = engine.device().pool().stats();
    let begun = Instant::now();
    for left in (0..test.generated).rev() {
        batch.step(&next)?;
        let ahead = left > 0 && batch.run_ahead()?;
        for (place, id) in &mut next {
            let found = batch.text(*place)?.greedy()?;
            // Where the device runs ahead, as when it generates, the token is its own.
            *id = if ahead { found } else { ids.next() };
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = engine.device().pool().stats();
    let requests = (after.hits + after.misses) - (before.hits + before.misses);
    Ok(((test.generated * test.sequences) as f64 / seconds.max(1e-9), requests))
}
