//! Which magazine is the calling thread's, for each pool it uses.
//!
//! Owns: the thread-local table from pool to magazine, and the fast path through it. Never: what happens on a miss,
//! which is `shared`'s.
//! Rule T1: a magazine is owned by the thread in whose table it stands; the table never leaves the thread, so only
//! that thread calls the owner's functions. Rule T2: `HOT` names a seat that stands in the table, or nothing.
//! A seat ends with its thread, or at the thread's next join after the pool's end.
//! Next room: `magazine`.
#![allow(unsafe_code, reason = "vouches that the calling thread owns the magazine")]

use std::{
    cell::{Cell, RefCell},
    ptr,
};

use super::{
    block::Block,
    magazine::Magazine,
    shared::Shared,
    source::{MOST, capacity_for},
};
use crate::{Error, sync::Arc};

struct Seat {
    shared: Arc<Shared>,
    magazine: Arc<Magazine>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        HOT.set((ptr::null(), ptr::null()));
        // SAFETY: T1; the seat is leaving the table, and T2 holds as of the line above.
        unsafe { self.shared.leave(&self.magazine) }
    }
}

thread_local! {
    /// The seat used last.
    static HOT: Cell<(*const Shared, *const Magazine)> = const { Cell::new((ptr::null(), ptr::null())) };
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

/// What [`acquire`] gives: the buffer, none for no bytes, and whether it is known to be zero. The error is boxed so
/// that all of it fits into two registers.
pub(super) type Acquired = Result<(Option<Box<Block>>, bool), Box<Error>>;

/// A buffer of at least `count` times `size` bytes.
#[inline(always)]
pub(super) fn acquire(shared: &Arc<Shared>, count: usize, size: usize) -> Acquired {
    if let Some(asked) = count.checked_mul(size)
        && let Some(magazine) = hot(shared)
        // SAFETY: T2, and T1.
        && let Some(block) = unsafe { (*magazine).acquire(capacity_for(asked)) }
    {
        return Ok((Some(block), false));
    }
    acquire_slowly(shared, count, size)
}

/// Gives a buffer back to its pool.
#[inline]
pub(super) fn release(block: Box<Block>) {
    let block = match hot(block.shared()) {
        // SAFETY: T2, and T1.
        Some(magazine) => match unsafe { (*magazine).release(block) } {
            Ok(()) => return,
            Err(block) => block,
        },
        None => block,
    };
    release_slowly(block);
}

#[cold]
#[inline(never)]
fn acquire_slowly(shared: &Arc<Shared>, count: usize, size: usize) -> Acquired {
    if count == 0 {
        return Ok((None, true));
    }
    let Some(asked) = count.checked_mul(size) else {
        let asked = (count as u64).saturating_mul(size as u64);
        return Err(Box::new(Error::TooLarge { asked, most: MOST as u64 }));
    };
    let magazine = seated(shared);
    let magazine = magazine.as_deref();
    // SAFETY: T1.
    if let Some(block) = magazine.and_then(|magazine| unsafe { magazine.acquire(capacity_for(asked)) }) {
        return Ok((Some(block), false));
    }
    // SAFETY: T1; `seated` found it under this pool.
    match unsafe { Shared::acquire(shared, magazine, asked) } {
        Ok((block, zero)) => Ok((Some(block), zero)),
        Err(error) => Err(Box::new(error)),
    }
}

#[cold]
#[inline(never)]
fn release_slowly(block: Box<Block>) {
    // The block may be the last to hold the pool.
    let shared = Arc::clone(block.shared());
    let magazine = seated(&shared);
    let block = match magazine.as_deref() {
        // SAFETY: T1.
        Some(magazine) => match unsafe { magazine.release(block) } {
            Ok(()) => return,
            Err(block) => block,
        },
        None => block,
    };
    // SAFETY: T1; `seated` found it under this pool.
    unsafe { shared.release(magazine.as_deref(), block) }
}

/// The magazine of this pool, if it is the one used last.
#[inline(always)]
fn hot(shared: &Arc<Shared>) -> Option<*const Magazine> {
    let (pool, magazine) = HOT.get();
    ptr::eq(pool, &raw const **shared).then_some(magazine)
}

/// The thread's magazine of this pool, made if there is none; none while the thread's
/// table is being dropped or after the pool's end.
fn seated(shared: &Arc<Shared>) -> Option<Arc<Magazine>> {
    let seat = |seats: &RefCell<Vec<Seat>>| {
        let mut seats = seats.borrow_mut();
        let found = seats.iter().find(|seat| Arc::ptr_eq(&seat.shared, shared));
        if let Some(seat) = found {
            return Some(Arc::clone(&seat.magazine));
        }
        seats.retain(|seat| !seat.shared.is_closed());
        if shared.is_closed() {
            return None;
        }
        let magazine = shared.join();
        seats.push(Seat { shared: Arc::clone(shared), magazine: Arc::clone(&magazine) });
        Some(magazine)
    };
    let magazine = SEATS.try_with(seat).ok().flatten()?;
    HOT.set((&raw const **shared, &raw const *magazine));
    Some(magazine)
}
