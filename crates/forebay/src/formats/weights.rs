//! The tensors and weights of a model on its devices, by the names of one scheme: repacked for the device, mapped, or read.
//!
//! A weight that is repacked leaves no page of the file behind: what was read is forgotten while the rest is packed, so
//! that a model is never held twice. It counts what is taken, so that a model that leaves weights aside is noticed. It
//! never knows what a name means. Next room: `models`, which asks for the names.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use forebay_device::{BackendKind, Buffer, Device, GRANULE, Tag};
use forebay_tensor::{DType, Level, Tensor, Weight, WeightBytes, quant};

use super::{
    checkpoint::{Checkpoint, Layout},
    folder::Model,
    gguf::{self, Gguf, Metadata, Split},
    mlx,
    names::Naming,
    placement::{Leg, Placement},
    source::Source,
    stored::{Change, Kind, Rows, Stored},
    upload,
};
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
    /// Integers: activations are rounded to 8 bits in groups of 32, no coarser than llama.cpp does; for weights of MLX, whose
    /// engines do not round them, twice, what the first rounding took being the second number.
    #[default]
    Fast,
    /// Floats of 32 bits: weights are decoded, and activations stay as they are. Weights of MLX with a scale and a bias are
    /// decoded when they are loaded to a card, and take 32 bits each there.
    Strict,
}

/// What a user should know of a model that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The model has parts beside the one for text, which were left out.
    OtherParts {
        /// The file.
        file: Arc<Path>,
        /// What the parts are called.
        parts: Vec<&'static str>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherParts { file, parts } => {
                write!(f, "{}: text only; left out: {}", file.display(), parts.join(", "))
            }
        }
    }
}

/// Told, from time to time, how many bytes of a model are loaded, of how many.
///
/// ```
/// use forebay::formats::weights::Progress;
///
/// let progress = Progress::new(|done, all| println!("{} %", 100 * done / all.max(1)));
/// progress.tell(1, 2);
/// ```
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u64, u64) + Send + Sync>);

