//! A launch as plain data: a kernel, a grid, arguments by value, and which ranges it reads and writes.
//!
//! Backends execute a [`CommandList`]; nothing in it owns memory, so it can be built, kept, replayed and thrown
//! away without touching a driver. Who keeps the memory alive is the business of `memory` and `command`.

use std::sync::Arc;

use crate::error::{ArgumentFault, Error, Result};

/// The most arguments a kernel may have.
pub const MAX_ARGUMENTS: usize = 24;
/// The most groups a launch may have.
pub(crate) const MAX_GROUPS: u64 = u32::MAX as u64;

/// A kernel of one device, by number.
pub(crate) type KernelId = u32;
/// A region of one device's address space, by number.
pub(crate) type RegionId = u32;

/// How a kernel uses one of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only reads.
    Read,
    /// Writes every byte that anybody reads later.
    Write,
    /// Reads and writes in place.
    ReadWrite,
}

impl Access {
    pub(crate) fn reads(self) -> bool {
        self != Self::Write
    }
    pub(crate) fn writes(self) -> bool {
        self != Self::Read
    }
}

/// What a group of the grid sees of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PerGroup {
    /// All of it, as every other group does.
    All,
    /// So many elements of its own.
    Elements(u32),
    /// As many elements of its own as this argument says, which is a `u32`.
    Argument(u8),
}

/// One parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Param {
    /// A buffer of elements of so many bytes.
    Buffer {
        /// How the kernel uses it.
        access: Access,
        /// Bytes of one element; offset and length must be multiples.
        element: u32,
        /// What each group of the grid owns of it.
        per_group: PerGroup,
    },
    /// A scalar.
    Scalar(Scalar),
}

impl Param {
    /// A buffer of `T` that is only read.
    pub const fn read<T>() -> Self {
        Self::Buffer { access: Access::Read, element: size_of::<T>() as u32, per_group: PerGroup::All }
    }
    /// A buffer of `T` that is written.
    pub const fn write<T>() -> Self {
        Self::Buffer { access: Access::Write, element: size_of::<T>() as u32, per_group: PerGroup::All }
    }
    /// A buffer of `T` that is changed in place.
    pub const fn read_write<T>() -> Self {
        Self::Buffer { access: Access::ReadWrite, element: size_of::<T>() as u32, per_group: PerGroup::All }
    }
    /// Gives each group of the grid its own `elements` of this buffer, in order; the last group gets what is left.
    #[must_use]
    pub const fn per_group(self, elements: u32) -> Self {
        self.split(PerGroup::Elements(elements))
    }
    /// As [`per_group`](Self::per_group), for as many elements as an argument of the launch says, which is a `u32`.
    #[must_use]
    pub const fn per_group_of(self, argument: u8) -> Self {
        self.split(PerGroup::Argument(argument))
    }

    const fn split(self, per_group: PerGroup) -> Self {
        match self {
            Self::Buffer { access, element, .. } => Self::Buffer { access, element, per_group },
            scalar @ Self::Scalar(_) => scalar,
        }
    }
    /// A `u32`.
    pub const fn u32() -> Self {
        Self::Scalar(Scalar::U32)
    }
    /// An `i32`.
    pub const fn i32() -> Self {
        Self::Scalar(Scalar::I32)
    }
    /// A `u64`.
    pub const fn u64() -> Self {
        Self::Scalar(Scalar::U64)
    }
    /// An `f32`.
    pub const fn f32() -> Self {
        Self::Scalar(Scalar::F32)
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Buffer { .. } => "a buffer",
            Self::Scalar(scalar) => scalar.name(),
        }
    }
}

/// The type of a scalar argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Scalar {
    U32,
    I32,
    U64,
    F32,
}

impl Scalar {
    const fn name(self) -> &'static str {
        match self {
            Self::U32 => "a u32",
            Self::I32 => "an i32",
            Self::U64 => "a u64",
            Self::F32 => "an f32",
        }
    }
}

