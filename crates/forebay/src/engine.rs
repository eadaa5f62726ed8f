//! The paved path: open a model file, generate text.
//!
//! An engine is a model, its tokenizer and a device; sequences and generations are made from it, as many as memory
//! allows. It never prints. What it puts together is in `formats`, `models` and `generate`.
//! Next rooms: `generation`, the loop that gives tokens out; `several` for that of many texts at once; `chat` for conversations.

mod chat;
mod fit;
mod generation;
mod importance;
mod needs;
mod open;
mod outlet;
mod several;

use std::{borrow::Cow, path::Path, sync::Arc};

use forebay_device::{Device, DeviceOptions};
use forebay_tensor::{DType, Ops};

use crate::{
    error::{Error, Result},
    formats::{
        placement::Placement,
        settings::Settings,
        weights::{Access, Precision, Progress, Warning, Weights},
    },
    generate::{
        batch::Batch,
        sampler::{Greedy, Sampler},
        step::{Sequence, SequenceOptions},
        stop::StopRule,
        template::Template,
        tokenizer::Tokenizer,
    },
    models::{self, Model},
};
use fit::Fitting;
use generation::Held;
use open::{Opened, TemplateSource};

pub use chat::Chat;
pub use fit::Fit;
pub use generation::{Generation, Piece, Timings};
pub use importance::ImportanceOptions;
pub use needs::{Needs, Outline};
pub use several::Several;

/// How a model is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// The device.
    pub device: DeviceOptions,
    /// How many of the last layers are on the device, with the output behind them; the others are on the CPU. If not given, all.
    pub gpu_layers: Option<usize>,
    /// Positions of a sequence; none is what the model was made for, 4096 at most.
    pub context: Option<usize>,
    /// Type of the cache of keys and values: f32, f16, bf16, q8_0 or q4_0.
    pub kv: DType,
    /// How the bytes of the file come to the device.
    pub access: Access,
    /// What products with quantised weights are computed in.
    pub precision: Precision,
    /// Told how far loading has come.
    pub progress: Option<Progress>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: DeviceOptions::cpu(),
            gpu_layers: None,
            context: None,
            kv: DType::F16,
            access: Access::Mapped,
            precision: Precision::Fast,
            progress: None,
        }
    }
}

impl EngineOptions {
    /// The device.
    #[must_use]
    pub fn device(mut self, device: DeviceOptions) -> Self {
        self.device = device;
        self
    }

    /// So many of the last layers are on the device, with the output behind them, and the others on the CPU.
    #[must_use]
    pub fn gpu_layers(mut self, layers: usize) -> Self {
        self.gpu_layers = Some(layers);
        self
    }

    /// Positions of a sequence.
    #[must_use]
    pub fn context(mut self, context: usize) -> Self {
        self.context = Some(context);
        self
    }

    /// Type of the cache of keys and values.
    #[must_use]
    pub fn kv(mut self, kv: DType) -> Self {
        self.kv = kv;
        self
    }

    /// How the bytes of the file come to the device.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What products with quantised weights are computed in.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Told how far loading has come.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Where layers go if `device` is the device.
    fn placement(&self, device: &Device) -> Result<Placement> {
        let Some(layers) = self.gpu_layers else { return Ok(device.into()) };
        let mut rest = DeviceOptions::cpu();
        rest.threads = self.device.threads;
        Ok(Placement::on(&Device::open(&rest)?).then(device, layers))
    }
}

/// Positions of a sequence, if the model was made for so many and nobody says otherwise.
const CONTEXT: usize = 4096;
/// Tokens of a prompt that are computed at a time.
const CHUNKS: Chunks = Chunks { card: 2048, shared: 512 };

struct Chunks {
    /// On a card, most of which fewer would leave idle.
    card: usize,
    /// On a card and other devices, which compute one chunk while the card computes another.
    shared: usize,
}

impl Chunks {
    /// Where this device has the last layers of a model, or all of it.
    fn of(&self, device: &Device, is_whole: bool) -> usize {
        match (device.caps().unified, is_whole) {
            (true, _) => SequenceOptions::default().chunk,
            (false, true) => self.card,
            (false, false) => self.shared,
        }
    }
}

