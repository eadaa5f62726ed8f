#![allow(unsafe_code, reason = "fibres and hooks share the group by pointer")]
//! Groups of threads as fibres of one host thread, in an order that is chosen anew for each run.
//!
//! A fibre runs until it meets others: at a barrier of its group, or in an operation of its simdgroup. Which fibre goes
//! next is up to the order, so a kernel that lacks a barrier gives other results under another order. Shared memory holds
//! a pattern when a group begins. Threads that meet at different lines, or wait for threads that have gone elsewhere,
//! end the run with an error. Rules for the unsafe code:
//! - G1 The hooks are called by kernels only, on fibres of the group that `CURRENT` points at, while `run` is on the
//!   stack below them (L2).
//! - G2 A fibre touches the group only between two switches, so no two references to it are used at once.

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    ptr,
};

use crate::fibre::{Stack, msl_switch};

/// The most threads a group may have.
pub const MOST_THREADS: usize = 1024;
/// The most bytes that a group may share.
pub const SHARED: usize = 32 << 10;
/// Lanes of a simdgroup.
const LANES: usize = 32;
/// The largest value that lanes exchange.
const VALUE: usize = 64;
/// What shared memory holds when a group begins.
const PATTERN: u8 = 0xCD;

/// In which order groups and threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are numbered.
    Rising,
    /// As a seed says, and differently each time that there is a choice.
    Shuffled(u64),
}

/// Three numbers as kernels see them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Three {
    x: u32,
    y: u32,
    z: u32,
}

/// A thread's place, as `source` has it declared.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    in_grid: Three,
    in_group: Three,
    group: Three,
    threads: Three,
    groups: Three,
    all: Three,
    index: u32,
    lane: u32,
    simdgroup: u32,
    simdgroups: u32,
    lanes: u32,
}

/// A kernel's function (L1).
pub(crate) type Entry = unsafe extern "C" fn(*const Place, *const *mut c_void, *const *mut c_void);

/// What kernels call, as the header has it declared.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Hooks {
    barrier: unsafe extern "C" fn(i32, i32),
    exchange: unsafe extern "C" fn(*const c_void, *mut c_void, u64, i32) -> u32,
    lane: unsafe extern "C" fn() -> u32,
    shared: unsafe extern "C" fn(u32, u64) -> *mut c_void,
}

pub(crate) static HOOKS: Hooks = Hooks { barrier, exchange, lane, shared };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    AtBarrier,
    AtSimd,
    Done,
}

#[derive(Debug)]
struct Fibre {
    saved: *mut c_void,
    state: State,
    line: i32,
    place: Place,
}

/// The threads that exchange values.
#[derive(Clone, Debug)]
struct Simdgroup {
    values: [[u8; VALUE]; LANES],
    /// The lanes that took part in the last exchange.
    there: u32,
}

struct Group<'a> {
    entry: Entry,
    buffers: &'a [*mut c_void],
    shared: &'a [*mut c_void],
    fibres: Vec<Fibre>,
    simdgroups: Vec<Simdgroup>,
    /// Shared variables by their number.
    variables: Vec<Vec<u128>>,
    running: usize,
    scheduler: *mut c_void,
    fault: Option<String>,
}

thread_local! {
    static CURRENT: Cell<*mut Group<'static>> = const { Cell::new(ptr::null_mut()) };
    static STACKS: RefCell<Vec<Stack>> = const { RefCell::new(Vec::new()) };
}

/// Numbers from a seed, well enough mixed to choose by.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)) % end as u64) as usize
    }

    fn shuffle(&mut self, all: &mut [usize]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
    }
}

impl Order {
    fn dice(self) -> Option<Dice> {
        match self {
            Self::Rising => None,
            Self::Shuffled(seed) => Some(Dice(seed)),
        }
    }
}

/// Runs all groups of a grid.
///
/// # Safety
/// The entry is that of a loaded kernel (L1), and what it is given is as large as it takes it to be.
pub(crate) unsafe fn run(
    entry: Entry,
    alone: bool,
    buffers: &[*mut c_void],
    shared_bytes: &[usize],
    groups: [u32; 3],
    threads: [u32; 3],
    order: Order,
) -> Result<(), String> {
    let count = threads.iter().map(|&n| n as usize).product::<usize>();
    if count == 0 || count > MOST_THREADS {
        return Err(format!("{count} threads a group; there can be 1 to {MOST_THREADS}"));
    }
    let mut blocks: Vec<Vec<u128>> = shared_bytes.iter().map(|bytes| vec![0; bytes.div_ceil(16)]).collect();
    let mut dice = order.dice();
    let mut numbers: Vec<usize> = (0..groups.iter().map(|&n| n as usize).product()).collect();
    if let Some(dice) = &mut dice {
        dice.shuffle(&mut numbers);
    }
    for number in numbers {
        let position = split(number, groups);
        blocks.iter_mut().for_each(|block| block.fill(u128::from_ne_bytes([PATTERN; 16])));
        let shared: Vec<*mut c_void> = blocks.iter_mut().map(|block| block.as_mut_ptr().cast()).collect();
        let places = (0..count).map(|index| place(index, position, groups, threads));
        let fibre = |place| Fibre { saved: ptr::null_mut(), state: State::Ready, line: 0, place };
        let mut group = Group {
            entry,
            buffers,
            shared: &shared,
            fibres: places.map(fibre).collect(),
            simdgroups: vec![
                Simdgroup { values: [[0; VALUE]; LANES], there: 0 };
                if alone { 0 } else { count.div_ceil(LANES) }
            ],
            variables: Vec::new(),
            running: 0,
            scheduler: ptr::null_mut(),
            fault: None,
        };
        let outcome = if alone { group.run_alone(&mut dice) } else { group.run(&mut dice) };
        outcome.map_err(|fault| format!("group {position:?}: {fault}"))?;
    }
    Ok(())
}