/// What a kernel takes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    params: Box<[Param]>,
}

impl Signature {
    /// A signature of these parameters.
    pub fn new(params: impl Into<Box<[Param]>>) -> Self {
        Self { params: params.into() }
    }

    /// The parameters.
    pub fn params(&self) -> &[Param] {
        &self.params
    }
}

/// How many groups of how many threads run a kernel. On the CPU a group is one call and `threads` says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Groups in x, y and z. A zero anywhere makes the launch a legal no-op.
    pub groups: [u32; 3],
    /// Threads of a group in x, y and z.
    pub threads: [u32; 3],
    /// Bytes of memory that the threads of a group share.
    pub shared_bytes: u32,
}

impl Grid {
    /// So many groups in a row, of so many threads.
    pub const fn linear(groups: u32, threads: u32) -> Self {
        Self { groups: [groups, 1, 1], threads: [threads, 1, 1], shared_bytes: 0 }
    }

    /// Groups in all; `u64::MAX` stands for more than that.
    pub fn count(&self) -> u64 {
        self.groups.iter().fold(1, |product: u64, &groups| product.saturating_mul(groups.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.contains(&0) || self.threads.contains(&0)
    }
}

/// Where the bytes of an argument are: a range of a region, and its address as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: RegionId,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) len: u64,
}

impl Place {
    /// Where bytes without length are: nowhere.
    pub(crate) const NOWHERE: Self = Self { region: u32::MAX, offset: 0, address: 0, len: 0 };

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.region == other.region
            && self.len > 0
            && other.len > 0
            && self.offset < other.offset + other.len
            && other.offset < self.offset + self.len
    }
}

/// One argument by value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ArgumentValue {
    Buffer(Place),
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
}

impl ArgumentValue {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Buffer(_) => "a buffer",
            Self::U32(_) => Scalar::U32.name(),
            Self::I32(_) => Scalar::I32.name(),
            Self::U64(_) => Scalar::U64.name(),
            Self::F32(_) => Scalar::F32.name(),
        }
    }
}

/// Checks arguments against a signature. Elements, overlaps and counts are refused here, so that no backend has to.
pub(crate) fn check(kernel: &Arc<str>, signature: &Signature, values: &[ArgumentValue]) -> Result<()> {
    let fault =
        |index: usize, fault: ArgumentFault| Err(Error::Argument { kernel: kernel.clone(), index, fault });
    let params = signature.params();
    if values.len() != params.len() {
        return fault(
            values.len().min(params.len()),
            ArgumentFault::Count { given: values.len(), wanted: params.len() },
        );
    }
    for (index, (value, &param)) in values.iter().zip(params).enumerate() {
        match (value, param) {
            (ArgumentValue::Buffer(place), Param::Buffer { access, element, per_group }) => {
                if let PerGroup::Argument(length) = per_group {
                    let length = usize::from(length);
                    let given = values.get(length).map_or("missing", ArgumentValue::kind);
                    if !matches!(values.get(length), Some(ArgumentValue::U32(_))) {
                        return fault(length, ArgumentFault::Kind { given, wanted: Scalar::U32.name() });
                    }
                }
                let element = u64::from(element.max(1));
                let align = 1 << element.trailing_zeros();
                if !place.len.is_multiple_of(element) || !place.address.is_multiple_of(align) {
                    return fault(
                        index,
                        ArgumentFault::Element { offset: place.offset, len: place.len, element },
                    );
                }
                if access.writes()
                    && let Some(other) = values.iter().enumerate().position(|(i, value)| {
                        i != index && matches!(value, ArgumentValue::Buffer(p) if p.overlaps(place))
                    })
                {
                    return fault(index, ArgumentFault::Overlaps { other });
                }
            }
            (ArgumentValue::U32(_), Param::Scalar(Scalar::U32))
            | (ArgumentValue::I32(_), Param::Scalar(Scalar::I32))
            | (ArgumentValue::U64(_), Param::Scalar(Scalar::U64))
            | (ArgumentValue::F32(_), Param::Scalar(Scalar::F32)) => {}
            _ => return fault(index, ArgumentFault::Kind { given: value.kind(), wanted: param.kind() }),
        }
    }
    Ok(())
}

