//! The weight: a matrix in any format, as its device reads it best.
//!
//! On the CPU the formats of integer codes are repacked into panels of 16 rows (`quant::panel`), which take as much memory
//! as the rows; everything else stays as it lies. A weight says which rows it multiplies: floats, or rounded ones. What is
//! computed with it is in `ops`.

use std::{fmt, thread};

use forebay_device::{BackendKind, Buffer, Device, Label, Request, Tag};

use crate::{
    DType, Error, Level, Result, Tensor,
    quant::{
        self, mlx,
        panel::{PanelLayout, ROWS},
    },
    tiles::cpu::lanes::{Job, Lanes},
};

/// The bytes of a matrix as a file holds them.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Level, Weight, WeightBytes};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let bytes = vec![0; 20 * DType::Q4_0.row_bytes(64)?];
/// let bytes = WeightBytes::of(DType::Q4_0, [20, 64], &bytes)?;
/// assert!(bytes.gains());
/// let weight = Weight::pack(&device, &bytes, Level::best(), |_| ())?;
/// assert_eq!((weight.shape(), weight.input()), ([20, 64], DType::Rounded));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct WeightBytes<'a> {
    dtype: DType,
    shape: [usize; 2],
    scale_type: Option<DType>,
    planes: [&'a [u8]; 3],
}

impl<'a> WeightBytes<'a> {
    /// Rows of a format of one plane.
    ///
    /// # Errors
    /// [`Error::NoFormat`], [`Error::Shape`], [`Error::PartialBlock`] or [`Error::ByteLength`].
    pub fn of(dtype: DType, shape: [usize; 2], bytes: &'a [u8]) -> Result<Self> {
        quant::format_of(dtype)?;
        let layout = crate::Layout::new(dtype, &shape)?;
        let (given, wanted) = (bytes.len(), layout.bytes());
        if given != wanted {
            let elements = layout.shape().elements();
            return Err(Error::ByteLength { what: "bytes", dtype: dtype.name(), elements, given, wanted });
        }
        Ok(Self { dtype, shape, scale_type: None, planes: [bytes, &[], &[]] })
    }

    /// Rows of a format of MLX.
    ///
    /// # Errors
    /// Those of [`mlx::plane_bytes`]; [`Error::Shape`], or [`Error::ByteLength`] for a plane of another length.
    pub fn of_planes(dtype: DType, shape: [usize; 2], planes: &mlx::Planes<'a>) -> Result<Self> {
        let elements = crate::Layout::new(dtype, &shape)?.shape().elements();
        mlx::check_planes(dtype, planes, elements)?;
        let mlx::Planes { codes, scales, biases, scale_type } = *planes;
        Ok(Self { dtype, shape, scale_type: Some(scale_type), planes: [codes, scales, biases] })
    }

    /// Whether it is worth packing: the type has a layout of panels, and rows are whole blocks of it.
    pub fn gains(&self) -> bool {
        self.layout().is_some()
    }

    fn layout(&self) -> Option<PanelLayout> {
        let layout = PanelLayout::of(self.dtype, self.scale_type)?;
        self.shape[1].is_multiple_of(layout.span).then_some(layout)
    }
}

impl fmt::Debug for WeightBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightBytes")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape)
            .field("scale_type", &self.scale_type)
            .field("bytes", &self.planes.map(<[u8]>::len))
            .finish()
    }
}

/// A matrix on a device, in the form that the device reads best.
///
/// [`WeightBytes`] shows how one is packed; [`Matmul`](crate::ops::Matmul) and [`Embed`](crate::ops::Embed) use it.
#[derive(Clone)]
pub struct Weight {
    dtype: DType,
    shape: [usize; 2],
    form: Form,
    label: Label,
}

/// How the elements lie.
#[derive(Clone, Debug)]
enum Form {
    /// In rows, one after another.
    Rows(Tensor),
    /// In panels.
    Panels { buffer: Buffer, scale_type: Option<DType> },
}

impl Weight {
    /// The rows of a tensor as they lie.
    ///
    /// # Errors
    /// [`Error::Shape`] unless it has two axes, [`Error::NoFormat`] if its type is no weight format of one plane,
    /// [`Error::Strided`] if its elements do not lie in a row.
    pub fn rows(tensor: &Tensor) -> Result<Self> {
        let shape =
            tensor.shape().try_into().map_err(|_| Error::Shape { shape: tensor.shape().to_vec(), most: 2 });
        let shape: [usize; 2] = shape?;
        quant::format_of(tensor.dtype())?;
        if !tensor.layout().is_contiguous() {
            let strides = tensor.layout().strides().to_vec();
            return Err(Error::Strided { shape: shape.to_vec(), strides });
        }
        let label = tensor.name().clone();
        Ok(Self { dtype: tensor.dtype(), shape, form: Form::Rows(tensor.clone()), label })
    }

