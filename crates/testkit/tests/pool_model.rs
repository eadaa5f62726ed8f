//! The pool against a model: random requests, handles, submissions and completions in adversarial orders.
//!
//! The model knows which ranges are held and which work still uses them. After every step it checks that ranges are
//! apart, that nothing is handed out before the work that uses it has completed except to the same queue, that the
//! limit holds, and that the counters equal a recount; where there are bytes, that everybody finds the last bytes
//! written. In the end all of it has to come back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets an error has failed"
)]

use std::{ops::Range, time::Duration};

use forebay_device::{
    Buffer, Device, DeviceOptions, Error, Fence, Init, MemoryReport, NullCall, NullControl, NullOptions,
    Pool, PoolOptions, QueueKind, Request, Session, Tag,
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

const MIB: u64 = 1 << 20;
const QUEUES: usize = 3;
/// What the device has; the limit in force is smaller in most runs.
const MEMORY: u64 = 1 << 30;

/// One step. Numbers that name a buffer are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Alloc { bytes: u64, tag: usize, form: Form },
    Batch { sizes: Vec<u64> },
    Clone { of: usize },
    Slice { of: usize, start: u64, len: u64 },
    Drop { which: usize },
    Submit { queue: usize, uses: Vec<(usize, Use)> },
    Complete { queue: usize },
    CompleteAll { first: usize },
    Trim { keep: u64 },
    Look { at: usize, writes: Option<u8> },
    NextPool,
    DriverFails { reserve: bool, nth: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    Zeroed,
    Exact,
    Dedicated,
    OnQueue(usize),
    ZeroedOnQueue(usize),
}

#[derive(Clone, Copy, Debug)]
enum Use {
    /// All of it is set to a byte.
    Fill(u8),
    /// All of it is copied to a buffer of the model's own.
    Read,
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0u64),
        6 => 1..2000u64,
        4 => (1..64u64).prop_map(|n| n * 256),
        3 => 1..100_000u64,
        1 => (MIB - 300)..(MIB + 300),
        1 => MIB..6 * MIB,
    ]
}

fn steps(count: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let form = prop_oneof![
        6 => Just(Form::Plain),
        1 => Just(Form::Zeroed),
        1 => Just(Form::Exact),
        1 => Just(Form::Dedicated),
        6 => (0..QUEUES).prop_map(Form::OnQueue),
        1 => (0..QUEUES).prop_map(Form::ZeroedOnQueue),
    ];
    let usage = prop_oneof![any::<u8>().prop_map(Use::Fill), Just(Use::Read)];
    let any_buffer = 0..1000usize;
    let uses = vec((any_buffer.clone(), usage), 0..4);
    let step = prop_oneof![
        12 => (sizes(), 0..5usize, form).prop_map(|(bytes, tag, form)| Step::Alloc { bytes, tag, form }),
        1 => vec(sizes(), 0..5).prop_map(|sizes| Step::Batch { sizes }),
        1 => any_buffer.clone().prop_map(|of| Step::Clone { of }),
        1 => (any_buffer.clone(), 0..5000u64, 0..5000u64).prop_map(|(of, start, len)| Step::Slice { of, start, len }),
        10 => any_buffer.clone().prop_map(|which| Step::Drop { which }),
        9 => (0..QUEUES, uses).prop_map(|(queue, uses)| Step::Submit { queue, uses }),
        6 => (0..QUEUES).prop_map(|queue| Step::Complete { queue }),
        1 => (0..QUEUES).prop_map(|first| Step::CompleteAll { first }),
        1 => prop_oneof![Just(0), 0..8 * MIB].prop_map(|keep| Step::Trim { keep }),
        3 => (any_buffer, any::<Option<u8>>()).prop_map(|(at, writes)| Step::Look { at, writes }),
        1 => Just(Step::NextPool),
        1 => (any::<bool>(), 1..4u64).prop_map(|(reserve, nth)| Step::DriverFails { reserve, nth }),
    ];
    vec(step, count)
}

/// How a pool is set up in a run.
#[derive(Clone, Copy, Debug)]
struct Terms {
    page: u64,
    bytes: bool,
    limit: u64,
    retain: Option<u64>,
    budget: u64,
}

