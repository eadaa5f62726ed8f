//! Ways to serve what a program asks for, as their sources state them, with nothing behind the addresses.
//!
//! None of them knows queues. Up to a limit they differ as the originals do; at the limit each gives back to the driver
//! what it has whole (idle blocks, idle segments, idle pages) and asks once more, which is kinder than some originals
//! are. Next rooms: `ours`, `powers`, `segments`, `growing`, and `replay`, which plays a demand against one.

mod growing;
mod ours;
mod powers;
mod segments;
mod stretches;

use std::{fmt, str::FromStr};

use crate::{Result, Tag};

/// A way to serve requests.
pub trait Policy {
    /// Serves a request, or says that the limit is in the way. `id` is nobody else's until it is freed.
    fn alloc(&mut self, id: u32, bytes: u64, tag: Tag) -> bool;
    /// Takes memory back.
    fn free(&mut self, id: u32);
    /// Bytes of device memory held at this moment, used or not.
    fn reserved(&self) -> u64;
    /// Calls into the driver so far.
    fn calls(&self) -> u64;
    /// The most that one request got above what it asked for.
    fn worst_waste(&self) -> u64;
    /// The largest piece that could be handed out now without asking the driver.
    fn largest_hole(&self) -> u64;
}

/// The policies that are known.
///
/// ```
/// use forebay_device::history::PolicyKind;
///
/// let mut policy = PolicyKind::PowersOfTwo.open(u64::MAX)?;
/// assert!(policy.alloc(0, 1000, forebay_device::Tag::Kv));
/// assert_eq!(policy.reserved(), 1024);
/// assert_eq!("pytorch".parse(), Ok(PolicyKind::PyTorch));
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PolicyKind {
    /// The pool of this crate, as users have it.
    Ours,
    /// One range that grows by pages of 2 MiB, the smallest piece that fits, exact to 256 bytes.
    Exact,
    /// PyTorch with expandable segments.
    Expandable,
    /// PyTorch's caching allocator as it comes.
    PyTorch,
    /// Each size rounded up to a power of two; what is freed waits for a request of the same power.
    PowersOfTwo,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Exact, Self::Expandable, Self::PyTorch, Self::PowersOfTwo];

    /// The short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Exact => "exact",
            Self::Expandable => "expandable",
            Self::PyTorch => "pytorch",
            Self::PowersOfTwo => "pow2",
        }
    }

    /// What it is, in a few words.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Ours => "forebay's pool",
            Self::Exact => "exact best fit",
            Self::Expandable => "PyTorch's expandable segments",
            Self::PyTorch => "PyTorch's own rule",
            Self::PowersOfTwo => "powers of two",
        }
    }

    /// A policy with nothing taken yet, that may hold so many bytes.
    ///
    /// # Errors
    /// What opening a pool of ours fails with.
    pub fn open(self, limit: u64) -> Result<Box<dyn Policy>> {
        Ok(match self {
            Self::Ours => Box::new(ours::Ours::open(limit)?),
            Self::Exact => Box::new(growing::Growing::best_fit(limit)),
            Self::Expandable => Box::new(growing::Growing::expandable(limit)),
            Self::PyTorch => Box::new(segments::Segments::with(limit)),
            Self::PowersOfTwo => Box::new(powers::PowersOfTwo::with(limit)),
        })
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = PolicyKind::ALL.map(PolicyKind::name);
        write!(f, "no policy is called {:?}; there are {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> std::result::Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

/// What each number holds, or nothing.
#[derive(Debug)]
struct Held<T>(Vec<Option<T>>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Held<T> {
    fn put(&mut self, id: u32, held: T) {
        let at = id as usize;
        if at >= self.0.len() {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(held);
    }

    fn take(&mut self, id: u32) -> Option<T> {
        self.0.get_mut(id as usize)?.take()
    }
}

#[cfg(test)]
mod tests;
