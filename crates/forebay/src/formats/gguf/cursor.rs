//! Reading a GGUF file front to back, with the place of every fault.
//!
//! It never reads past the end and never allocates; what is too long for the file is a fault before it is taken.
//! Next room: `metadata`, its first user.

use std::{path::Path, sync::Arc};

use super::format_error;
use crate::error::{Error, Fault, Place, Result};

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    file: Arc<Path>,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: Arc<Path>, bytes: &'a [u8]) -> Self {
        Self { file, bytes, offset: 0 }
    }

    pub(super) fn file(&self) -> &Arc<Path> {
        &self.file
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset as u64
    }

    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.offset) as u64
    }

    /// Up to so many bytes from here, without moving.
    pub(super) fn peek(&self, most: usize) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        &rest[..most.min(rest.len())]
    }

    pub(super) fn take(&mut self, count: u64, place: &Place) -> Result<&'a [u8]> {
        if count > self.left() {
            return Err(self.fault(place, Fault::Truncated { needed: count, left: self.left() }));
        }
        // `count` fits, since it is at most what is left of a slice.
        let taken = &self.bytes[self.offset..][..count as usize];
        self.offset += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, place: &Place) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, place)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, place: &Place) -> Result<u32> {
        self.array(place).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, place: &Place) -> Result<u64> {
        self.array(place).map(u64::from_le_bytes)
    }

    /// A length and so many bytes.
    pub(super) fn string(&mut self, place: &Place) -> Result<&'a [u8]> {
        let at = self.offset;
        let len = self.u64(place)?;
        if len > self.left() {
            let fault = Fault::Truncated { needed: len, left: self.left() };
            return Err(self.fault_at(at as u64, place, fault));
        }
        self.take(len, place)
    }

    /// A name: a string that has to be UTF-8.
    pub(super) fn text(&mut self, place: &Place) -> Result<&'a str> {
        let at = self.offset();
        let bytes = self.string(place)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault_at(at, place, Fault::NotUtf8))
    }

    pub(super) fn fault(&self, place: &Place, fault: Fault) -> Error {
        self.fault_at(self.offset(), place, fault)
    }

    pub(super) fn fault_at(&self, offset: u64, place: &Place, fault: Fault) -> Error {
        format_error(&self.file, place, offset, fault)
    }
}
