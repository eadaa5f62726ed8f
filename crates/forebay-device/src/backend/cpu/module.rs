#![allow(unsafe_code, reason = "kernels see the bytes of their arguments as slices")]
#![allow(clippy::panic, reason = "a kernel that asks for what its signature does not say fails its stage")]
//! Kernels on the CPU: what a Rust kernel is given, and the table of those that were loaded.
//!
//! Rules for the unsafe code:
//! - R1 The place of an argument is mapped host memory that stays until the submission has completed (backend
//!   contract), aligned for its element and a whole number of elements long (`launch::check`).
//! - R2 In one launch, a written place overlaps no other argument (`launch::check`), no host guard aliases it
//!   (`memory::access`), and no command between the same two barriers touches it (`command::hazard`).
//! - R3 Two calls of one launch run at the same time only if every written buffer is split by `per_group`, and the
//!   parts of different groups are disjoint. Otherwise `Launch::is_serial` holds and calls follow each other.
//! - R4 Within one call an argument is taken at most once for writing and not both for writing and reading.

use std::{
    any::Any, cell::Cell, marker::PhantomData, ops::Range, panic::AssertUnwindSafe, ptr, slice, sync::Arc,
};

use bytemuck::Pod;

use crate::{
    error::{Error, Result},
    kernel::{CpuCode, KernelDef},
    launch::{Access, ArgumentValue, Grid, KernelId, Param, PerGroup, Place, Signature},
    sync::{Mutex, lock},
};

/// What a safe Rust kernel sees of a launch: one group and its arguments.
///
/// Asking for an argument that is not what the signature says panics, which fails the stage with the kernel's name.
#[derive(Debug)]
pub struct Group<'a> {
    grid: Grid,
    index: u64,
    params: &'a [Param],
    values: &'a [ArgumentValue],
    taken: Cell<u32>,
    not_send: PhantomData<*const ()>,
}

impl<'a> Group<'a> {
    /// The position of this group in the grid, counted through x, then y, then z.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// The grid of the launch.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The elements of a buffer that the kernel only reads: all of them, or this group's share.
    ///
    /// # Panics
    /// If the argument is not a buffer of such elements that is only read.
    pub fn read<T: Pod>(&self, argument: usize) -> &'a [T] {
        let (start, len) = self.part::<T>(argument, Access::Read);
        if len == 0 {
            return &[];
        }
        // SAFETY: R1 for the bytes; R2: nobody writes them while this launch runs.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// The elements of a buffer that the kernel writes: all of them, or this group's share.
    ///
    /// # Panics
    /// If the argument is not a buffer of such elements that is written, or was taken before.
    #[allow(clippy::mut_from_ref, reason = "each argument is handed out once, and arguments do not overlap")]
    pub fn write<T: Pod>(&self, argument: usize) -> &'a mut [T] {
        let (start, len) = self.part::<T>(argument, Access::Write);
        let bit = 1 << argument;
        assert!(self.taken.get() & bit == 0, "argument {argument} was taken twice");
        self.taken.set(self.taken.get() | bit);
        if len == 0 {
            return &mut [];
        }
        // SAFETY: R1 for the bytes; R2 and R3: no other call or argument reaches them; R4 by the assertion.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    /// A `u32`.
    ///
    /// # Panics
    /// If the argument is of another kind.
    pub fn u32(&self, argument: usize) -> u32 {
        match self.values[argument] {
            ArgumentValue::U32(value) => value,
            other => panic!("argument {argument} is {}, not a u32", other.kind()),
        }
    }

    /// An `i32`.
    ///
    /// # Panics
    /// If the argument is of another kind.
    pub fn i32(&self, argument: usize) -> i32 {
        match self.values[argument] {
            ArgumentValue::I32(value) => value,
            other => panic!("argument {argument} is {}, not an i32", other.kind()),
        }
    }

    /// A `u64`.
    ///
    /// # Panics
    /// If the argument is of another kind.
    pub fn u64(&self, argument: usize) -> u64 {
        match self.values[argument] {
            ArgumentValue::U64(value) => value,
            other => panic!("argument {argument} is {}, not a u64", other.kind()),
        }
    }