fn split(number: usize, [x, y, _]: [u32; 3]) -> [u32; 3] {
    let (x, y) = (x as usize, y as usize);
    [(number % x) as u32, (number / x % y) as u32, (number / x / y) as u32]
}

fn place(index: usize, group: [u32; 3], groups: [u32; 3], threads: [u32; 3]) -> Place {
    let three = |[x, y, z]: [u32; 3]| Three { x, y, z };
    let inside = split(index, threads);
    let each = |f: &dyn Fn(usize) -> u32| three([f(0), f(1), f(2)]);
    Place {
        in_grid: each(&|i| group[i] * threads[i] + inside[i]),
        in_group: three(inside),
        group: three(group),
        threads: three(threads),
        groups: three(groups),
        all: each(&|i| groups[i] * threads[i]),
        index: index as u32,
        lane: (index % LANES) as u32,
        simdgroup: (index / LANES) as u32,
        simdgroups: threads.iter().product::<u32>().div_ceil(LANES as u32),
        lanes: LANES as u32,
    }
}

impl Group<'_> {
    fn this(&mut self) -> *mut Group<'static> {
        ptr::from_mut(self).cast()
    }

    /// Runs threads that never meet, one after the other.
    fn run_alone(&mut self, dice: &mut Option<Dice>) -> Result<(), String> {
        let mut order: Vec<usize> = (0..self.fibres.len()).collect();
        if let Some(dice) = dice {
            dice.shuffle(&mut order);
        }
        CURRENT.set(self.this());
        for index in order {
            self.running = index;
            let (buffers, shared) = (self.buffers.as_ptr(), self.shared.as_ptr());
            // SAFETY: the caller of `run` promises it.
            unsafe { (self.entry)(&self.fibres[index].place, buffers, shared) };
        }
        CURRENT.set(ptr::null_mut());
        Ok(())
    }

    /// Runs all fibres to their ends.
    fn run(&mut self, dice: &mut Option<Dice>) -> Result<(), String> {
        let mut stacks = STACKS.take();
        while stacks.len() < self.fibres.len() {
            stacks.push(Stack::map());
        }
        for (fibre, stack) in self.fibres.iter_mut().zip(&mut stacks) {
            fibre.saved = stack.begin(begin);
        }
        CURRENT.set(self.this());
        let outcome = self.schedule(dice);
        CURRENT.set(ptr::null_mut());
        if outcome.is_ok() {
            STACKS.set(stacks);
        }
        outcome
    }

    fn schedule(&mut self, dice: &mut Option<Dice>) -> Result<(), String> {
        loop {
            let mut ready: Vec<usize> =
                (0..self.fibres.len()).filter(|&i| self.fibres[i].state == State::Ready).collect();
            if ready.is_empty() && self.fibres.iter().all(|fibre| fibre.state == State::Done) {
                return Ok(());
            }
            if let Some(dice) = dice {
                dice.shuffle(&mut ready);
            }
            let idle = ready.is_empty();
            for index in ready {
                self.running = index;
                let to = self.fibres[index].saved;
                let save = &raw mut self.scheduler;
                // SAFETY: F2 and G2: the fibre comes back here before anything else of the group is used.
                unsafe { msl_switch(&mut *save, to) };
                if let Some(fault) = self.fault.take() {
                    return Err(fault);
                }
            }
            let met = self.let_simdgroups_go()? | self.let_group_go()?;
            if idle && !met {
                let lines: Vec<_> = self.lines(|state| state != State::Done);
                return Err(format!("threads wait for each other in vain, at lines {lines:?}"));
            }
        }
    }

    /// The lines at which fibres in such states stand, each once.
    fn lines(&self, among: impl Fn(State) -> bool) -> Vec<i32> {
        let mut lines: Vec<_> =
            self.fibres.iter().filter(|fibre| among(fibre.state)).map(|fibre| fibre.line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// Lets simdgroups go on whose threads have all come, or ended.
    fn let_simdgroups_go(&mut self) -> Result<bool, String> {
        let mut met = false;
        for (number, simdgroup) in self.simdgroups.iter_mut().enumerate() {
            let end = self.fibres.len().min((number + 1) * LANES);
            let fibres = &mut self.fibres[number * LANES..end];
            let is_at = |fibre: &Fibre| fibre.state == State::AtSimd;
            if !fibres.iter().any(is_at)
                || !fibres.iter().all(|fibre| is_at(fibre) || fibre.state == State::Done)
            {
                continue;
            }
            let mut lines: Vec<_> =
                fibres.iter().filter(|fibre| is_at(fibre)).map(|fibre| fibre.line).collect();
            lines.dedup();
            if lines.len() > 1 {
                return Err(format!("threads of a simdgroup meet at different lines: {lines:?}"));
            }
            simdgroup.there = 0;
            for (lane, fibre) in
                fibres.iter_mut().enumerate().filter(|(_, fibre)| fibre.state == State::AtSimd)
            {
                simdgroup.there |= 1 << lane;
                fibre.state = State::Ready;
            }
            met = true;
        }
        Ok(met)
    }

    /// Lets the group go on when every thread that has not ended has come to its barrier.
    fn let_group_go(&mut self) -> Result<bool, String> {
        let there = self.fibres.iter().filter(|fibre| fibre.state == State::AtBarrier).count();
        let ended = self.fibres.iter().filter(|fibre| fibre.state == State::Done).count();
        if there == 0 || there + ended < self.fibres.len() {
            return Ok(false);
        }
        let lines = self.lines(|state| state == State::AtBarrier);
        if lines.len() > 1 || ended > 0 {
            return Err(format!(
                "a barrier is not reached by all threads: {there} at lines {lines:?}, {ended} ended"
            ));
        }
        self.fibres.iter_mut().for_each(|fibre| fibre.state = State::Ready);
        Ok(true)
    }
}

/// The group whose kernel runs on this thread.
fn current<'a>() -> &'a mut Group<'static> {
    // SAFETY: G1 and G2.
    unsafe { &mut *CURRENT.get() }
}

