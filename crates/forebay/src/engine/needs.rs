//! What a sequence takes beside the weights, found out without a device: its buffers are made on one that has sizes and no bytes.

use forebay_device::{DeviceOptions, NullOptions, Tag};

use crate::{
    error::Result,
    generate::step::{SequenceOptions, leg},
    models::Model,
};

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
        let null = NullOptions::default().memory(1 << 50).backed(false);
        let (device, _) = null.open(&DeviceOptions::null())?;
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
