//! A stage: launches, copies and fills being recorded, until a fence ends it.
//!
//! Recording checks everything that can be checked, so that a submission fails only for what nobody could know. A call
//! that fails leaves the stage as it was.

use std::fmt;

use super::{
    fence::Fence,
    noted::{NotedLaunch, Notes},
    recording::Recording,
    session::Session,
};
use crate::{
    caps::QueueKind,
    device::Kernel,
    error::{ArgumentFault, Error, Result},
    label::Label,
    launch::{self, Access, ArgumentValue, Command, Grid, MAX_ARGUMENTS, MAX_GROUPS, Param, Place},
    memory::{arena::scope::Scratch, buffer::Buffer, lease::Handle},
};

/// An argument of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a> {
    value: ArgumentValue,
    handle: Option<&'a Handle>,
}

impl<'a> From<&'a Buffer> for Arg<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self::bytes(buffer.handle(), buffer.place())
    }
}

impl From<u32> for Arg<'_> {
    fn from(value: u32) -> Self {
        Self { value: ArgumentValue::U32(value), handle: None }
    }
}

impl From<i32> for Arg<'_> {
    fn from(value: i32) -> Self {
        Self { value: ArgumentValue::I32(value), handle: None }
    }
}

impl From<u64> for Arg<'_> {
    fn from(value: u64) -> Self {
        Self { value: ArgumentValue::U64(value), handle: None }
    }
}

impl From<f32> for Arg<'_> {
    fn from(value: f32) -> Self {
        Self { value: ArgumentValue::F32(value), handle: None }
    }
}

impl<'a> Arg<'a> {
    pub(crate) fn bytes(handle: &'a Handle, place: Place) -> Self {
        Self { value: ArgumentValue::Buffer(place), handle: Some(handle) }
    }

    /// The value, and whose bytes it names if it is a buffer.
    pub(super) fn parts(&self) -> (ArgumentValue, Option<&'a Handle>) {
        (self.value, self.handle)
    }
}

impl<'a> From<&'a Scratch<'_>> for Arg<'a> {
    fn from(scratch: &'a Scratch<'_>) -> Self {
        Self::bytes(scratch.handle(), scratch.place(0, scratch.len()))
    }
}

impl Scratch<'_> {
    /// This buffer as an argument of a launch.
    pub fn arg(&self) -> Arg<'_> {
        self.into()
    }

    /// Part of this buffer as an argument of a launch.
    ///
    /// # Errors
    /// `OutOfBounds` if the range reaches past the end, or ends before it starts.
    pub fn part(&self, range: std::ops::Range<u64>) -> Result<Arg<'_>> {
        let std::ops::Range { start, end } = range;
        if start > end || end > self.len() {
            return Err(Error::OutOfBounds { start, end, len: self.len() });
        }
        Ok(Arg::bytes(self.handle(), self.place(start, end - start)))
    }
}

impl Buffer {
    /// This buffer as an argument of a launch.
    pub fn arg(&self) -> Arg<'_> {
        self.into()
    }
}

/// Work being recorded. It ends by [`fence`](Self::fence), [`submit`](Self::submit) or [`record`](Self::record);
/// dropped without any of them, it is discarded.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let (from, to) = (device.upload(&[1u32, 2, 3])?, device.alloc(12)?);
/// let mut session = device.session()?;
/// let mut stage = session.stage("copy");
/// stage.copy(&from, &to)?;
/// let fence = stage.fence()?;
/// assert_eq!(to.to_vec::<u32>()?, [1, 2, 3], "the guard waits for the copy");
/// # fence.wait()?;
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[must_use = "a stage that is dropped is discarded: end it with `fence` or `submit`"]
pub struct Stage<'s> {
    pub(super) session: &'s mut Session,
    pub(super) label: Label,
    pub(super) notes: Notes,
}

