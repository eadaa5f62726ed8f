//! The tensors and weights of a model file on a device, by name: repacked for the device, mapped, or read.
//!
//! A weight that is repacked leaves no page of the file behind: what was read is forgotten while the rest is packed, so
//! that a model is never held twice. It counts what is taken, so that a model that leaves weights aside is noticed. It
//! never knows what a name means. Next room: `models`, which asks for the names.

use std::{
    borrow::Cow, collections::HashSet, fs::File, ops::Range, os::unix::fs::FileExt, path::Path, sync::Arc,
};

use forebay_device::{Buffer, Device, MappedFile, Request, Tag};
use forebay_tensor::{DType, Level, Tensor, Weight, WeightBytes};

use super::gguf::{self, Gguf, Metadata, Split, Tensor as Entry};
use crate::error::{Error, Result};

/// How the bytes of a model file come to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The file is mapped, and pages are read when they are touched.
    #[default]
    Mapped,
    /// The file is read into memory of the device, tensor by tensor.
    Read,
}

/// What products with quantised weights are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Integers: activations are rounded to 8 bits in groups of 32, no coarser than llama.cpp does.
    #[default]
    Fast,
    /// Floats of 32 bits: weights are decoded, and activations stay as they are.
    Strict,
}

/// The weights of a model on a device.
///
/// ```no_run
/// use forebay::formats::weights::{Access, Precision, Weights};
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let mut weights = Weights::open("model.gguf", &device, Access::Mapped, Precision::Fast)?;
/// let table = weights.take_weight("token_embd.weight", [32_000, 4096])?;
/// println!("{table:?}");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Debug)]
pub struct Weights {
    device: Device,
    precision: Precision,
    files: Split,
    sources: Vec<Source>,
    taken: HashSet<String>,
}

impl Weights {
    /// Opens a GGUF file, and the other parts if it is one of several.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Device`] where a file cannot be read, [`Error::Format`] and [`Error::Set`] where it is
    /// not what it should be.
    pub fn open(
        path: impl AsRef<Path>,
        device: &Device,
        access: Access,
        precision: Precision,
    ) -> Result<Self> {
        let mut parts = vec![Source::open(path.as_ref(), access)?];
        let paths = gguf::part_paths(&parts[0].0)?;
        if paths.len() > 1 {
            // The user may have named any part; the set is read from its first on.
            parts = paths.iter().map(|path| Source::open(path, access)).collect::<Result<_>>()?;
        }
        let (ggufs, sources) = parts.into_iter().unzip();
        let files = Split::join(ggufs)?;
        Ok(Self { device: device.clone(), precision, files, sources, taken: HashSet::new() })
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        self.files.parts()[0].metadata()
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The file, or the first of several, as it is named in messages.
    pub fn file(&self) -> &Arc<Path> {
        self.metadata().file()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.files.find(name).is_some()
    }

    /// The tensor of this name as the file holds it.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownType`], or [`Error::TensorShape`] if it has another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (part, entry) = self.find(name, shape)?;
        let (dtype, buffer) = (entry.dtype()?, self.sources[part].buffer(&self.device, entry)?);
        self.taken.insert(name.to_owned());
        Ok(Tensor::of(dtype, shape, buffer)?.label(name.to_owned()))
    }

