//! The tensor: a layout, the buffer that it lays out, and a label. There is one kind, whatever the type of elements.
//!
//! Clones and views share the bytes. The host gets elements only through the guards of the buffer, typed and checked.
//! Next room: `op`, for what can be computed.

use std::{any::type_name, fmt, ops::Range};

use bytemuck::Pod;
use forebay_device::{Arg, Buffer, Device, Label, Read, Request, Write};

use crate::{DType, Error, Layout, Result, Shape, quant};

/// A host type that stands for the elements of a plain type.
pub trait Element: Pod + Send + Sync {
    /// The type.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($host:ty => $dtype:ident),*) => {
        $(impl Element for $host {
            const DTYPE: DType = DType::$dtype;
        })*
    };
}

elements!(
    f32 => F32, f64 => F64, half::f16 => F16, half::bf16 => BF16,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u32 => U32
);

/// Elements of a device: type, shape, strides and a buffer.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::Tensor;
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let x = Tensor::from_slice(&device, &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let last = x.narrow(0, 1..2)?;
/// last.write::<f32>()?[0] = 7.0;
/// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 3.0, 7.0, 5.0, 6.0]);
/// assert!(x.read::<u32>().is_err());
/// assert!(format!("{:?}", x.label("x")).starts_with(r#"Tensor { dtype: F32, shape: [2, 3], strides: [3, 1], label: "x""#));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    layout: Layout,
    buffer: Buffer,
    label: Label,
}

impl Tensor {
    /// A tensor whose elements lie in a row in all of a buffer.
    ///
    /// # Errors
    /// Those of [`Layout::new`]; [`Error::ByteLength`] if the buffer has another length.
    pub fn of(dtype: DType, shape: &[usize], buffer: Buffer) -> Result<Self> {
        let layout = Layout::new(dtype, shape)?;
        if buffer.len() != layout.bytes() as u64 {
            return Err(Error::ByteLength {
                what: "buffer",
                dtype: dtype.name(),
                elements: layout.shape().elements(),
                given: usize::try_from(buffer.len()).unwrap_or(usize::MAX),
                wanted: layout.bytes(),
            });
        }
        let label = buffer.label().clone();
        Ok(Self { layout, buffer, label })
    }

    /// The request for a buffer that holds such a tensor.
    ///
    /// # Errors
    /// Those of [`Layout::new`].
    pub fn request(dtype: DType, shape: &[usize]) -> Result<Request> {
        Ok(Request::new(Layout::new(dtype, shape)?.bytes() as u64))
    }

    /// A tensor with these elements, in memory of the device's own pool.
    ///
    /// # Errors
    /// [`Error::ElementCount`] if there are not as many as the shape has; those of the device.
    pub fn from_slice<T: Element>(device: &Device, shape: &[usize], elements: &[T]) -> Result<Self> {
        let wanted = Shape::new(shape)?.elements();
        if elements.len() != wanted {
            return Err(Error::ElementCount { what: "elements", given: elements.len(), wanted });
        }
        Self::of(T::DTYPE, shape, device.upload(elements)?)
    }

    /// The type.
    pub fn dtype(&self) -> DType {
        self.layout.dtype()
    }