fn terms(page: u64, bytes: bool) -> impl Strategy<Value = Terms> {
    let limit = prop_oneof![Just(u64::MAX), Just(10 * MIB), Just(24 * MIB)];
    let retain = prop_oneof![Just(None), Just(Some(0)), Just(Some(MIB)), Just(Some(9 * MIB))];
    let budget = prop_oneof![Just(u64::MAX), Just(MIB)];
    (limit, retain, budget).prop_map(move |(limit, retain, budget)| Terms {
        page,
        bytes,
        limit,
        retain,
        budget,
    })
}

/// A range that somebody holds.
struct Live {
    /// All the handles on it.
    handles: Vec<Buffer>,
    range: Range<u64>,
    capacity: u64,
    bytes: u64,
    tag: Tag,
    pool: usize,
    uses: Vec<Fence>,
    /// What every byte of it is, once all that was submitted is done.
    byte: Option<u8>,
}

/// A range that nobody holds and queued work still uses.
struct Gone {
    range: Range<u64>,
    capacity: u64,
    pool: usize,
    uses: Vec<Fence>,
}

struct World {
    terms: Terms,
    control: NullControl,
    sessions: Vec<Session>,
    pool: Pool,
    /// Number of the pool, and whether memory of an earlier one may be left.
    pools: usize,
    unswept: bool,
    /// Where reads go to: buffers of another pool, with what each has to show.
    shown: Pool,
    copies: Vec<(Buffer, u8)>,
    live: Vec<Live>,
    gone: Vec<Gone>,
    addresses: Vec<u64>,
    device: Device,
}

fn is_pending(uses: &[Fence]) -> bool {
    uses.iter().any(|fence| !fence.is_done())
}