/// One step of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Command {
    /// Run a kernel; its arguments are `list.arguments[first..first + count]`.
    Launch { kernel: KernelId, grid: Grid, first: u32, count: u32 },
    /// Copy bytes between places of equal length.
    Copy { from: Place, to: Place },
    /// Set every byte of a place.
    Fill { to: Place, byte: u8 },
    /// Everything before it is done and visible before anything after it starts.
    Barrier,
}

/// What a stage recorded, in order. Reused from stage to stage, so that recording allocates nothing when warm.
#[derive(Debug, Default)]
pub(crate) struct CommandList {
    pub(crate) commands: Vec<Command>,
    pub(crate) arguments: Vec<ArgumentValue>,
}

impl CommandList {
    pub(crate) fn clear(&mut self) {
        self.commands.clear();
        self.arguments.clear();
    }

    pub(crate) fn arguments_of(&self, first: u32, count: u32) -> &[ArgumentValue] {
        &self.arguments[first as usize..(first + count) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64, len: u64) -> ArgumentValue {
        ArgumentValue::Buffer(Place { region: 0, offset, address: offset, len })
    }

    fn fault(values: &[ArgumentValue], params: &[Param]) -> Option<(usize, ArgumentFault)> {
        match check(&"k".into(), &Signature::new(params), values) {
            Err(Error::Argument { index, fault, .. }) => Some((index, fault)),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn half_open_ranges_touch_without_overlap() {
        let params = [Param::read::<f32>(), Param::write::<f32>()];
        assert_eq!(fault(&[place(0, 128), place(128, 128)], &params), None);
        assert_eq!(fault(&[place(128, 128), place(0, 128)], &params), None);
        assert_eq!(
            fault(&[place(0, 132), place(128, 128)], &params),
            Some((1, ArgumentFault::Overlaps { other: 0 }))
        );
    }

    #[test]
    fn two_reads_of_the_same_bytes_are_fine_but_two_writes_are_not() {
        let same = [place(0, 64), place(0, 64)];
        assert_eq!(fault(&same, &[Param::read::<u8>(), Param::read::<u8>()]), None);
        assert!(fault(&same, &[Param::write::<u8>(), Param::write::<u8>()]).is_some());
    }

    #[test]
    fn a_length_for_each_group_is_a_u32_of_the_launch() {
        let length = ArgumentValue::U32(3);
        let split = |argument| Param::write::<f32>().per_group_of(argument);
        assert_eq!(fault(&[place(0, 64), length], &[split(1), Param::u32()]), None);
        let kind = |given| ArgumentFault::Kind { given, wanted: "a u32" };
        assert_eq!(fault(&[place(0, 64), length], &[split(0), Param::u32()]), Some((0, kind("a buffer"))));
        assert_eq!(fault(&[place(0, 64), length], &[split(2), Param::u32()]), Some((2, kind("missing"))));
    }

    #[test]
    fn wrong_counts_kinds_and_elements_name_the_argument() {
        let params = [Param::read::<f32>(), Param::u32()];
        assert_eq!(fault(&[place(0, 4)], &params), Some((1, ArgumentFault::Count { given: 1, wanted: 2 })));
        assert_eq!(
            fault(&[place(0, 4), ArgumentValue::F32(1.0)], &params),
            Some((1, ArgumentFault::Kind { given: "an f32", wanted: "a u32" }))
        );
        assert_eq!(
            fault(&[place(2, 4), ArgumentValue::U32(1)], &params),
            Some((0, ArgumentFault::Element { offset: 2, len: 4, element: 4 }))
        );
    }
}