impl Stage<'_> {
    /// Records a launch. The arguments are passed by value; buffers stay alive until the work is done.
    ///
    /// # Errors
    /// `Argument` if an argument does not suit the kernel or the grid has more than 2^32 - 1 groups, `ForeignDevice`, `ReadOnly`, or `Unsupported` on a queue
    /// that only copies.
    pub fn launch(&mut self, kernel: &Kernel, grid: Grid, args: &[Arg<'_>]) -> Result<()> {
        let session = &mut *self.session;
        if !std::ptr::eq(kernel.home(), session.home()) {
            return Err(Error::ForeignDevice {
                what: "kernel",
                theirs: kernel.home().name(),
                ours: session.home().name(),
            });
        }
        if session.queue.kind == QueueKind::Copy {
            return Err(Error::Unsupported {
                what: "launch kernels on a copy queue",
                backend: session.device.kind().name(),
            });
        }
        let limits = [(args.len() as u64, MAX_ARGUMENTS as u64), (grid.count(), MAX_GROUPS)];
        if let Some(&(asked, most)) = limits.iter().find(|(asked, most)| asked > most) {
            let (kernel, index) = (kernel.shared_name().clone(), args.len().min(MAX_ARGUMENTS));
            return Err(Error::Argument { kernel, index, fault: ArgumentFault::Limit { asked, most } });
        }
        let list = &mut session.list;
        let first = list.arguments.len();
        list.arguments.extend(args.iter().map(|arg| arg.value));
        let params = kernel.signature().params();
        // Places of two devices cannot be compared, so whose they are comes first.
        let checked = check_handles(session.device.home(), params, args)
            .and_then(|()| launch::check(kernel.shared_name(), kernel.signature(), &list.arguments[first..]));
        if checked.is_err() || grid.is_empty() {
            list.arguments.truncate(first);
            return checked;
        }
        let accesses = args.iter().zip(params).filter_map(|(arg, param)| match (arg.value, param) {
            (ArgumentValue::Buffer(place), Param::Buffer { access, .. }) => Some((place, access.writes())),
            _ => None,
        });
        if session.hazards.note(accesses) {
            list.commands.push(Command::Barrier);
        }
        let (first, count) = (first as u32, args.len() as u32);
        list.commands.push(Command::Launch { kernel: kernel.id(), grid, first, count });
        for (arg, param) in args.iter().zip(params) {
            if let (Some(handle), Param::Buffer { access, .. }) = (arg.handle, param) {
                session.bound.bind(handle, *access);
            }
        }
        self.notes.launch(kernel.shared_name(), params, args);
        Ok(())
    }

    /// Records a copy between buffers of equal length that do not overlap.
    ///
    /// # Errors
    /// `Length` if the lengths differ, `Argument` if the ranges overlap, `ForeignDevice` or `ReadOnly`.
    pub fn copy<'a>(&mut self, from: impl Into<Arg<'a>>, to: impl Into<Arg<'a>>) -> Result<()> {
        let ((from, source), (to, target)) =
            (place_of("copy", 0, &from.into())?, place_of("copy", 1, &to.into())?);
        if from.len != to.len {
            return Err(Error::Length { given: from.len, wanted: to.len });
        }
        // Places of two devices cannot be compared, so whose they are comes first.
        self.session.home().own(source, "buffer")?;
        self.session.home().own(target, "buffer")?;
        if from.overlaps(&to) {
            let fault = ArgumentFault::Overlaps { other: 0 };
            return Err(Error::Argument { kernel: "copy".into(), index: 1, fault });
        }
        self.command(Command::Copy { from, to }, &[(from, source, Access::Read), (to, target, Access::Write)])
    }

    /// Records that every byte of a buffer is set.
    ///
    /// # Errors
    /// `ForeignDevice` or `ReadOnly`.
    pub fn fill<'a>(&mut self, to: impl Into<Arg<'a>>, byte: u8) -> Result<()> {
        let (to, target) = place_of("fill", 0, &to.into())?;
        self.command(Command::Fill { to, byte }, &[(to, target, Access::Write)])
    }

    fn command(&mut self, command: Command, uses: &[(Place, &Handle, Access)]) -> Result<()> {
        let session = &mut *self.session;
        for (_, handle, access) in uses {
            check_handle(session.device.home(), handle, *access)?;
        }
        if uses.iter().all(|(place, ..)| place.len == 0) {
            return Ok(());
        }
        if session.hazards.note(uses.iter().map(|(place, _, access)| (*place, access.writes()))) {
            session.list.commands.push(Command::Barrier);
        }
        session.list.commands.push(command);
        for (_, handle, access) in uses {
            session.bound.bind(handle, *access);
        }
        self.notes.command(uses.iter().map(|(place, handle, access)| (Arg::bytes(handle, *place), *access)));
        Ok(())
    }

    /// Notes from here on what is recorded, for [`take_noted`](Self::take_noted).
    ///
    /// ```
    /// use forebay_device::{Device, DeviceOptions};
    ///
    /// let device = Device::open(&DeviceOptions::cpu())?;
    /// let (from, to) = (device.upload(&[1u32, 2, 3])?, device.alloc(12)?);
    /// let mut session = device.session()?;
    /// let mut stage = session.stage("copy");
    /// stage.note();
    /// stage.copy(&from, &to)?;
    /// let noted = stage.take_noted();
    /// assert!(noted[0].touched[0].is(&from) && noted[0].touched[1].is(&to));
    /// assert!(stage.take_noted().is_empty());
    /// # Ok::<(), forebay_device::Error>(())
    /// ```
    pub fn note(&mut self) {
        self.notes.begin();
    }

    /// What was noted and not yet taken: every command in its order, barriers left out, as a
    /// [profile](crate::StageProfile) lists them.
    pub fn take_noted(&mut self) -> Vec<NotedLaunch> {
        self.notes.take()
    }

    /// Makes the stage wait on the device for a fence of any queue of the same device.
    ///
    /// # Errors
    /// `ForeignDevice` if the fence belongs to another device.
    pub fn after(&mut self, fence: &Fence) -> Result<()> {
        self.session.check_fence(fence)?;
        self.session.waits.push((fence.queue, fence.tick));
        Ok(())
    }

    /// Ends the stage: submits it without waiting, and returns the fence that the next stage will wait for.
    ///
    /// # Errors
    /// `Busy` if the host holds a guard that clashes with the work, `Lost`, what the driver says, or an error that a
    /// drop could not return. Nothing was submitted then.
    pub fn fence(self) -> Result<Fence> {
        self.session.submit_stage(self.label.clone(), true)
    }

    /// Ends the stage: submits it without a fence. What comes next on the queue still comes after it.
    ///
    /// # Errors
    /// As [`fence`](Self::fence).
    pub fn submit(self) -> Result<()> {
        self.session.submit_stage(self.label.clone(), false).map(drop)
    }

    /// As [`fence`](Self::fence), under another label.
    ///
    /// # Errors
    /// As [`fence`](Self::fence).
    pub fn fence_as(mut self, label: impl Into<Label>) -> Result<Fence> {
        self.label = label.into();
        self.fence()
    }

    /// Ends the stage without submitting it: it can be replayed any number of times.
    ///
    /// # Errors
    /// `Unsupported` if the stage was told to wait for a fence, which belongs to one submission: tell the session before
    /// the replay. Otherwise what the driver says.
    pub fn record(self) -> Result<Recording> {
        self.session.keep_stage(self.label.clone())
    }

    /// Commands recorded so far, barriers not counted.
    pub fn len(&self) -> usize {
        self.session.list.commands.iter().filter(|&command| *command != Command::Barrier).count()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.session.list.commands.is_empty()
    }

    /// Barriers that the recorded ranges made necessary so far.
    pub fn barriers(&self) -> usize {
        self.session.list.commands.iter().filter(|&command| *command == Command::Barrier).count()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.session.discard();
    }
}

impl fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("label", &self.label).field("len", &self.len()).finish_non_exhaustive()
    }
}

fn check_handles(home: &crate::memory::home::Home, params: &[Param], args: &[Arg<'_>]) -> Result<()> {
    args.iter().zip(params).try_for_each(|(arg, param)| match (arg.handle, param) {
        (Some(handle), Param::Buffer { access, .. }) => check_handle(home, handle, *access),
        _ => Ok(()),
    })
}

fn check_handle(home: &crate::memory::home::Home, handle: &Handle, access: Access) -> Result<()> {
    home.own(handle, "buffer")?;
    if access.writes() && handle.facts().read_only {
        return Err(Error::ReadOnly { label: (&handle.facts().label).into() });
    }
    Ok(())
}

fn place_of<'a>(command: &str, index: usize, arg: &Arg<'a>) -> Result<(Place, &'a Handle)> {
    match (arg.value, arg.handle) {
        (ArgumentValue::Buffer(place), Some(handle)) => Ok((place, handle)),
        (other, _) => {
            let fault = ArgumentFault::Kind { given: other.kind(), wanted: "a buffer" };
            Err(Error::Argument { kernel: command.into(), index, fault })
        }
    }
}