    /// Sizes of the axes, slowest first.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape().sizes()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.layout.shape().elements()
    }

    /// Type, shape and strides.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bytes from the first element to the last.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The same tensor under a name, for messages.
    #[must_use]
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = label.into();
        self
    }

    /// The name.
    pub fn name(&self) -> &Label {
        &self.label
    }

    /// Part of an axis, without a copy.
    ///
    /// # Errors
    /// Those of [`Layout::narrow`].
    pub fn narrow(&self, axis: usize, range: Range<usize>) -> Result<Self> {
        let (layout, bytes) = self.layout.narrow(axis, range)?;
        let buffer = self.buffer.slice(bytes.start as u64..bytes.end as u64)?;
        Ok(Self { layout, buffer, label: self.label.clone() })
    }

    /// The same elements in another shape, without a copy.
    ///
    /// # Errors
    /// Those of [`Layout::reshape`].
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        Ok(Self { layout: self.layout.reshape(shape)?, ..self.clone() })
    }

    /// Two axes exchanged, without a copy.
    ///
    /// # Errors
    /// Those of [`Layout::transpose`].
    pub fn transpose(&self, a: usize, b: usize) -> Result<Self> {
        Ok(Self { layout: self.layout.transpose(a, b)?, ..self.clone() })
    }

    /// The elements, being read by the host, which waits for work that writes them.
    ///
    /// # Errors
    /// [`Error::HostType`], [`Error::Strided`], or what [`Buffer::read`] says.
    pub fn read<T: Element>(&self) -> Result<Read<'_, T>> {
        self.check_host::<T>()?;
        Ok(self.buffer.read()?)
    }

    /// The elements, being changed by the host, which waits for work that touches them.
    ///
    /// # Errors
    /// [`Error::HostType`], [`Error::Strided`], or what [`Buffer::write`] says.
    pub fn write<T: Element>(&self) -> Result<Write<'_, T>> {
        self.check_host::<T>()?;
        Ok(self.buffer.write()?)
    }

    /// Copies elements in.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Error::ElementCount`].
    pub fn copy_from<T: Element>(&self, elements: &[T]) -> Result<()> {
        self.check_host::<T>()?;
        let (given, wanted) = (elements.len(), self.elements());
        if given != wanted {
            return Err(Error::ElementCount { what: "elements", given, wanted });
        }
        Ok(self.buffer.copy_from(elements)?)
    }

    /// Copies all elements out.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        Ok(self.read::<T>()?.to_vec())
    }

    /// The elements as f32, decoded where they are of another type.
    ///
    /// # Errors
    /// [`Error::Strided`], [`Error::NoFormat`], or what [`Buffer::read`] says.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        self.check_contiguous()?;
        quant::format_of(self.dtype())?;
        let mut elements = vec![0.0; self.elements()];
        quant::decode(self.dtype(), &self.buffer.read::<u8>()?, &mut elements)?;
        Ok(elements)
    }

    /// The bytes as an argument of a launch.
    pub(crate) fn arg(&self) -> Arg<'_> {
        self.buffer.arg()
    }

    fn check_host<T: Element>(&self) -> Result<()> {
        if T::DTYPE != self.dtype() {
            return Err(Error::HostType { dtype: self.dtype().name(), asked: type_name::<T>() });
        }
        self.check_contiguous()
    }

    fn check_contiguous(&self) -> Result<()> {
        if self.layout.is_contiguous() {
            return Ok(());
        }
        Err(Error::Strided { shape: self.shape().to_vec(), strides: self.layout.strides().to_vec() })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor")
            .field("dtype", &self.dtype())
            .field("shape", &self.shape())
            .field("strides", &self.layout.strides())
            .field("label", &self.label)
            .field("buffer", &self.buffer)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_device::DeviceOptions;

    #[test]
    fn views_of_views_see_exactly_their_elements() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let all: Vec<u32> = (0..60).collect();
        let x = Tensor::from_slice(&device, &[3, 4, 5], &all).unwrap();
        let view = x.narrow(0, 1..3).unwrap().narrow(0, 1..2).unwrap().reshape(&[4, 5]).unwrap();
        let view = view.narrow(0, 2..4).unwrap();
        assert_eq!(view.to_vec::<u32>().unwrap(), (50..60).collect::<Vec<_>>());
        let columns = x.narrow(2, 1..3).unwrap();
        assert!(matches!(columns.read::<u32>(), Err(Error::Strided { .. })));
        assert!(matches!(columns.reshape(&[24]), Err(Error::Reshape { contiguous: false, .. })));
        assert!(matches!(x.reshape(&[61]), Err(Error::Reshape { contiguous: true, .. })));
    }

    #[test]
    fn host_types_and_lengths_are_checked() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let x = Tensor::from_slice(&device, &[4], &[1.0f32, -2.0, 0.5, 8.0]).unwrap();
        assert!(matches!(x.write::<i32>(), Err(Error::HostType { dtype: "f32", .. })));
        assert_eq!(
            x.copy_from(&[1.0f32; 3]),
            Err(Error::ElementCount { what: "elements", given: 3, wanted: 4 })
        );
        let short = Tensor::of(DType::Q8_0, &[32], x.buffer().clone());
        assert!(matches!(short, Err(Error::ByteLength { given: 16, wanted: 34, .. })));
        assert_eq!(x.to_f32().unwrap(), [1.0, -2.0, 0.5, 8.0]);
        assert!(Tensor::from_slice(&device, &[2, 2], &[0u8; 3]).is_err());
    }
}