/// A model that is ready to run.
///
/// ```no_run
/// use forebay::{Engine, generate::stop::StopRule};
///
/// let engine = Engine::open("model.gguf")?;
/// for piece in engine.generate("Once upon a time", StopRule::after(64))? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct Engine {
    device: Device,
    /// For each leg of the model.
    ops: Vec<Arc<Ops>>,
    /// Where a text may find no memory for its cache.
    fitting: Option<Fitting>,
    model: Arc<dyn Model>,
    tokenizer: Tokenizer,
    settings: Settings,
    template: Option<TemplateSource>,
    warnings: Vec<Warning>,
    context: usize,
    kv: DType,
}

impl Engine {
    /// Opens a model on the CPU: a GGUF file, or the first of several; a folder as Hugging Face or MLX have it; or a folder
    /// with one GGUF model.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &EngineOptions::default())
    }

    /// Opens a model.
    ///
    /// # Errors
    /// Those of the device, of [`Weights::open`](crate::formats::weights::Weights::open), of [`models::load`] and of [`Tokenizer::open`];
    /// [`Error::Vocabulary`] where tokens have no row in the model.
    pub fn open_with(path: impl AsRef<Path>, options: &EngineOptions) -> Result<Self> {
        Self::open_on(&Device::open(&options.device)?, path, options)
    }

    /// Opens a model on a device that is open already. Of the device of the options, only the threads are looked at, and only
    /// where some layers are to be on the CPU.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open_on(device: &Device, path: impl AsRef<Path>, options: &EngineOptions) -> Result<Self> {
        Self::open_placed(&options.placement(device)?, path, options)
    }

    /// Opens a model on several devices that are open already; no device of the options is looked at.
    ///
    /// ```no_run
    /// use forebay::{Engine, EngineOptions, formats::placement::Placement};
    /// use forebay_device::{Device, DeviceOptions};
    ///
    /// let [cpu, first, second] =
    ///     [DeviceOptions::cpu(), DeviceOptions::cuda(), DeviceOptions::cuda().ordinal(1)].map(|of| Device::open(&of));
    /// let placement = Placement::on(&cpu?).then(&first?, 30).then(&second?, 40);
    /// let engine = Engine::open_placed(&placement, "model.gguf", &EngineOptions::default())?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open_placed(
        placement: &Placement,
        path: impl AsRef<Path>,
        options: &EngineOptions,
    ) -> Result<Self> {
        Self::load(Opened::find(path.as_ref(), placement, options)?, placement, options)
    }

    /// Opens a GGUF file that is in memory already, under a name for messages: a program may carry its model.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open_bytes(
        device: &Device,
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
        options: &EngineOptions,
    ) -> Result<Self> {
        let placement = options.placement(device)?;
        let weights = Weights::of_bytes(name, bytes, &placement, options.precision)?;
        Self::load(Opened::of_gguf(weights, options)?, &placement, options)
    }

    fn load(opened: Opened, placement: &Placement, options: &EngineOptions) -> Result<Self> {
        let Opened { weights, tokenizer, settings, template } = opened;
        // Before the weights, which take their time.
        let open = |device| Ok(Arc::new(Ops::open(device)?));
        let ops: Vec<Arc<Ops>> = placement.devices().map(open).collect::<Result<_>>()?;
        let (warnings, file) = (weights.warnings().to_vec(), weights.file().clone());
        let (last, asked) = placement.last();
        let fitting = Fitting::new(&weights, last, options);
        fitting.check(asked)?;
        let model = models::load(weights).map_err(|error| fitting.explain(asked, error))?;
        let model: Arc<dyn Model> = model.into();
        open::check_rows(&tokenizer, model.sizes().vocabulary, &file)?;
        let context = options.context.unwrap_or_else(|| model.sizes().context.min(CONTEXT));
        let kv = options.kv;
        let legs = model.legs();
        let device = legs.last().map_or(placement.first(), |leg| &leg.device).clone();
        let ops = legs.iter().filter_map(|leg| ops.get(leg.number).cloned()).collect();
        let fitting = (!device.caps().unified).then_some(fitting);
        Ok(Self { ops, fitting, device, model, tokenizer, settings, template, warnings, context, kv })
    }

    /// What a user should know of the model.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How the makers of the model want it to generate.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The chat template of the model, if it has one.
    ///
    /// # Errors
    /// [`Error::Template`] where it cannot be read.
    pub fn chat(&self) -> Result<Option<Chat<'_>>> {
        let read = |from: &TemplateSource| Template::new(&from.file, &from.source);
        Ok(self.template.as_ref().map(read).transpose()?.map(|template| Chat::new(self, template)))
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    /// The device that gives logits: the only one, or the last one that the model is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// An empty text, with the context and the cache of the engine's options.
    ///
    /// # Errors
    /// As [`Sequence::new`].
    pub fn sequence(&self) -> Result<Sequence> {
        self.sequence_with(&self.sequence_options())
    }

    /// The options of the engine's own sequences, to be changed.
    pub fn sequence_options(&self) -> SequenceOptions {
        let (context, kv, default) = (self.context, self.kv, SequenceOptions::default());
        let chunk = CHUNKS.of(&self.device, self.ops.len() == 1);
        SequenceOptions { context, kv, chunk, ..default }
    }

    /// An empty text.
    ///
    /// # Errors
    /// As [`Sequence::new`].
    pub fn sequence_with(&self, options: &SequenceOptions) -> Result<Sequence> {
        let made = Sequence::new(self.model.clone(), &self.ops, options);
        let legs = self.model.legs();
        let layers = legs.last().map_or(0, |leg| leg.layers.len());
        made.map_err(|error| match &self.fitting {
            Some(fitting) => fitting.explain(layers, error),
            None => error,
        })
    }

    /// Places for so many texts that take a token each at a time, with the context and the cache of the engine's options each.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn batch(&self, places: usize) -> Result<Batch> {
        self.batch_with(places, &self.sequence_options())
    }

    /// Places for so many texts that take a token each at a time.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn batch_with(&self, places: usize, options: &SequenceOptions) -> Result<Batch> {
        let ops = self.ops.last().ok_or(Error::OtherModel { what: "ops" })?;
        Batch::new(&self.device, self.model.clone(), ops.clone(), places, options)
    }

    /// Generations of which so many run at once; others wait for them to end.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn several(&self, at_once: usize) -> Result<Several<'_>> {
        Ok(Several::new(self, self.batch(at_once)?))
    }

    /// What follows this text, the largest logit each time.
    ///
    /// # Errors
    /// Those of the tokenizer, and of [`Sequence::feed`] for the prompt.
    pub fn generate(&self, prompt: &str, stop: StopRule) -> Result<Generation<'_>> {
        let ids = self.tokenizer.encode(prompt, true)?;
        self.generate_from(&ids, stop, Box::new(Greedy))
    }

    /// What follows these tokens.
    ///
    /// # Errors
    /// Those of [`Sequence::feed`] for the prompt.
    pub fn generate_from<'a>(
        &'a self,
        prompt: &[u32],
        stop: StopRule,
        sampler: Box<dyn Sampler + 'a>,
    ) -> Result<Generation<'a>> {
        let sequence = Held::Own(Box::new(self.sequence()?));
        Generation::begin(self, sequence, prompt, stop, sampler, &mut |_| {})
    }

    /// What follows these tokens, in a sequence that may have been used before: as much of its text as the prompt begins with is
    /// not computed again. `progress` is told how many tokens of the prompt are done.
    ///
    /// # Errors
    /// Those of [`Sequence::become_text`] for the prompt.
    pub fn generate_in<'a>(
        &'a self,
        sequence: &'a mut Sequence,
        prompt: &[u32],
        stop: StopRule,
        sampler: Box<dyn Sampler + 'a>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Generation<'a>> {
        Generation::begin(self, Held::Lent(sequence), prompt, stop, sampler, progress)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("device", &self.device)
            .field("sizes", self.model.sizes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod ahead_tests;
#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod importance_tests;
#[cfg(test)]
mod several_tests;
#[cfg(test)]
mod tests;
