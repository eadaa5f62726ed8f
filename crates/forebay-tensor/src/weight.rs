//! The weight: a matrix in any format, or those of several experts, as its device reads it best.
//!
//! The formats of integer codes are repacked into panels of 16 rows (`quant::panel`), which take as much memory as the rows,
//! on the CPU and for cards; everything else stays as it lies. A weight says which rows it multiplies: floats, or rounded ones. Several
//! matrices lie one after another, each in whole panels. What is computed with it is in `ops`.

use std::{fmt, ops::Range, thread};

use forebay_device::{BackendKind, Buffer, Device, Label, Request, Tag};

use crate::{
    DType, Error, Level, Result, Tensor,
    quant::{
        self, mlx,
        panel::{PIECE, PanelLayout, ROWS},
    },
    tiles::{
        Lie,
        cpu::{
            lanes::{Job, Lanes},
            pack::pack,
            points::has_points,
        },
    },
};

/// The bytes of a matrix as a file holds them, `[rows, width]`, or of the matrices of experts, `[experts, rows, width]`.
///
/// ```
/// use forebay_device::{Device, DeviceOptions};
/// use forebay_tensor::{DType, Level, Weight, WeightBytes};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let bytes = vec![0; 20 * DType::Q4_0.row_bytes(64)?];
/// let bytes = WeightBytes::of(DType::Q4_0, [20, 64], &bytes)?;
/// assert!(bytes.gains());
/// let weight = Weight::pack(&device, &bytes, Level::best(), "up", |_| ())?;
/// assert_eq!((weight.shape(), weight.input()), ([20, 64], DType::Rounded));
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct WeightBytes<'a, const AXES: usize = 2> {
    dtype: DType,
    shape: [usize; AXES],
    scale_type: Option<DType>,
    planes: [&'a [u8]; 3],
}

impl<'a, const AXES: usize> WeightBytes<'a, AXES> {
    /// Rows of a format of one plane.
    ///
    /// # Errors
    /// [`Error::NoFormat`], [`Error::Shape`], [`Error::PartialBlock`] or [`Error::ByteLength`].
    pub fn of(dtype: DType, shape: [usize; AXES], bytes: &'a [u8]) -> Result<Self> {
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
    pub fn of_planes(dtype: DType, shape: [usize; AXES], planes: &mlx::Planes<'a>) -> Result<Self> {
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
        let [_, _, width] = matrices(self.shape);
        width.is_multiple_of(layout.span).then_some(layout)
    }
}

impl<const AXES: usize> fmt::Debug for WeightBytes<'_, AXES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightBytes")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape)
            .field("scale_type", &self.scale_type)
            .field("bytes", &self.planes.map(<[u8]>::len))
            .finish()
    }
}

/// How many matrices there are, and the rows and the width of each.
fn matrices<const AXES: usize>(shape: [usize; AXES]) -> [usize; 3] {
    const { assert!(AXES == 2 || AXES == 3, "a weight is a matrix, or one for each expert") };
    [shape[..AXES - 2].iter().product(), shape[AXES - 2], shape[AXES - 1]]
}

/// A matrix on a device, in the form that the device reads best; or those of experts, which have three axes.
///
/// [`WeightBytes`] shows how one is packed; [`Matmul`](crate::ops::Matmul), [`Embed`](crate::ops::Embed) and, with three
/// axes, [`RoutedMatmul`](crate::ops::RoutedMatmul) use it.
#[derive(Clone)]
pub struct Weight<const AXES: usize = 2> {
    dtype: DType,
    shape: [usize; AXES],
    form: Form,
    label: Label,
}

/// How the elements lie.
#[derive(Clone, Debug)]
enum Form {
    /// In rows, one after another.
    Rows { tensor: Tensor, integers: bool },
    /// In panels.
    Panels { buffer: Buffer, scale_type: Option<DType>, floats: bool },
}

impl<const AXES: usize> Weight<AXES> {
    /// The rows of a tensor as they lie.
    ///
    /// # Errors
    /// [`Error::Shape`] unless it has so many axes, [`Error::NoFormat`] if its type is no weight format of one plane,
    /// [`Error::Strided`] if its elements do not lie in a row.
    pub fn rows(tensor: &Tensor) -> Result<Self> {
        let shape = tensor
            .shape()
            .try_into()
            .map_err(|_| Error::Shape { shape: tensor.shape().to_vec(), most: AXES });
        let shape: [usize; AXES] = shape?;
        quant::format_of(tensor.dtype())?;
        if !tensor.layout().is_contiguous() {
            let strides = tensor.layout().strides().to_vec();
            return Err(Error::Strided { shape: shape.to_vec(), strides });
        }
        let label = tensor.name().clone();
        let form = Form::Rows { tensor: tensor.clone(), integers: false };
        Ok(Self { dtype: tensor.dtype(), shape, form, label })
    }