fn meet(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl World {
    fn new(terms: Terms) -> Self {
        let null = NullOptions::default().memory(MEMORY).page(terms.page).backed(terms.bytes);
        let (device, control) = null.open(&DeviceOptions::null()).unwrap();
        let sessions: Vec<_> = (0..QUEUES)
            .map(|_| device.session_on(device.open_queue(QueueKind::Compute).unwrap()).unwrap())
            .collect();
        sessions.iter().for_each(|session| control.hold(session.queue().id(), true));
        let pool = Self::pool(&device, terms);
        let shown = Pool::new(&device, PoolOptions::default().patience(Duration::ZERO)).unwrap();
        Self {
            terms,
            control,
            sessions,
            pool,
            pools: 0,
            unswept: false,
            shown,
            copies: Vec::new(),
            live: Vec::new(),
            gone: Vec::new(),
            addresses: Vec::new(),
            device,
        }
    }

    fn pool(device: &Device, terms: Terms) -> Pool {
        let mut options = PoolOptions::default().limit(terms.limit).patience(Duration::ZERO);
        options = options.budget(Tag::Kv, terms.budget);
        options.poison = true;
        if let Some(retain) = terms.retain {
            options = options.retain(retain);
        }
        Pool::new(device, options).unwrap()
    }

    fn play(terms: Terms, steps: &[Step]) -> Vec<u64> {
        let mut world = Self::new(terms);
        for step in steps {
            world.step(step);
            world.check();
        }
        world.end()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Alloc { bytes, tag, form } => self.alloc(*bytes, Tag::ALL[*tag], *form),
            Step::Batch { sizes } => self.batch(sizes),
            Step::Clone { of } => {
                if let Some(live) = pick(&mut self.live, *of) {
                    live.handles.push(live.handles[0].clone());
                }
            }
            Step::Slice { of, start, len } => {
                if let Some(live) = pick(&mut self.live, *of) {
                    let whole = &live.handles[live.handles.len() - 1];
                    let inside = start.saturating_add(*len) <= whole.len();
                    let slice = whole.slice(*start..start + len);
                    assert_eq!(slice.is_ok(), inside);
                    live.handles.extend(slice);
                }
            }
            Step::Drop { which } => self.drop_handle(*which),
            Step::Submit { queue, uses } => self.submit(*queue, uses),
            Step::Complete { queue } => {
                let _ = self.control.complete(self.sessions[*queue].queue().id());
            }
            Step::CompleteAll { first } => self.complete_all(*first),
            Step::Trim { keep } => {
                self.pool.trim(*keep).unwrap();
            }
            Step::Look { at, writes } => self.look(*at, *writes),
            Step::NextPool => {
                self.pool = Self::pool(&self.device, self.terms);
                self.pools += 1;
                self.unswept = true;
            }
            Step::DriverFails { reserve, nth } => {
                let call = if *reserve { NullCall::RegionReserve } else { NullCall::RegionMap };
                self.control.fail(call, *nth, Error::Exhausted(Box::<MemoryReport>::default()));
            }
        }
    }

    fn alloc(&mut self, bytes: u64, tag: Tag, form: Form) {
        let request = Request::new(bytes).tag(tag);
        let queue = |queue: usize| self.sessions[queue].queue().id();
        let (request, on, init) = match form {
            Form::Plain => (request, None, Init::Uninit),
            Form::Zeroed => (request.zeroed(), None, Init::Zeroed),
            Form::Exact => (request.exact(), None, Init::Uninit),
            Form::Dedicated => (request.dedicated(), None, Init::Uninit),
            Form::OnQueue(q) => (request.on_queue(queue(q)), Some(queue(q)), Init::Uninit),
            Form::ZeroedOnQueue(q) => (request.zeroed().on_queue(queue(q)), Some(queue(q)), Init::Zeroed),
        };
        let before = self.pool.stats();
        match self.pool.alloc(request) {
            Ok(buffer) => self.admit(buffer, on, init),
            Err(error) => {
                self.refused(&error);
                let after = self.pool.stats();
                assert_eq!(
                    (before.in_use, before.live, before.taken),
                    (after.in_use, after.live, after.taken)
                );
                assert_eq!((before.by_tag, before.members), (after.by_tag, after.members));
            }
        }
    }

    fn batch(&mut self, sizes: &[u64]) {
        let requests: Vec<_> =
            sizes.iter().enumerate().map(|(i, &bytes)| Request::new(bytes).tag(Tag::ALL[i % 5])).collect();
        let before = self.pool.stats();
        match self.pool.alloc_batch(&requests) {
            Ok(buffers) => buffers.into_iter().for_each(|buffer| self.admit(buffer, None, Init::Uninit)),
            Err(error) => {
                self.refused(&error);
                let after = self.pool.stats();
                assert_eq!(
                    (before.in_use, before.live, before.taken),
                    (after.in_use, after.live, after.taken)
                );
                assert_eq!((before.by_tag, before.members), (after.by_tag, after.members));
            }
        }
    }

    /// Refusals have a reason.
    fn refused(&self, error: &Error) {
        match error {
            Error::LimitExceeded(report) => {
                let limited = self.terms.limit.min(self.terms.budget) < u64::MAX;
                assert!(limited && report.limit < u64::MAX, "{error}");
            }
            // The driver was told to fail, which the pool answers by a second try.
            Error::Exhausted(_) => {}
            other => panic!("{other}"),
        }
    }

    /// Takes in a fresh buffer: its bytes are nobody else's.
    fn admit(&mut self, buffer: Buffer, on: Option<u32>, init: Init) {
        let range = buffer.address()..buffer.address() + buffer.capacity();
        let mut inherited = Vec::new();
        self.addresses.push(if buffer.is_empty() { 0 } else { buffer.address() });
        if !buffer.is_empty() {
            for live in self.live.iter().filter(|live| live.bytes > 0) {
                assert!(!meet(&live.range, &range), "{range:x?} is held as {:x?}", live.range);
            }
            self.gone.retain(|gone| is_pending(&gone.uses));
            let under: Vec<_> = (0..self.gone.len()).filter(|&i| meet(&self.gone[i].range, &range)).collect();
            for &i in &under {
                let gone = &self.gone[i];
                let pending = gone.uses.iter().filter(|fence| !fence.is_done());
                let same = pending.map(Fence::queue).all(|queue| Some(queue) == on);
                assert!(
                    same && init == Init::Uninit,
                    "{range:x?} is still used by other work than of {on:?}"
                );
                assert_eq!(
                    (&gone.range, gone.pool),
                    (&range, self.pools),
                    "only whole ranges are taken early"
                );
            }
            for i in under.into_iter().rev() {
                inherited.extend(self.gone.swap_remove(i).uses);
            }
        }
        let byte = match (init, on, inherited.is_empty()) {
            (Init::Zeroed, ..) => Some(0),
            (Init::Uninit, None, _) if buffer.len() <= 2 * MIB => Some(0xCB),
            _ => None,
        };
        let (bytes, tag, capacity) = (buffer.len(), buffer.tag(), buffer.capacity());
        let pool = self.pools;
        self.live.push(Live {
            handles: vec![buffer],
            range,
            capacity,
            bytes,
            tag,
            pool,
            uses: inherited,
            byte,
        });
    }

    fn drop_handle(&mut self, which: usize) {
        if self.live.is_empty() {
            return;
        }
        let at = which % self.live.len();
        let live = &mut self.live[at];
        let handle = live.handles.swap_remove(which / 7 % live.handles.len());
        if !live.handles.is_empty() {
            return;
        }
        let live = self.live.swap_remove(at);
        if live.bytes > 0 && is_pending(&live.uses) {
            let Live { range, capacity, pool, uses, .. } = live;
            self.gone.push(Gone { range, capacity, pool, uses });
        }
        drop(handle);
    }

    fn submit(&mut self, queue: usize, uses: &[(usize, Use)]) {
        let mut stage = self.sessions[queue].stage("step");
        let mut used = Vec::new();
        for &(at, usage) in uses {
            if self.live.is_empty() {
                break;
            }
            let at = at % self.live.len();
            let live = &mut self.live[at];
            // The first handle may be a slice by now: only whole ranges are followed byte by byte.
            let Some(whole) = live.handles.iter().find(|handle| handle.len() == live.bytes) else { continue };
            match usage {
                Use::Fill(byte) => {
                    stage.fill(whole, byte).unwrap();
                    live.byte = Some(byte);
                }
                Use::Read => {
                    // The driver may have been told to fail just now.
                    let Ok(copy) = self.shown.alloc(live.bytes) else { continue };
                    stage.copy(whole, &copy).unwrap();
                    self.copies.extend(live.byte.map(|byte| (copy, byte)));
                }
            }
            used.push(at);
        }
        let fence = stage.fence().unwrap();
        used.iter().for_each(|&at| self.live[at].uses.push(fence.clone()));
        self.unswept = false;
    }

    /// The host tries to touch a buffer, and to have it used while it does.
    fn look(&mut self, at: usize, writes: Option<u8>) {
        if !self.terms.bytes {
            return;
        }
        let queue = at % QUEUES;
        let Some(live) = pick(&mut self.live, at) else { return };
        let Some(whole) = live.handles.iter().find(|handle| handle.len() == live.bytes).cloned() else {
            return;
        };
        let pending = is_pending(&live.uses);
        let shows = |bytes: &[u8]| {
            let ends = [bytes.first(), bytes.get(bytes.len() / 2), bytes.last()];
            let same = ends.into_iter().flatten().all(|&got| live.byte.is_none_or(|byte| byte == got));
            assert!(same, "{whole:?} shows {ends:?}, not {:?}", live.byte);
        };
        match writes {
            None => match whole.try_read::<u8>() {
                Ok(guard) => {
                    shows(&guard);
                    let mut stage = self.sessions[queue].stage("clash");
                    stage.fill(&whole, 0x99).unwrap();
                    let refused = matches!(stage.fence(), Err(Error::Busy { .. }));
                    assert!(refused || whole.is_empty());
                }
                Err(Error::Busy { .. }) => assert!(pending),
                Err(other) => panic!("{other}"),
            },
            Some(byte) => match whole.try_write::<u8>() {
                Ok(mut guard) => {
                    assert!(!pending || whole.is_empty(), "{whole:?} is used by work that is under way");
                    shows(&guard);
                    guard.fill(byte);
                    let copy = self.device.adopt(vec![0u8; whole.len() as usize]).unwrap();
                    let mut stage = self.sessions[queue].stage("clash");
                    stage.copy(&whole, &copy).unwrap();
                    let refused = matches!(stage.fence(), Err(Error::Busy { .. }));
                    assert!(refused || whole.is_empty());
                    drop(guard);
                    live.byte = Some(byte);
                }
                Err(Error::Busy { .. }) => assert!(pending),
                Err(other) => panic!("{other}"),
            },
        }
    }

    fn complete_all(&mut self, first: usize) {
        let mut moved = true;
        while moved {
            moved =
                (0..QUEUES).any(|i| self.control.complete(self.sessions[(first + i) % QUEUES].queue().id()));
        }
        assert!(self.sessions.iter().all(|session| self.control.pending(session.queue().id()) == 0));
        if self.terms.bytes {
            for (copy, byte) in self.copies.drain(..) {
                let got = copy.read::<u8>().unwrap();
                assert!(got.iter().all(|&got| got == byte), "{copy:?} is not all {byte:#x}");
            }
        }
        self.copies.clear();
    }

    /// The counters against a recount.
    fn check(&mut self) {
        self.gone.retain(|gone| is_pending(&gone.uses));
        let stats = self.pool.stats();
        let ours = || self.live.iter().filter(|live| live.pool == self.pools);
        let sum = |of: fn(&Live) -> u64| ours().map(of).sum::<u64>();
        assert_eq!((stats.in_use, stats.live), (ours().count() as u64, sum(|live| live.bytes)));
        let taken = ours().filter(|live| live.bytes > 0).map(|live| live.capacity).sum::<u64>();
        let retiring =
            self.gone.iter().filter(|gone| gone.pool == self.pools).map(|gone| gone.capacity).sum::<u64>();
        assert_eq!((stats.taken, stats.retiring), (taken, retiring));
        assert_eq!(stats.taken + stats.retiring + stats.free, stats.reserved, "{stats:?}");
        assert!(stats.reserved <= self.terms.limit && stats.peak_reserved <= self.terms.limit, "{stats:?}");
        assert!(stats.largest_free <= stats.free && stats.live <= stats.peak_live);
        for (i, tag) in Tag::ALL.into_iter().enumerate() {
            assert_eq!(
                stats.by_tag[i],
                ours().filter(|live| live.tag == tag).map(|live| live.bytes).sum::<u64>()
            );
        }
        assert!(stats.by_tag[Tag::Kv as usize] <= self.terms.budget);
        assert_eq!(stats.members, ours().filter(|live| live.bytes > 0).count() as u64);
        let older = self.live.iter().any(|live| live.pool != self.pools)
            || self.gone.iter().any(|gone| gone.pool != self.pools);
        // Only a submission after the last of an older pool's work sweeps up what that pool left.
        self.unswept |= older;
        if !self.unswept {
            assert_eq!(self.control.used(), stats.reserved + self.shown.stats().reserved);
        }
    }

    /// Everything goes, and everything comes back.
    fn end(mut self) -> Vec<u64> {
        while !self.live.is_empty() {
            self.drop_handle(self.live.len() / 2);
        }
        self.check();
        self.complete_all(1);
        self.check();
        self.pool.trim(0).unwrap();
        self.shown.trim(0).unwrap();
        let stats = self.pool.stats();
        assert_eq!((stats.reserved, stats.in_use, stats.retiring), (0, 0, 0));
        // A submission sweeps up after the pools that went.
        self.sessions[0].stage("sweep").submit().unwrap();
        assert_eq!((self.control.used(), self.device.residency().count()), (0, 0));
        self.addresses
    }
}

