//! What a model is and what a sequence takes beside its weights, found out without a device: both are made on one that has
//! sizes and no bytes. Next room: `fit`, for how much of a model fits.

use std::path::Path;

use forebay_device::{Device, DeviceOptions, NullOptions, Tag};

use super::{CONTEXT, EngineOptions, open};
use crate::{
    error::Result,
    formats::placement::Placement,
    generate::step::{SequenceOptions, leg},
    models::{self, Model, Sizes, cache::Keeps},
};

/// What a model is and takes, of which nothing was loaded.
///
/// ```no_run
/// use forebay::{EngineOptions, Outline};
///
/// let outline = Outline::of("model.gguf", &EngineOptions::default())?;
/// println!("{} layers, {} bytes of cache", outline.sizes.layers, outline.needs.cache);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outline {
    /// Its sizes.
    pub sizes: Sizes,
    /// What each layer keeps of a text.
    pub keeps: Vec<Keeps>,
    /// Positions of a text by the options.
    pub context: usize,
    /// What such a text takes.
    pub needs: Needs,
}

impl Outline {
    /// The model that a path names, with a text on the CPU. The device of the options is not looked at.
    ///
    /// # Errors
    /// As [`Engine::open_with`](super::Engine::open_with), but for those of the device.
    pub fn of(path: impl AsRef<Path>, options: &EngineOptions) -> Result<Self> {
        let placement = Placement::on(&nowhere()?);
        let open::Opened { weights, tokenizer, .. } = open::Opened::find(path.as_ref(), &placement, options)?;
        let (weights, _) = weights.blueprint().on(placement);
        let file = weights.file().clone();
        let model = models::load(weights)?;
        let sizes = *model.sizes();
        open::check_rows(&tokenizer, sizes.vocabulary, &file)?;
        let context = options.context.unwrap_or(sizes.context.min(CONTEXT));
        let text = SequenceOptions { context, kv: options.kv, ..SequenceOptions::default() };
        Ok(Self { sizes, keeps: model.keeps(), context, needs: Needs::of(model.as_ref(), &text)? })
    }
}

/// A device that has sizes and no bytes.
pub(super) fn nowhere() -> Result<Device> {
    Ok(NullOptions::default().memory(1 << 50).backed(false).open(&DeviceOptions::null())?.0)
}

/// Memory that a sequence takes.
///
/// ```no_run
/// use forebay::{Engine, Needs};
///
/// let engine = Engine::open("model.gguf")?;
/// let needs = Needs::of(engine.model(), &engine.sequence_options())?;
/// println!("{} bytes of cache, {} of activations", needs.cache, needs.activations);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Bytes for what every position leaves behind.
    pub cache: u64,
    /// Bytes for what lies between ops.
    pub activations: u64,
}

impl Needs {
    /// What a sequence of this model takes, on all of its devices together.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) for sizes that no memory holds.
    pub fn of(model: &dyn Model, options: &SequenceOptions) -> Result<Self> {
        let device = nowhere()?;
        let legs = 0..model.legs().len();
        let held: Vec<_> =
            legs.map(|leg| leg::memory(&device, model, leg, options)).collect::<Result<_>>()?;
        let live = device.pool().stats().by_tag;
        drop(held);
        let of = |tag: Tag| {
            Tag::ALL.iter().zip(live).filter(|(other, _)| **other == tag).map(|(_, bytes)| bytes).sum()
        };
        Ok(Self { cache: of(Tag::Kv), activations: of(Tag::Activations) })
    }
}