impl Progress {
    /// Has a function told, from the thread that loads: bytes that are done, and all.
    pub fn new(told: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// Tells it.
    pub fn tell(&self, done: u64, all: u64) {
        (self.0)(done, all);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// The weights of a model on its devices.
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
    placement: Placement,
    /// The devices, leg by leg, and which of them what is taken goes to.
    places: Vec<Place>,
    at: usize,
    precision: Precision,
    opened: Arc<Opened>,
    /// Where bytes are only counted, those of each leg.
    counts: Option<Counts>,
    taken: HashSet<String>,
    progress: Option<Progress>,
    /// Bytes of the tensors that were taken, and of all.
    done: u64,
    all: u64,
}

/// A device that tensors go to.
#[derive(Debug)]
struct Place {
    device: Device,
    /// The pages of each source as memory of the device, from the first tensor on that stays where it lies.
    pages: Vec<OnceLock<Buffer>>,
}

impl Place {
    fn new(device: &Device, sources: &[Source]) -> Self {
        Self { device: device.clone(), pages: sources.iter().map(|_| OnceLock::new()).collect() }
    }
}

impl Weights {
    /// Opens a GGUF file, and the other parts if it is one of several; or a folder with a `config.json` and safetensors
    /// files, as Hugging Face and MLX have them; or a folder with one GGUF model.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Device`] where a file cannot be read, [`Error::Folder`], [`Error::Format`] and
    /// [`Error::Set`] where it is not what it should be; for folders also those of a configuration that cannot be used:
    /// [`Error::Architecture`], [`Error::MissingKey`], [`Error::KeyValue`] and [`Error::Unsupported`].
    pub fn open(
        path: impl AsRef<Path>,
        placement: impl Into<Placement>,
        access: Access,
        precision: Precision,
    ) -> Result<Self> {
        let opened = match Model::find(path)? {
            Model::Gguf(path) => open_gguf(&path, access)?,
            Model::Folder(folder) => {
                let Checkpoint { metadata, file, sources, tensors, naming, warnings, .. } =
                    Checkpoint::open(&folder, access, Layout::Models)?;
                Opened { metadata, file, sources, tensors, naming: Some(naming), warnings }
            }
        };
        Ok(Self::new(opened, placement.into(), precision))
    }

    /// Takes a GGUF file that is in memory already, under a name for messages.
    ///
    /// # Errors
    /// [`Error::Format`] and [`Error::Set`] where it is not what it should be.
    pub fn of_bytes(
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
        placement: impl Into<Placement>,
        precision: Precision,
    ) -> Result<Self> {
        let bytes = bytes.into();
        let file = Gguf::parse(name, &bytes)?;
        Ok(Self::new(join(vec![(file, Source::Held(bytes))])?, placement.into(), precision))
    }

    fn new(opened: Opened, placement: Placement, precision: Precision) -> Self {
        Self::with(Arc::new(opened), placement, precision, None)
    }

    fn with(opened: Arc<Opened>, placement: Placement, precision: Precision, counts: Option<Counts>) -> Self {
        let all = opened.tensors.values().map(Stored::len).sum();
        let places = vec![Place::new(placement.first(), &opened.sources)];
        let (at, taken, progress, done) = (0, HashSet::new(), None, 0);
        Self { placement, places, at, precision, opened, counts, taken, progress, done, all }
    }

    /// What it takes to find out how the same model would lie on other devices.
    pub(crate) fn blueprint(&self) -> Blueprint {
        Blueprint { opened: self.opened.clone(), precision: self.precision }
    }

    /// Tells how far loading has come while tensors are taken.
    #[must_use]
    pub fn progress(mut self, progress: Option<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The metadata, of a folder under the keys that a GGUF file has.
    pub fn metadata(&self) -> &Metadata {
        &self.opened.metadata
    }

    /// The device that what is taken goes to.
    pub fn device(&self) -> &Device {
        &self.place().device
    }

    /// Lays out so many layers over the devices. What is taken from now on goes to the first leg, until
    /// [`go_to`](Self::go_to) says otherwise.
    ///
    /// # Errors
    /// As [`Placement::legs`].
    pub fn lay_out(&mut self, layers: usize) -> Result<Vec<Leg>> {
        let legs = self.placement.legs(layers)?;
        self.places = legs.iter().map(|leg| Place::new(&leg.device, &self.opened.sources)).collect();
        self.at = 0;
        Ok(legs)
    }

    /// Has what is taken from now on go to the device of this leg, or of the last one if there are not so many.
    pub fn go_to(&mut self, leg: usize) {
        self.at = leg.min(self.places.len() - 1);
    }

    /// Makes something on the device of each leg; goes on with the first.
    pub(crate) fn on_each<T>(&mut self, legs: &[Leg], make: impl Fn(&Self) -> Result<T>) -> Result<Vec<T>> {
        let on = |leg| {
            self.go_to(leg);
            make(self)
        };
        let made = (0..legs.len()).map(on).collect();
        self.go_to(0);
        made
    }

    /// Takes layer by layer, each on the device of its leg; stays with the last leg.
    ///
    /// # Errors
    /// Those of `take`.
    pub(crate) fn take_layers<T>(
        &mut self,
        legs: &[Leg],
        mut take: impl FnMut(&mut Self, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut taken = Vec::new();
        for (leg, Leg { layers, .. }) in legs.iter().enumerate() {
            self.go_to(leg);
            for layer in layers.clone() {
                taken.push(take(self, layer)?);
            }
        }
        Ok(taken)
    }

    fn place(&self) -> &Place {
        &self.places[self.at]
    }

    /// The file as it is named in messages: the first of several, or that which names them.
    pub fn file(&self) -> &Arc<Path> {
        &self.opened.file
    }

    /// What a user should know.
    pub fn warnings(&self) -> &[Warning] {
        &self.opened.warnings
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.opened.tensors.contains_key(name)
    }

    /// The tensor of this name as the file holds it, or, where that is in planes, as rows.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownType`], or [`Error::TensorShape`] if it has another shape; axes of one
    /// element do not count.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let stored = self.find(name, shape)?;
        let tensor = self.tensor(stored, shape)?;
        self.took(name, stored.len());
        Ok(tensor.label(name.to_owned()))
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
        let whole = self.find(name, &shape)?;
        // Checks the range, of elements that nobody holds.
        forebay_tensor::Layout::new(DType::U8, &shape)?.narrow(0, rows.clone())?;
        let shape = [rows.len(), shape[1]];
        let picked = Rows { first: rows.start as u64, count: rows.len() as u64, step: 1 };
        let stored = whole.pick(shape.map(|size| size as u64).to_vec(), [picked]);
        self.took_weight(name, &stored, shape)
    }

    /// The matrices of experts of this name, `[experts, rows, width]`, as [`take_weight`](Self::take_weight).
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_experts(&mut self, name: &str, shape: [usize; 3]) -> Result<Weight<3>> {
        let stored = self.find(name, &shape)?.clone();
        self.took_weight(name, &stored, shape)
    }

    /// The tensor of this name as f32, converted if the file holds another type: for the few small ones that ops want so.
    ///
    /// # Errors
    /// As [`take`](Self::take); [`Error::Tensor`] if its type cannot be converted.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let stored = self.find(name, shape)?;
        let plain = matches!(stored.kind, Kind::Plain(DType::F32)) && stored.change == Change::Nothing;
        let tensor = match plain {
            true => self.tensor(stored, shape)?,
            false => self.floats(shape, || self.decoded(stored))?,
        };
        self.took(name, stored.len());
        Ok(tensor.label(name.to_owned()))
    }

    /// The elements of the tensor of this name, on the host: for the few that are no part of any op.
    ///
    /// # Errors
    /// As [`take`](Self::take); [`Error::Tensor`] if its type cannot be converted.
    pub fn take_numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let stored = self.find(name, shape)?;
        let numbers = self.decoded(stored)?;
        self.took(name, stored.len());
        Ok(numbers)
    }

    /// Leaves aside the tensors whose names are such: parts of a model that nothing makes use of.
    pub fn leave(&mut self, such: impl Fn(&str) -> bool) {
        self.taken.extend(self.opened.tensors.keys().filter(|name| such(name)).cloned());
    }

    /// Ends the loading of a model that has taken all it uses.
    ///
    /// # Errors
    /// [`Error::UnusedTensors`] if there are others.
    pub fn finish(self) -> Result<()> {
        let mut left = self.opened.tensors.iter().filter(|(name, _)| !self.taken.contains(*name));
        match left.next() {
            None => {
                if let Some(progress) = &self.progress {
                    progress.tell(self.all, self.all);
                }
                Ok(())
            }
            Some((_, first)) => Err(Error::UnusedTensors {
                file: first.file.clone(),
                first: first.name.to_string(),
                count: 1 + left.count(),
            }),
        }
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<&Stored> {
        let Some(stored) = self.opened.tensors.get(name) else {
            let tensor = self.opened.naming.map_or_else(|| name.to_owned(), |naming| naming.original(name));
            return Err(Error::MissingTensor { file: self.opened.file.clone(), tensor });
        };
        let wanted = shape.iter().map(|&size| size as u64).filter(|size| *size != 1);
        if stored.shape.iter().copied().filter(|size| *size != 1).eq(wanted) {
            stored.known()?;
            return Ok(stored);
        }
        Err(Error::TensorShape {
            file: stored.file.clone(),
            tensor: stored.name.to_string(),
            found: stored.shape.clone(),
            wanted: shape.to_vec(),
        })
    }

    /// A matrix in the form that products on the device read best, and at this precision can.
    fn took_weight<const AXES: usize>(
        &mut self,
        name: &str,
        stored: &Stored,
        shape: [usize; AXES],
    ) -> Result<Weight<AXES>> {
        let packed = match (self.precision, &stored.kind, self.device().kind()) {
            (Precision::Fast, ..) => self.pack(stored, shape, name)?,
            // Their rows are in several pieces, which panels are not.
            (Precision::Strict, Kind::Planes { .. }, BackendKind::Cpu) => {
                self.pack(stored, shape, name)?.map(Weight::by_floats)
            }
            (Precision::Strict, ..) => None,
        };
        let weight = match packed {
            Some(weight) => weight,
            None => self.in_rows(stored, shape)?,
        };
        self.took(name, self.bytes_there(stored));
        Ok(weight.label(name.to_owned()))
    }

    /// Bytes that a matrix takes on a device: those of the file, unless it is decoded.
    fn bytes_there(&self, stored: &Stored) -> u64 {
        match (&stored.kind, self.precision) {
            // Bytes are counted for cards, which have no products of floats for panels.
            (Kind::Planes { dtype, .. }, Precision::Strict) if mlx::dtype_of_rows(*dtype) == DType::F32 => {
                4 * stored.shape.iter().product::<u64>()
            }
            _ => stored.len(),
        }
    }

    /// Counts what was taken and tells so.
    fn took(&mut self, name: &str, bytes: u64) {
        if let Some(counts) = &self.counts {
            counts.add(self.at, bytes);
        }
        self.taken.insert(name.to_owned());
        // A matrix may be taken twice, whole and in parts.
        self.done = (self.done + bytes).min(self.all);
        if let Some(progress) = &self.progress {
            progress.tell(self.done, self.all);
        }
    }

    /// Tells how far loading has come inside of a tensor.
    fn tell(&self, bytes: u64) {
        if let Some(progress) = &self.progress {
            progress.tell((self.done + bytes).min(self.all), self.all);
        }
    }

    /// A weight in panels; none where its type or its width gains nothing by it, or the device has no use for panels.
    fn pack<const AXES: usize>(
        &self,
        stored: &Stored,
        shape: [usize; AXES],
        name: &str,
    ) -> Result<Option<Weight<AXES>>> {
        let device = self.device();
        if !matches!(device.kind(), BackendKind::Cpu | BackendKind::Cuda) {
            return Ok(None);
        }
        let (dtype, scale_type) = match stored.kind {
            Kind::Plain(dtype) if dtype.block_elements() > 1 => (dtype, None),
            Kind::Planes { dtype, scale_type } => (dtype, Some(scale_type)),
            _ => return Ok(None),
        };
        let [codes, scales, biases] = [0, 1, 2].map(|plane| stored.bytes(&self.opened.sources, plane));
        let (codes, scales, biases) = (codes?, scales?, biases?);
        let bytes = match scale_type {
            None => WeightBytes::of(dtype, shape, &codes)?,
            Some(scale_type) => {
                let planes =
                    quant::mlx::Planes { codes: &codes, scales: &scales, biases: &biases, scale_type };
                WeightBytes::of_planes(dtype, shape, &planes)?
            }
        };
        if !bytes.gains() {
            return Ok(None);
        }
        let rows: usize = shape[..AXES - 1].iter().product();
        let row = stored.len() / (rows as u64).max(1);
        let weight = Weight::pack(device, &bytes, Level::best(), name.to_owned(), |rows| {
            stored.forget(&self.opened.sources, rows as u64);
            self.tell(rows as u64 * row);
        })?;
        Ok(Some(weight))
    }

    /// A weight in rows.
    fn in_rows<const AXES: usize>(&self, stored: &Stored, shape: [usize; AXES]) -> Result<Weight<AXES>> {
        let weight = Weight::rows(&self.tensor(stored, &shape)?)?;
        Ok(match (self.precision, self.device().kind()) {
            (Precision::Fast, BackendKind::Cpu) => weight.by_integers(),
            _ => weight,
        })
    }

    /// A tensor of rows.
    fn tensor(&self, stored: &Stored, shape: &[usize]) -> Result<Tensor> {
        let device = self.device();
        let dtype = match stored.kind {
            Kind::Plain(dtype) if stored.change == Change::Nothing => dtype,
            Kind::Planes { dtype, .. } if stored.change == Change::Nothing => mlx::dtype_of_rows(dtype),
            _ => return self.floats(shape, || self.decoded(stored)),
        };
        if let (Kind::Plain(dtype), Some((file, range))) = (&stored.kind, stored.range(0))
            && let Some(buffer) = self.lying(file, *dtype, range)?
        {
            return Ok(Tensor::of(*dtype, shape, buffer)?);
        }
        let request = Tensor::request(dtype, shape)?.tag(Tag::Weights);
        let large = stored.len() > SMALL;
        let buffer = device.alloc(if large { request.exact() } else { request })?;
        if self.counts.is_some() {
            return Ok(Tensor::of(dtype, shape, buffer)?);
        }
        match device.caps().unified {
            true => upload::fill(&buffer, stored, &self.opened.sources)?,
            false => upload::fill_in_parts(&buffer, stored, &self.opened.sources, upload::PART, |bytes| {
                self.tell(bytes);
            })?,
        }
        Ok(Tensor::of(dtype, shape, buffer)?)
    }

    /// Numbers on the device; where bytes are only counted, nobody makes them.
    fn floats(&self, shape: &[usize], numbers: impl FnOnce() -> Result<Vec<f32>>) -> Result<Tensor> {
        if self.counts.is_none() {
            return Ok(Tensor::from_slice(self.device(), shape, &numbers()?)?);
        }
        let request = Tensor::request(DType::F32, shape)?;
        Ok(Tensor::of(DType::F32, shape, self.device().alloc(request)?)?)
    }

    /// Numbers of a model that are in no file, on the device.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn put(&self, numbers: &[f32]) -> Result<Tensor> {
        self.floats(&[numbers.len()], || Ok(numbers.to_vec()))
    }

    /// The bytes where they lie, unless they are few, or where no kernel could read them, or the device does not see them.
    fn lying(&self, file: usize, dtype: DType, range: Range<u64>) -> Result<Option<Buffer>> {
        let align = 1 << dtype.block_bytes().trailing_zeros();
        let Place { device, pages } = self.place();
        let seen = device.caps().unified && range.start.is_multiple_of(align);
        match seen && range.end - range.start > SMALL {
            true => self.opened.sources[file].pages(device, &pages[file], range),
            false => Ok(None),
        }
    }

    /// The elements on the host, as the models here expect them.
    fn decoded(&self, stored: &Stored) -> Result<Vec<f32>> {
        let mut decoded = vec![0.0; stored.shape.iter().product::<u64>() as usize];
        stored.decode(&self.opened.sources, &mut decoded)?;
        Ok(decoded)
    }
}

/// Tensors up to this many bytes are copied, so that no page of a mapped file stays for their sake.
const SMALL: u64 = 1 << 20;

/// A model of which only sizes are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    opened: Arc<Opened>,
    precision: Precision,
}