/// The one that a number means.
fn pick(live: &mut [Live], at: usize) -> Option<&mut Live> {
    let count = live.len();
    live.get_mut(at % count.max(1))
}

/// As many cases, or as many as `PROPTEST_CASES` says.
fn config(cases: u32) -> Config {
    let default = Config::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(cases, |_| default.cases);
    Config { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn follows_the_model_where_memory_is_mapped_in_pages(terms in terms(2 << 20, false), steps in steps(1..150)) {
        World::play(terms, &steps);
    }

    #[test]
    fn follows_the_model_where_memory_comes_in_regions(terms in terms(0, false), steps in steps(1..150)) {
        World::play(terms, &steps);
    }

    #[test]
    fn equal_steps_give_equal_addresses(
        page in prop_oneof![Just(0u64), Just(64 << 10), Just(2 << 20)],
        terms in terms(0, false),
        steps in steps(1..150),
    ) {
        let terms = Terms { page, ..terms };
        prop_assert_eq!(World::play(terms, &steps), World::play(terms, &steps));
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn everybody_finds_the_last_bytes_written_in_pages(terms in terms(2 << 20, true), steps in steps(1..120)) {
        World::play(terms, &steps);
    }

    #[test]
    fn everybody_finds_the_last_bytes_written_in_regions(terms in terms(0, true), steps in steps(1..120)) {
        World::play(terms, &steps);
    }
}

#[test]
fn follows_the_model_for_a_long_time() {
    for (seed, page, bytes, limit, retain) in [
        (1, 2 << 20, false, u64::MAX, None),
        (2, 2 << 20, false, 24 * MIB, Some(9 * MIB)),
        (3, 0, false, 40 * MIB, Some(MIB)),
        (4, 64 << 10, false, 24 * MIB, None),
        (5, 2 << 20, true, 24 * MIB, Some(9 * MIB)),
    ] {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(config(1), rng);
        let steps = steps(5_000..5_001).new_tree(&mut runner).unwrap().current();
        World::play(Terms { page, bytes, limit, retain, budget: u64::MAX }, &steps);
    }
}
