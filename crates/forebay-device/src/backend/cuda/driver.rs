#![allow(unsafe_code, reason = "the driver is a C library")]
//! The driver library: found at run time, checked once, its answers as results. The context of a card.
//!
//! Next room: `device`, which opens one.

use std::ffi::{CStr, c_char};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use crate::error::{Error, MemoryReport, Result};

/// The oldest version of the interface that has all of what is called.
const OLDEST: i32 = 12_000;

/// How a version is written.
fn version_name(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn unavailable(why: String) -> Error {
    Error::Unavailable { backend: "cuda", why }
}

/// Finds the library and makes it ready. Returns the version of its interface.
pub(crate) fn load() -> Result<i32> {
    // SAFETY: looks for a library of that name; the driver's initialisers are what any program runs that uses a card.
    if !unsafe { sys::is_culib_present() } {
        let why =
            "the NVIDIA driver library (libcuda) is not installed; install the driver, or use the cpu device";
        return Err(unavailable(why.into()));
    }
    let mut version = 0;
    // SAFETY: C1: the library is there, and every version of it has this call; C2.
    call("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut version) })?;
    if version < OLDEST {
        let (have, need) = (version_name(version), version_name(OLDEST));
        let why =
            format!("the driver serves CUDA {have}, and {need} is needed; install driver 525 or a newer one");
        return Err(unavailable(why));
    }
    // SAFETY: C1.
    match unsafe { sys::cuInit(0) } {
        CUresult::CUDA_SUCCESS => Ok(version),
        CUresult::CUDA_ERROR_NO_DEVICE => {
            Err(unavailable("the driver sees no card; look at nvidia-smi and CUDA_VISIBLE_DEVICES".into()))
        }
        code => Err(unavailable(format!("the driver does not start: {}", words(code)))),
    }
}

/// The driver's own words for one of its codes.
pub(crate) fn words(code: CUresult) -> String {
    let text = |ask: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: C1 and C2.
        let known = unsafe { ask(code, &mut text) } == CUresult::CUDA_SUCCESS && !text.is_null();
        // SAFETY: the driver's texts end in a zero and stay for ever.
        if known { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() } else { String::new() }
    };
    format!("{} ({})", text(sys::cuGetErrorString), text(sys::cuGetErrorName))
}

/// A driver's answer as a result.
pub(crate) fn call(call: &'static str, code: CUresult) -> Result<()> {
    match code {
        CUresult::CUDA_SUCCESS => Ok(()),
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(Error::Exhausted(Box::<MemoryReport>::default())),
        code if is_final(code) => Err(Error::Lost { reason: format!("{call}: {}", words(code)).into() }),
        code => Err(Error::Driver { call, code: i64::from(code as u32), detail: words(code).into() }),
    }
}

/// Whether nothing works any more after such an error.
fn is_final(code: CUresult) -> bool {
    use CUresult as C;
    matches!(
        code,
        C::CUDA_ERROR_DEINITIALIZED
            | C::CUDA_ERROR_DEVICE_UNAVAILABLE
            | C::CUDA_ERROR_ECC_UNCORRECTABLE
            | C::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | C::CUDA_ERROR_CONTAINED
            | C::CUDA_ERROR_ILLEGAL_ADDRESS
            | C::CUDA_ERROR_LAUNCH_TIMEOUT
            | C::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | C::CUDA_ERROR_ASSERT
            | C::CUDA_ERROR_HARDWARE_STACK_ERROR
            | C::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | C::CUDA_ERROR_MISALIGNED_ADDRESS
            | C::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | C::CUDA_ERROR_INVALID_PC
            | C::CUDA_ERROR_LAUNCH_FAILED
            | C::CUDA_ERROR_TENSOR_MEMORY_LEAK
            | C::CUDA_ERROR_UNKNOWN
    )
}

/// The context of a card that all libraries of a process share.
#[derive(Debug)]
pub(crate) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    /// The version of the driver's interface.
    pub(crate) version: i32,
}

// SAFETY: C3.
unsafe impl Send for Context {}
// SAFETY: C3.
unsafe impl Sync for Context {}

impl Context {
    /// The context of a card, by its number.
    pub(crate) fn open(version: i32, ordinal: usize) -> Result<Self> {
        let (mut count, mut device, mut raw) = (0, 0, std::ptr::null_mut());
        // SAFETY: C1, as `load` gave the version, and C2.
        call("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
        let number = i32::try_from(ordinal).ok().filter(|number| *number < count);
        let Some(number) = number else {
            let why = match count {
                0 => "the driver sees no card; look at nvidia-smi and CUDA_VISIBLE_DEVICES".into(),
                1 => format!("there is no card number {ordinal}; the only one is 0"),
                _ => format!("there is no card number {ordinal}; there are 0 to {}", count - 1),
            };
            return Err(unavailable(why));
        };
        // SAFETY: C1 and C2.
        call("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, number) })?;
        // SAFETY: C1 and C2; given up by `drop`, once.
        call("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        Ok(Self { device, raw, version })
    }

    /// Makes the context current on this thread.
    pub(crate) fn bind(&self) -> Result<()> {
        // SAFETY: C3: the context lives as long as `self`.
        call("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    /// The card's number as the driver wants it.
    pub(crate) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// A number that the driver knows about the card.
    pub(crate) fn attribute(&self, attribute: Attribute) -> Result<u32> {
        let mut value = 0;
        // SAFETY: C2.
        let code = unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, self.device) };
        call("cuDeviceGetAttribute", code)?;
        Ok(value.max(0) as u32)
    }

    /// What the maker calls the card.
    pub(crate) fn name(&self) -> Result<String> {
        let mut name = [0 as c_char; 256];
        // SAFETY: C2; the driver is told one byte less than there are, so the text ends in a zero.
        let code = unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32 - 1, self.device) };
        call("cuDeviceGetName", code)?;
        // SAFETY: as above.
        Ok(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// Bytes of memory on the card.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut bytes = 0;
        // SAFETY: C2.
        call("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut bytes, self.device) })?;
        Ok(bytes as u64)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: C3: retained by `open`, and every owner of a handle in it holds a count on `self`.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!((version_name(12_000), version_name(13_010)), ("12.0".to_owned(), "13.1".to_owned()));
    }
}