/// Leaves a fibre for the scheduler; returns when it is this one's turn again.
fn leave(state: State, line: i32) {
    let group = current();
    let to = group.scheduler;
    let fibre = &mut group.fibres[group.running];
    (fibre.state, fibre.line) = (state, line);
    let save = &raw mut fibre.saved;
    // SAFETY: F2 and G2: nothing of the group is held across the switch; fibres do not move while they run.
    unsafe { msl_switch(&mut *save, to) };
}

/// The life of a fibre.
extern "C" fn begin() -> ! {
    let group = current();
    let place = group.fibres[group.running].place;
    let (entry, buffers, shared) = (group.entry, group.buffers.as_ptr(), group.shared.as_ptr());
    // SAFETY: the caller of `run` promises it.
    unsafe { entry(&place, buffers, shared) };
    leave(State::Done, 0);
    unreachable!("a fibre that has ended is not resumed")
}

extern "C" fn barrier(scope: i32, line: i32) {
    leave(if scope == 0 { State::AtSimd } else { State::AtBarrier }, line);
}

extern "C" fn lane() -> u32 {
    let group = current();
    group.fibres[group.running].place.lane
}

extern "C" fn exchange(value: *const c_void, all: *mut c_void, bytes: u64, line: i32) -> u32 {
    let bytes = bytes as usize;
    let group = current();
    let Place { lane, simdgroup, .. } = group.fibres[group.running].place;
    if bytes > VALUE {
        group.fault = Some(format!("line {line}: lanes exchange at most {VALUE} bytes"));
    } else {
        let slot = &mut group.simdgroups[simdgroup as usize].values[lane as usize];
        // SAFETY: G1: the header hands over a value of so many bytes.
        unsafe { ptr::copy_nonoverlapping(value.cast(), slot.as_mut_ptr(), bytes) };
    }
    leave(State::AtSimd, line);
    let simdgroup = &current().simdgroups[simdgroup as usize];
    for (lane, slot) in simdgroup.values.iter().enumerate() {
        // SAFETY: G1: the header hands over room for so many values.
        unsafe { ptr::copy_nonoverlapping(slot.as_ptr(), all.cast::<u8>().add(lane * bytes), bytes) };
    }
    simdgroup.there
}

extern "C" fn shared(number: u32, bytes: u64) -> *mut c_void {
    let variables = &mut current().variables;
    if variables.len() <= number as usize {
        variables.resize_with(number as usize + 1, Vec::new);
    }
    let variable = &mut variables[number as usize];
    if variable.is_empty() {
        variable.resize((bytes as usize).div_ceil(16), u128::from_ne_bytes([PATTERN; 16]));
    }
    variable.as_mut_ptr().cast()
}
