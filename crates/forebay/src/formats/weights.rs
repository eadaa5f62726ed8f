//! The tensors of a model file on a device, by name, and where they lie: mapped, without a copy, where the device can
//! use the host's memory.
//!
//! It counts what is taken, so that a model that leaves weights aside is noticed. It never knows what a name means.
//! Next room: `models`, which asks for the names.

use std::{collections::HashSet, fs::File, io::Read, path::Path, sync::Arc};

use forebay_device::{Buffer, Device, MappedFile, Request, Tag};
use forebay_tensor::{DType, Tensor};

use super::gguf::{self, Gguf, Metadata, Split};
use crate::error::{Error, Result};

/// How the bytes of a model file come to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The file is mapped, and pages are read when they are touched.
    #[default]
    Mapped,
    /// The file is read into memory of the device.
    Read,
}

/// The weights of a model on a device.
///
/// ```no_run
/// use forebay::formats::weights::{Access, Weights};
/// use forebay_device::{Device, DeviceOptions};
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let mut weights = Weights::open("model.gguf", &device, Access::Mapped)?;
/// let table = weights.take("token_embd.weight", &[32_000, 4096])?;
/// println!("{table:?}");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Debug)]
pub struct Weights {
    device: Device,
    files: Split,
    buffers: Vec<Buffer>,
    taken: HashSet<String>,
}

impl Weights {
    /// Opens a GGUF file, and the other parts if it is one of several.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Device`] where a file cannot be read, [`Error::Format`] and [`Error::Set`] where it is
    /// not what it should be.
    pub fn open(path: impl AsRef<Path>, device: &Device, access: Access) -> Result<Self> {
        let first = Part::open(path.as_ref(), device, access)?;
        let mut parts = vec![first];
        let paths = gguf::part_paths(&parts[0].gguf)?;
        if paths.len() > 1 {
            // The user may have named any part; the set is read from its first on.
            parts = paths.iter().map(|path| Part::open(path, device, access)).collect::<Result<_>>()?;
        }
        let (ggufs, buffers) = parts.into_iter().map(|part| (part.gguf, part.buffer)).unzip();
        Ok(Self { device: device.clone(), files: Split::join(ggufs)?, buffers, taken: HashSet::new() })
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
        let missing = || Error::MissingTensor { file: self.file().clone(), tensor: name.to_owned() };
        let (part, entry) = self.files.find(name).ok_or_else(missing)?;
        if !entry.shape().iter().copied().eq(shape.iter().map(|&size| size as u64)) {
            return Err(Error::TensorShape {
                file: entry.file().clone(),
                tensor: name.to_owned(),
                found: entry.shape().to_vec(),
                wanted: shape.to_vec(),
            });
        }
        let buffer = self.buffers[part].slice(entry.range())?;
        let tensor = Tensor::of(entry.dtype()?, shape, buffer)?.label(name.to_owned());
        self.taken.insert(name.to_owned());
        Ok(tensor)
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

/// One file of a model.
struct Part {
    gguf: Gguf,
    buffer: Buffer,
}

impl Part {
    fn open(path: &Path, device: &Device, access: Access) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let gguf = Gguf::parse(path, file.bytes())?;
        let buffer = match access {
            Access::Mapped => device.adopt_file(&file)?,
            Access::Read => read(path, file.bytes().len(), device)?,
        };
        Ok(Self { gguf, buffer })
    }
}

/// Reads all of a file into memory of a device.
fn read(path: &Path, len: usize, device: &Device) -> Result<Buffer> {
    let io =
        |source: std::io::Error| Error::Io { file: path.into(), action: "read", source: Arc::new(source) };
    let label = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let buffer = device.alloc(Request::new(len as u64).tag(Tag::Weights).label(label))?;
    File::open(path)
        .and_then(|mut file| {
            let mut bytes = buffer.write::<u8>().map_err(std::io::Error::other)?;
            file.read_exact(&mut bytes)
        })
        .map_err(io)?;
    Ok(buffer)
}
