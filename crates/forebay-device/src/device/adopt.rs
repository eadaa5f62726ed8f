#![allow(unsafe_code, reason = "memory of somebody else is taken on the caller's word")]
//! Memory that somebody else owns, as buffers: mapped files, vectors, and raw memory on the caller's word.
//!
//! Rule for the unsafe code: A1, what keeps the memory valid (the keeper) is dropped only after the last handle and the
//! last queued use, by the pool that owns the lease.

use std::{any::Any, ptr::NonNull};

use bytemuck::Pod;

use super::Device;
use crate::{
    caps::BackendKind,
    error::{Error, Result},
    memory::{buffer::Buffer, map::MappedFile, options::Request},
};

impl Device {
    /// A mapped file as a read-only buffer, without a copy. The file stays mapped as long as the buffer is used.
    ///
    /// # Errors
    /// `Unsupported` where the device does not see the host's memory.
    pub fn adopt_file(&self, file: &MappedFile) -> Result<Buffer> {
        let bytes = file.bytes();
        let label =
            file.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let request = Request::new(bytes.len() as u64).label(label);
        self.sees_the_host()?;
        // SAFETY: A1: the mapping is the keeper; it is bytes that nobody writes, and the buffer is read-only.
        unsafe { self.import(NonNull::from(bytes).cast(), &request, true, Box::new(file.clone())) }
    }

    /// A vector as a buffer, without a copy. It is dropped when the buffer is no longer used.
    ///
    /// # Errors
    /// `Unsupported` where the device does not see the host's memory.
    pub fn adopt<T: Pod + Send + Sync>(&self, vector: Vec<T>) -> Result<Buffer> {
        self.sees_the_host()?;
        let request = Request::elements::<T>(vector.len());
        let mut vector = vector;
        let start = NonNull::from(vector.as_mut_slice()).cast();
        // SAFETY: A1: the vector is the keeper; nobody else reaches its elements, and moving it does not move them.
        unsafe { self.import(start, &request, false, Box::new(vector)) }
    }

    /// Memory of somebody else as a buffer. It is not a member of the residency set until a pool registers it. On a
    /// CUDA device `start` is an address of the card, as its driver gave it to whoever owns the memory. Metal takes memory
    /// in the whole pages around it and may refuse it; it has to be copied then.
    ///
    /// # Safety
    /// From now until `keeper` is dropped, `request`'s number of bytes from `start` on must stay valid for reads, and,
    /// unless `read_only`, for writes, and nobody may touch them except through the buffer.
    ///
    /// # Errors
    /// `Unsupported` where the device does not see the host's memory.
    pub unsafe fn import(
        &self,
        start: NonNull<u8>,
        request: &Request,
        read_only: bool,
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<Buffer> {
        let address = start.as_ptr().expose_provenance();
        let host = if self.kind() == BackendKind::Cuda {
            0
        } else {
            self.sees_the_host()?;
            address
        };
        let region = self.home().backend.region_import(address as u64, host, request.bytes)?;
        Ok(Buffer::whole(self.pool().shared.import(&region, request, read_only, keeper)))
    }

    fn sees_the_host(&self) -> Result<()> {
        if self.caps().unified {
            return Ok(());
        }
        Err(Error::Unsupported { what: "use the host's memory in place", backend: self.kind().name() })
    }
}
