//! The residency set of a device, as its user sees it.
//!
//! A thin face: the set itself is `memory::residency`.

use super::Device;
use crate::{error::Result, memory::buffer::Buffer};

/// The set of memory that the driver is asked to keep at hand.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let buffer = device.alloc(4096)?;
/// let residency = device.residency();
/// assert_eq!(residency.count(), 1, "a fresh buffer is a member");
/// assert!(residency.remove(&buffer)? && !residency.remove(&buffer)?);
/// assert_eq!(residency.count(), 0);
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Residency<'a> {
    pub(super) device: &'a Device,
}

impl Residency<'_> {
    /// Whether there is a set at all.
    pub fn enabled(&self) -> bool {
        self.device.home().residency.enabled()
    }

    /// Members. A buffer that an arena cut from its chunk counts with the chunk.
    pub fn count(&self) -> u64 {
        self.device.home().residency.members()
    }

    /// Changes that the next submission tells the driver.
    pub fn staged(&self) -> usize {
        self.device.home().residency.staged()
    }

    /// How often the driver was told.
    pub fn driver_calls(&self) -> u64 {
        self.device.home().residency.driver_calls()
    }

    /// Adds a buffer's allocation. False if it was a member, or there is no set.
    ///
    /// # Errors
    /// `ForeignDevice` if the buffer lives on another device.
    pub fn add(&self, buffer: &Buffer) -> Result<bool> {
        self.change(buffer, true)
    }

    /// Removes a buffer's allocation. False if it was no member, or there is no set.
    ///
    /// # Errors
    /// `ForeignDevice` if the buffer lives on another device.
    pub fn remove(&self, buffer: &Buffer) -> Result<bool> {
        self.change(buffer, false)
    }

    fn change(&self, buffer: &Buffer, member: bool) -> Result<bool> {
        self.device.home().own(buffer.handle(), "buffer")?;
        Ok(self.enabled() && buffer.handle().owner().change_membership(buffer.handle(), member, 0))
    }
}