    /// Packs rows into panels on a device. From time to time `read` is told how many rows will not be looked at again,
    /// so that the caller can let the memory behind them go.
    ///
    /// # Errors
    /// [`Error::NoPanels`] unless the bytes [`gain`](WeightBytes::gains) and the device is the CPU; what the device says.
    pub fn pack(
        device: &Device,
        bytes: &WeightBytes<'_>,
        level: Level,
        mut read: impl FnMut(usize),
    ) -> Result<Self> {
        /// What is packed between two calls of `read`.
        const STEP: usize = 16 << 20;
        let WeightBytes { dtype, shape: [rows, width], scale_type, planes } = *bytes;
        let layout = bytes.layout().filter(|_| device.kind() == BackendKind::Cpu);
        let layout = layout.ok_or(Error::NoPanels { dtype: dtype.name(), width })?;
        let panel_bytes = layout.panel_bytes(width);
        let request = Request::new((rows.div_ceil(ROWS) * panel_bytes) as u64).tag(Tag::Weights).exact();
        let buffer = device.alloc(request)?;
        let row = planes.map(|plane| plane.len() / rows.max(1));
        let mut done = 0;
        // Without rows there is nothing to pack, and the length of a panel may be past all counting.
        if let (1.., Some(step)) = (rows, STEP.checked_div(panel_bytes)) {
            let mut panels = buffer.write::<u8>()?;
            let workers = device.caps().workers.max(1);
            let step = step.next_multiple_of(workers).max(workers);
            for panels in panels.chunks_mut(step * panel_bytes) {
                let part = panels.len() / panel_bytes / workers;
                let part = part.max(1) * panel_bytes;
                thread::scope(|scope| {
                    for panels in panels.chunks_mut(part) {
                        let first = done;
                        done = (first + panels.len() / panel_bytes * ROWS).min(rows);
                        let planes: [&[u8]; 3] =
                            std::array::from_fn(|i| &planes[i][first * row[i]..done * row[i]]);
                        let job = Pack { layout, planes, rows: done - first, width, panels };
                        scope.spawn(move || level.run(job));
                    }
                });
                read(done);
            }
        }
        let form = Form::Panels { buffer, scale_type };
        Ok(Self { dtype, shape: [rows, width], form, label: Label::default() })
    }

    /// The type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows, and elements of a row.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The type of the rows that it multiplies: `f32`, or `rounded` where it lies in panels.
    pub fn input(&self) -> DType {
        match self.form {
            Form::Rows(_) => DType::F32,
            Form::Panels { .. } => DType::Rounded,
        }
    }

    /// The same weight under a name, for messages.
    #[must_use]
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = label.into();
        self
    }

    /// Whether it lies in panels.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.form, Form::Panels { .. })
    }

    /// The type of its scales, where they are a plane of their own.
    pub(crate) fn scale_type(&self) -> Option<DType> {
        match self.form {
            Form::Rows(_) => None,
            Form::Panels { scale_type, .. } => scale_type,
        }
    }

    /// The bytes, in whichever form.
    pub fn buffer(&self) -> &Buffer {
        match &self.form {
            Form::Rows(tensor) => tensor.buffer(),
            Form::Panels { buffer, .. } => buffer,
        }
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weight")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape)
            .field("packed", &self.is_packed())
            .field("label", &self.label)
            .finish()
    }
}

/// Packs some rows.
struct Pack<'a> {
    layout: PanelLayout,
    planes: [&'a [u8]; 3],
    rows: usize,
    width: usize,
    panels: &'a mut [u8],
}

impl Job for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, _: V) {
        let Self { layout, planes, rows, width, panels } = self;
        let row = layout.bytes.map(|bytes| bytes * (width / layout.span));
        for (i, panel) in panels.chunks_exact_mut(layout.panel_bytes(width)).enumerate() {
            let (first, last) = (i * ROWS, ((i + 1) * ROWS).min(rows));
            let planes = std::array::from_fn(|i| &planes[i][first * row[i]..last * row[i]]);
            layout.pack(planes, last - first, width, panel);
        }
    }
}