    /// An `f32`.
    ///
    /// # Panics
    /// If the argument is of another kind.
    pub fn f32(&self, argument: usize) -> f32 {
        match self.values[argument] {
            ArgumentValue::F32(value) => value,
            other => panic!("argument {argument} is {}, not an f32", other.kind()),
        }
    }

    fn part<T: Pod>(&self, argument: usize, wanted: Access) -> (*mut T, usize) {
        let (Some(&ArgumentValue::Buffer(place)), Some(&Param::Buffer { access, element, per_group })) =
            (self.values.get(argument), self.params.get(argument))
        else {
            panic!("argument {argument} is not a buffer");
        };
        assert!(access.writes() == wanted.writes(), "argument {argument} is declared as {access:?}");
        assert!(size_of::<T>() > 0, "argument {argument} has elements of no size");
        assert!(
            element as usize == size_of::<T>(),
            "argument {argument} has elements of {element} bytes, not {}",
            size_of::<T>()
        );
        let all = place.len / u64::from(element);
        let own = |per: u64| (self.index * per).min(all)..((self.index + 1) * per).min(all);
        let Range { start, end } = match per_group {
            PerGroup::All => 0..all,
            PerGroup::Elements(elements) => own(elements.into()),
            PerGroup::Argument(argument) => own(self.u32(argument.into()).into()),
        };
        let first = place.address as usize + start as usize * size_of::<T>();
        (ptr::with_exposed_provenance_mut(first), (end - start) as usize)
    }
}

/// What an unsafe Rust kernel sees of a launch: the groups that this worker owns, and arguments as pointers.
#[derive(Debug)]
pub struct Share<'a> {
    grid: Grid,
    groups: Range<u64>,
    worker: usize,
    values: &'a [ArgumentValue],
}

impl Share<'_> {
    /// The groups this worker has to do. No other worker does them.
    pub fn groups(&self) -> Range<usize> {
        self.groups.start as usize..self.groups.end as usize
    }

    /// The grid of the launch.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The number of this worker, from 0 on.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// First byte and length in bytes of a buffer.
    ///
    /// # Panics
    /// If the argument is not a buffer.
    pub fn bytes(&self, argument: usize) -> (*mut u8, usize) {
        match self.values[argument] {
            ArgumentValue::Buffer(place) => {
                (ptr::with_exposed_provenance_mut(place.address as usize), place.len as usize)
            }
            other => panic!("argument {argument} is {}, not a buffer", other.kind()),
        }
    }

    /// A scalar of four bytes, as its bits.
    ///
    /// # Panics
    /// If the argument is of another kind.
    pub fn word(&self, argument: usize) -> u32 {
        match self.values[argument] {
            ArgumentValue::U32(value) => value,
            ArgumentValue::I32(value) => value.cast_unsigned(),
            ArgumentValue::F32(value) => value.to_bits(),
            other => panic!("argument {argument} is {}, not a scalar of four bytes", other.kind()),
        }
    }
}

/// A kernel that was loaded.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) name: Arc<str>,
    signature: Arc<Signature>,
    code: CpuCode,
    serial: bool,
}

impl Loaded {
    /// Runs what one worker has to do of a launch. A panic of the kernel comes back as its message.
    pub(crate) fn run(
        &self,
        grid: Grid,
        values: &[ArgumentValue],
        worker: usize,
        workers: usize,
    ) -> Result<(), Arc<str>> {
        let groups = match self.serial {
            true if worker == 0 => 0..grid.count(),
            true => return Ok(()),
            false => share_of(grid.count(), worker, workers),
        };
        if groups.is_empty() {
            return Ok(());
        }
        let call = || match &self.code {
            CpuCode::Share(code) => code(&Share { grid, groups, worker, values }),
            CpuCode::Group(code) => {
                for index in groups {
                    let (params, taken) = (self.signature.params(), Cell::new(0));
                    code(&Group { grid, index, params, values, taken, not_send: PhantomData });
                }
            }
        };
        std::panic::catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let detail = text.unwrap_or("panicked").into();
            discard(panic);
            detail
        })
    }

    /// Whether helpers have anything to do in a launch of so many groups.
    pub(crate) fn is_serial(&self, groups: u64) -> bool {
        self.serial || groups <= 1
    }
}