/// Bytes of weights that each leg of a model takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<Vec<u64>>>);

impl Blueprint {
    /// The weights on devices without bytes, and where it is counted how many they would be.
    pub(crate) fn on(&self, placement: Placement) -> (Weights, Counts) {
        let counts = Counts::default();
        let opened = self.opened.clone();
        (Weights::with(opened, placement, self.precision, Some(counts.clone())), counts)
    }
}

impl Counts {
    /// The bytes of a leg.
    pub(crate) fn of(&self, leg: usize) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(leg).copied().unwrap_or(0)
    }

    fn add(&self, leg: usize, bytes: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() <= leg {
            counts.resize(leg + 1, 0);
        }
        counts[leg] += bytes.next_multiple_of(GRANULE);
    }
}

/// What was found of a model.
#[derive(Debug)]
struct Opened {
    metadata: Metadata,
    /// The file, or the first of several, or that which names them.
    file: Arc<Path>,
    sources: Vec<Source>,
    tensors: BTreeMap<String, Stored>,
    /// What a folder calls the tensors; none where the names are the scheme's.
    naming: Option<Naming>,
    warnings: Vec<Warning>,
}

fn open_gguf(path: &Path, access: Access) -> Result<Opened> {
    let open = |path: &Path| Source::open(path, access, |bytes| Gguf::parse(path, bytes));
    let mut parts = vec![open(path)?];
    let paths = gguf::part_paths(&parts[0].0)?;
    if paths.len() > 1 {
        // The user may have named any part; the set is read from its first on.
        parts = paths.iter().map(|path| open(path)).collect::<Result<_>>()?;
    }
    join(parts)
}

/// The names of the two tensors of experts that are one in a file: gates first.
fn halves(name: &str) -> Option<[String; 2]> {
    let (before, after) = name.split_once("ffn_gate_up_exps.")?;
    Some(["gate", "up"].map(|half| format!("{before}ffn_{half}_exps.{after}")))
}

/// The parts of a model as one.
fn join(parts: Vec<(Gguf, Source)>) -> Result<Opened> {
    let (ggufs, sources): (Vec<Gguf>, Vec<Source>) = parts.into_iter().unzip();
    let files = Split::join(ggufs)?;
    let tensors = files.tensors().flat_map(|(part, tensor)| {
        let stored = Stored::of_gguf(part, tensor);
        match halves(tensor.name()).zip(stored.halves()) {
            Some((names, halves)) => names.into_iter().zip(halves).collect(),
            None => vec![(tensor.name().to_owned(), stored)],
        }
    });
    let tensors = tensors.collect();
    let metadata = files.into_metadata();
    let file = metadata.file().clone();
    Ok(Opened { metadata, file, sources, tensors, naming: None, warnings: Vec::new() })
}
