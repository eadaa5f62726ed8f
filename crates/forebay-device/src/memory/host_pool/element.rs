//! The types a host vector can hold.
//!
//! Owns: the closed list. Never: behaviour; a type adds none.
//! Every one is plain data for which all bits zero is a value, and none is larger than the alignment of a buffer.
//! Next room: `vector`.

use bytemuck::Zeroable;
use half::{bf16, f16};
use num_complex::{Complex32, Complex64};

mod sealed {
    pub trait Sealed {}
}

/// An element of a [`HostVec`](super::HostVec): `f64`, `f32`, `f16`, `bf16`, the integers of 8 to 64 bits, `bool`,
/// [`Complex32`] and [`Complex64`]. Sealed.
///
/// ```
/// fn bytes<T: forebay_device::HostElement>(count: usize) -> usize {
///     count * size_of::<T>()
/// }
/// assert_eq!(bytes::<half::f16>(3), 6);
/// ```
///
/// ```compile_fail
/// # use forebay_device::HostPool;
/// let chars = HostPool::default().acquire_zeroed::<char>(3);
/// ```
pub trait HostElement: sealed::Sealed + Zeroable + Copy + Send + Sync + 'static {}

macro_rules! elements {
    ($($element:ty)*) => {
        $(
            impl sealed::Sealed for $element {}
            impl HostElement for $element {}
        )*
    };
}

elements!(f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 bool Complex32 Complex64);