/// Drops what a kernel panicked with, which may panic itself, with something that may panic as well.
fn discard(mut panic: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match std::panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            Ok(()) => return,
            Err(next) => panic = next,
        }
    }
    std::mem::forget(panic);
}

/// The part of `count` things that belongs to one worker: contiguous, and the same at every launch.
pub(crate) fn share_of(count: u64, worker: usize, workers: usize) -> Range<u64> {
    let (worker, workers) = (worker as u64, workers as u64);
    let (each, left) = (count / workers, count % workers);
    let start = worker * each + worker.min(left);
    start..start + each + u64::from(worker < left)
}

/// All kernels of a device. Loading is rare; a queue takes a snapshot when it changes.
#[derive(Default)]
pub(crate) struct Kernels {
    loaded: Mutex<Arc<Vec<Loaded>>>,
}

impl Kernels {
    pub(crate) fn load(&self, def: &KernelDef) -> Result<KernelId> {
        let Some(code) = def.cpu.clone() else {
            return Err(Error::Module {
                name: def.name.to_string(),
                detail: "it has no code for the CPU; add some with `cpu`".into(),
            });
        };
        let whole = |p: &Param| matches!(p, Param::Buffer { access, per_group: PerGroup::All, .. } if access.writes());
        let serial = matches!(code, CpuCode::Group(_)) && def.signature.params().iter().any(whole);
        let kernel = Loaded { name: def.name.clone(), signature: def.signature.clone(), code, serial };
        let mut loaded = lock(&self.loaded);
        let id = loaded.len() as KernelId;
        Arc::make_mut(&mut loaded).push(kernel);
        Ok(id)
    }

    pub(crate) fn snapshot(&self) -> Arc<Vec<Loaded>> {
        lock(&self.loaded).clone()
    }
}

/// Copies one worker's share of a range.
pub(crate) fn copy(from: Place, to: Place, worker: usize, workers: usize) {
    let part = byte_share(to.len, worker, workers);
    let source: *const u8 = ptr::with_exposed_provenance((from.address + part.start) as usize);
    let target: *mut u8 = ptr::with_exposed_provenance_mut((to.address + part.start) as usize);
    // SAFETY: R1 for both places, which `command::stage` has checked to be equally long and not to overlap (R2).
    unsafe { ptr::copy_nonoverlapping(source, target, (part.end - part.start) as usize) }
}

/// Fills one worker's share of a range.
pub(crate) fn fill(to: Place, byte: u8, worker: usize, workers: usize) {
    let part = byte_share(to.len, worker, workers);
    let target: *mut u8 = ptr::with_exposed_provenance_mut((to.address + part.start) as usize);
    // SAFETY: R1 and R2.
    unsafe { ptr::write_bytes(target, byte, (part.end - part.start) as usize) }
}

/// Below this, helpers cost more than they save.
pub(crate) const BYTES_WORTH_SHARING: u64 = 256 << 10;

fn byte_share(len: u64, worker: usize, workers: usize) -> Range<u64> {
    if len < BYTES_WORTH_SHARING {
        return if worker == 0 { 0..len } else { 0..0 };
    }
    let blocks = share_of(len.div_ceil(4096), worker, workers);
    (blocks.start * 4096).min(len)..(blocks.end * 4096).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once_for_any_count_of_workers() {
        for count in [0, 1, 2, 3, 7, 64, 1001] {
            for workers in 1..=9 {
                let mut next = 0;
                for worker in 0..workers {
                    let share = share_of(count, worker, workers);
                    assert_eq!(share.start, next);
                    next = share.end;
                }
                assert_eq!(next, count);
            }
        }
        for len in [0, 1, BYTES_WORTH_SHARING - 1, BYTES_WORTH_SHARING, BYTES_WORTH_SHARING + 4097] {
            let parts: Vec<_> = (0..3).map(|worker| byte_share(len, worker, 3)).collect();
            assert_eq!(parts.iter().map(|part| part.end - part.start).sum::<u64>(), len, "{parts:?}");
        }
    }
}