    /// Packs rows into panels on a device, under a name that messages and traces know it by. From time to time `read` is
    /// told how many rows will not be looked at again, so that the caller can let the memory behind them go.
    ///
    /// # Errors
    /// [`Error::NoPanels`] unless the bytes [`gain`](WeightBytes::gains) and the device is the CPU or a card of NVIDIA; what the device says.
    pub fn pack(
        device: &Device,
        bytes: &WeightBytes<'_, AXES>,
        level: Level,
        label: impl Into<Label>,
        mut read: impl FnMut(usize),
    ) -> Result<Self> {
        /// What is packed between two calls of `read`.
        const STEP: usize = 16 << 20;
        /// The most threads that pack for a card: more than these wait for memory.
        const MOST_PACKERS: usize = 8;
        let WeightBytes { dtype, shape, scale_type, planes } = *bytes;
        let [count, rows, width] = matrices(shape);
        let is_card = device.kind() == BackendKind::Cuda;
        let layout = bytes.layout().filter(|_| is_card || device.kind() == BackendKind::Cpu);
        let layout = layout.ok_or(Error::NoPanels { dtype: dtype.name(), width })?;
        let piece = if is_card { width } else { PIECE };
        let source = Source { layout, planes, rows, width, piece };
        let (panel_bytes, label) = (layout.panel_bytes(width), label.into());
        let all = count.saturating_mul(rows.div_ceil(ROWS)).saturating_mul(panel_bytes) as u64;
        let buffer = device.alloc(Request::new(all).tag(Tag::Weights).label(label.clone()).exact())?;
        // Without rows there is nothing to pack, and the length of a panel may be past all counting.
        if let (1.., Some(step)) = (count.min(rows), STEP.checked_div(panel_bytes)) {
            let workers = match is_card {
                true => thread::available_parallelism().map_or(1, usize::from).min(MOST_PACKERS),
                false => device.caps().workers.max(1),
            };
            let step = step.next_multiple_of(workers).max(workers) * panel_bytes;
            let mut done = 0;
            let mut pack = |panels: &mut [u8]| {
                let part = (panels.len() / panel_bytes / workers).max(1) * panel_bytes;
                thread::scope(|scope| {
                    for panels in panels.chunks_mut(part) {
                        let job = Pack { source: &source, first: done, panels };
                        done += job.panels.len() / panel_bytes;
                        scope.spawn(move || level.run(job));
                    }
                });
                read(source.rows_of(done - 1).end);
            };
            if is_card {
                let mut room = vec![0; step.min(all as usize)];
                for start in (0..all).step_by(step) {
                    let panels = &mut room[..step.min((all - start) as usize)];
                    pack(panels);
                    buffer.slice(start..start + panels.len() as u64)?.copy_from(panels)?;
                }
            } else {
                buffer.write::<u8>()?.chunks_mut(step).for_each(pack);
            }
        }
        let form = Form::Panels { buffer, scale_type, floats: false };
        Ok(Self { dtype, shape, form, label })
    }

    /// The same weight with integer products, if its rows have them as they lie; it then multiplies rounded rows. These are
    /// the formats whose codes are numbers of points in a table, which would grow in panels. Only the CPU has them.
    #[must_use]
    pub fn by_integers(mut self) -> Self {
        if let Form::Rows { tensor, integers } = &mut self.form {
            *integers = has_points(self.dtype) && tensor.buffer().backend() == BackendKind::Cpu;
        }
        self
    }

    /// The same weight with products of floats, if it is one of MLX in panels: pieces of these are decoded when they are multiplied,
    /// and it takes rows that were not rounded. Only the CPU has them.
    #[must_use]
    pub fn by_floats(mut self) -> Self {
        if let Form::Panels { buffer, scale_type, floats } = &mut self.form {
            *floats = scale_type.is_some() && buffer.backend() == BackendKind::Cpu;
        }
        self
    }

    /// The type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows, and elements of a row; before them experts, if there are any.
    pub fn shape(&self) -> [usize; AXES] {
        self.shape
    }

    /// The type of the rows that it multiplies: `f32`, or `rounded` where its products are of integers.
    pub fn input(&self) -> DType {
        match self.lie() {
            Lie::Rows | Lie::PanelsOfFloats => DType::F32,
            Lie::Points | Lie::Panels => DType::Rounded,
        }
    }