    /// The matrix of this name, of `[rows, width]`, in the form that products on the device read best.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_weight(&mut self, name: &str, shape: [usize; 2]) -> Result<Weight> {
        self.take_rows(name, shape, 0..shape[0])
    }

    /// Some rows of the matrix of this name, as [`take_weight`](Self::take_weight): of several matrices in one.
    ///
    /// # Errors
    /// As [`take`](Self::take); [`Error::Tensor`] if there are not so many rows.
    pub fn take_rows(&mut self, name: &str, shape: [usize; 2], rows: Range<usize>) -> Result<Weight> {
        let (part, entry) = self.find(name, &shape)?;
        let (dtype, source) = (entry.dtype()?, &self.sources[part]);
        let row = (entry.range().end - entry.range().start) / (shape[0] as u64).max(1);
        let (before, count) = (rows.start as u64 * row, rows.len());
        let bytes = match self.precision {
            Precision::Fast => source.bytes(entry)?,
            Precision::Strict => Cow::Borrowed(&[][..]),
        };
        let ours = bytes.get(before as usize..(rows.end as u64 * row) as usize).unwrap_or_default();
        let weight = match WeightBytes::of(dtype, [count, shape[1]], ours) {
            Ok(bytes) if bytes.gains() => Weight::pack(&self.device, &bytes, Level::best(), |done| {
                source.forget(entry, before + done as u64 * row)
            })?,
            _ => Weight::rows(&self.take(name, &shape)?.narrow(0, rows)?)?,
        };
        self.taken.insert(name.to_owned());
        Ok(weight.label(name.to_owned()))
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(usize, &Entry)> {
        let missing = || Error::MissingTensor { file: self.file().clone(), tensor: name.to_owned() };
        let (part, entry) = self.files.find(name).ok_or_else(missing)?;
        if entry.shape().iter().copied().eq(shape.iter().map(|&size| size as u64)) {
            return Ok((part, entry));
        }
        Err(Error::TensorShape {
            file: entry.file().clone(),
            tensor: name.to_owned(),
            found: entry.shape().to_vec(),
            wanted: shape.to_vec(),
        })
    }

    /// The tensor of this name as f32, converted if the file holds another type: for the few small ones that ops want so.
    ///
    /// # Errors
    /// As [`take`](Self::take); [`Error::Tensor`] if its type cannot be converted.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.take(name, shape)?;
        if tensor.dtype() == DType::F32 {
            return Ok(tensor);
        }
        let elements = tensor.to_f32()?;
        Ok(Tensor::from_slice(&self.device, shape, &elements)?.label(name.to_owned()))
    }

    /// Leaves aside the tensors whose names are such: parts of a model that nothing makes use of.
    pub fn leave(&mut self, such: impl Fn(&str) -> bool) {
        let names = self.files.tensors().map(|(_, tensor)| tensor.name());
        self.taken.extend(names.filter(|name| such(name)).map(str::to_owned));
    }

    /// Ends the loading of a model that has taken all it uses.
    ///
    /// # Errors
    /// [`Error::UnusedTensors`] if there are others.
    pub fn finish(self) -> Result<()> {
        let mut left =
            self.files.tensors().map(|(_, tensor)| tensor.name()).filter(|n| !self.taken.contains(*n));
        match left.next() {
            None => Ok(()),
            Some(first) => Err(Error::UnusedTensors {
                file: self.file().clone(),
                first: first.to_owned(),
                count: 1 + left.count(),
            }),
        }
    }
}

/// Tensors up to this many bytes are copied, so that no page of a mapped file stays for their sake.
const SMALL: u64 = 1 << 20;

/// Where the bytes of one file of a model come from.
#[derive(Debug)]
enum Source {
    /// Pages of the file; the buffer of all of it is made for the first tensor that stays where it lies.
    Mapped { file: MappedFile, buffer: std::sync::OnceLock<Buffer> },
    /// The file, read where it is asked for.
    File { file: File, path: Arc<Path> },
}

impl Source {
    fn open(path: &Path, access: Access) -> Result<(Gguf, Self)> {
        let mapped = MappedFile::open(path)?;
        let gguf = Gguf::parse(path, mapped.bytes())?;
        let source = match access {
            Access::Mapped => Self::Mapped { file: mapped, buffer: std::sync::OnceLock::new() },
            Access::Read => {
                let failed =
                    |source| Error::Io { file: path.into(), action: "open", source: Arc::new(source) };
                Self::File { file: File::open(path).map_err(failed)?, path: path.into() }
            }
        };
        Ok((gguf, source))
    }

    /// The bytes of a tensor, for the host.
    fn bytes(&self, entry: &Entry) -> Result<Cow<'_, [u8]>> {
        let range = entry.range();
        match self {
            Self::Mapped { file, .. } => {
                Ok(Cow::Borrowed(&file.bytes()[range.start as usize..range.end as usize]))
            }
            Self::File { .. } => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                self.read(&mut bytes, range.start)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The bytes of a tensor on the device.
    fn buffer(&self, device: &Device, entry: &Entry) -> Result<Buffer> {
        let range = entry.range();
        let len = range.end - range.start;
        match self {
            Self::Mapped { file, buffer } if len > SMALL => {
                let whole = match buffer.get() {
                    Some(whole) => whole,
                    None => {
                        let whole = device.adopt_file(file)?;
                        buffer.get_or_init(|| whole)
                    }
                };
                Ok(whole.slice(range)?)
            }
            Self::Mapped { .. } => {
                let buffer = device.alloc(Request::new(len).tag(Tag::Weights))?;
                buffer.copy_from(&self.bytes(entry)?)?;
                Ok(buffer)
            }
            Self::File { .. } => {
                let buffer = device.alloc(Request::new(len).tag(Tag::Weights).exact())?;
                self.read(&mut buffer.write::<u8>()?, range.start)?;
                Ok(buffer)
            }
        }
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        let Self::File { file, path } = self else { return Ok(()) };
        let failed = |source| Error::Io { file: path.clone(), action: "read", source: Arc::new(source) };
        file.read_exact_at(bytes, at).map_err(failed)
    }

    /// Lets the pages behind the first bytes of a tensor go.
    fn forget(&self, entry: &Entry, bytes: u64) {
        if let Self::Mapped { file, .. } = self {
            let start = entry.range().start as usize;
            file.forget(start..start + bytes as usize);
        }
    }
}