    /// The same weight under a name, for messages.
    #[must_use]
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = label.into();
        self
    }

    /// The name that messages and traces know it by.
    pub fn name(&self) -> &Label {
        &self.label
    }

    /// How it lies, and what its products are of.
    pub(crate) fn lie(&self) -> Lie {
        match self.form {
            Form::Rows { integers: false, .. } => Lie::Rows,
            Form::Rows { integers: true, .. } => Lie::Points,
            Form::Panels { floats: false, .. } => Lie::Panels,
            Form::Panels { floats: true, .. } => Lie::PanelsOfFloats,
        }
    }

    /// Whether it lies in panels.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.form, Form::Panels { .. })
    }

    /// The type of its scales, where they are a plane of their own.
    pub(crate) fn scale_type(&self) -> Option<DType> {
        match self.form {
            Form::Rows { .. } => None,
            Form::Panels { scale_type, .. } => scale_type,
        }
    }

    /// The bytes, in whichever form.
    pub fn buffer(&self) -> &Buffer {
        match &self.form {
            Form::Rows { tensor, .. } => tensor.buffer(),
            Form::Panels { buffer, .. } => buffer,
        }
    }
}

impl<const AXES: usize> fmt::Debug for Weight<AXES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weight")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape)
            .field("lie", &self.lie())
            .field("label", &self.label)
            .finish()
    }
}

/// Matrices in rows, to be packed.
struct Source<'a> {
    layout: PanelLayout,
    planes: [&'a [u8]; 3],
    /// Of one matrix.
    rows: usize,
    width: usize,
    /// Columns of a piece of a panel.
    piece: usize,
}

impl Source<'_> {
    /// The rows of a panel, counted over all matrices.
    #[inline(always)]
    fn rows_of(&self, panel: usize) -> Range<usize> {
        let each = self.rows.div_ceil(ROWS);
        let (matrix, first) = (panel / each, panel % each * ROWS);
        matrix * self.rows + first..matrix * self.rows + (first + ROWS).min(self.rows)
    }
}

/// Packs some panels.
struct Pack<'a> {
    source: &'a Source<'a>,
    first: usize,
    panels: &'a mut [u8],
}

impl Job for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self, v: V) {
        let Self { source, first, panels } = self;
        let Source { layout, planes, width, piece, .. } = source;
        let row = layout.bytes.map(|bytes| bytes * (width / layout.span));
        for (i, panel) in panels.chunks_exact_mut(layout.panel_bytes(*width)).enumerate() {
            let rows = source.rows_of(first + i);
            let planes = std::array::from_fn(|i| &planes[i][rows.start * row[i]..rows.end * row[i]]);
            pack(v, layout, planes, rows.len(), [*width, *piece], panel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_device::DeviceOptions;

    /// Some bytes of Q4_K blocks.
    fn blocks(count: usize) -> Vec<u8> {
        (0..count * 144).map(|i| (i * i / 7) as u8).collect()
    }

    #[test]
    fn experts_are_packed_one_after_another_under_their_name() {
        let device = Device::open(&DeviceOptions::cpu().threads(2)).unwrap();
        let bytes = blocks(3 * 21 * 2);
        let all = WeightBytes::of(DType::Q4_K, [3, 21, 512], &bytes).unwrap();
        let mut read = Vec::new();
        let packed = Weight::pack(&device, &all, Level::best(), "experts", |rows| read.push(rows)).unwrap();
        assert_eq!((packed.shape(), packed.input()), ([3, 21, 512], DType::Rounded));
        assert_eq!(packed.buffer().label().as_str(), "experts");
        assert_eq!(read.last(), Some(&63));

        let together = packed.buffer().to_vec::<u8>().unwrap();
        for (expert, together) in together.chunks(together.len() / 3).enumerate() {
            let alone = &bytes[expert * bytes.len() / 3..][..bytes.len() / 3];
            let alone = WeightBytes::of(DType::Q4_K, [21, 512], alone).unwrap();
            let alone = Weight::pack(&device, &alone, Level::Plain, "expert", |_| ()).unwrap();
            assert_eq!(alone.buffer().to_vec::<u8>().unwrap(), together, "{expert}");
        }
    }

    #[test]
    fn without_experts_nothing_is_packed() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        for shape in [[0, 21, 256], [3, 0, 256]] {
            let bytes = WeightBytes::of(DType::Q4_K, shape, &[]).unwrap();
            let packed = Weight::pack(&device, &bytes, Level::best(), "", |_| panic!("nothing is read"));
            assert_eq!(packed.unwrap().buffer().len(), 0);
        }
    }
}
