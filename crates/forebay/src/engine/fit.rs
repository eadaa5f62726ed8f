//! How many layers of a model fit a device: the model is put together on devices that have sizes and no bytes.
//!
//! So it is the models that say what they take, and there are no rules here to fall behind them. Next room:
//! `formats::placement`, for which layers go where.

use std::path::Path;

use forebay_device::{Device, Error as DeviceError};
use forebay_tensor::DType;

use super::{CHUNKS, EngineOptions, needs::nowhere};
use crate::{
    error::{Error, Result},
    formats::{
        placement::Placement,
        weights::{Blueprint, Weights},
    },
    generate::step::{SequenceOptions, leg},
    models::{self, activations::Activations},
};

/// How many layers of a model fit a device, counted from the last one, with the output behind it and the cache of a text.
///
/// ```no_run
/// use forebay::{EngineOptions, Fit};
/// use forebay_device::{Device, DeviceOptions};
///
/// let card = Device::open(&DeviceOptions::cuda())?;
/// let fit = Fit::of("model.gguf", &card, &EngineOptions::default())?;
/// println!("{} of {} layers fit", fit.layers, fit.of);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fit {
    /// Layers that fit.
    pub layers: usize,
    /// Layers of the model.
    pub of: usize,
    /// Positions of the text.
    pub context: usize,
    /// Bytes that those layers take.
    pub bytes: u64,
    /// Bytes that the whole model takes.
    pub whole: u64,
}

impl Fit {
    /// What of a model fits a device on which there is nothing else yet. The model is not loaded, and the device of the options is
    /// not looked at.
    ///
    /// # Errors
    /// As [`Engine::open_with`](super::Engine::open_with), but that nothing can be too large.
    pub fn of(path: impl AsRef<Path>, device: &Device, options: &EngineOptions) -> Result<Self> {
        let weights = Weights::open(path, device, options.access, options.precision)?;
        Fitting::new(&weights, device, options).fit(usize::MAX, |bytes| device.pool().would_fit(bytes))
    }
}

/// What it takes to find out.
#[derive(Debug)]
pub(super) struct Fitting {
    blueprint: Blueprint,
    /// The device that is short of memory.
    device: Device,
    context: Option<usize>,
    kv: DType,
}

/// What layers take on a device.
struct Taken {
    layers: usize,
    context: usize,
    weights: u64,
    /// With a text.
    all: u64,
}

impl Fitting {
    pub(super) fn new(weights: &Weights, device: &Device, options: &EngineOptions) -> Self {
        let EngineOptions { context, kv, .. } = *options;
        Self { blueprint: weights.blueprint(), device: device.clone(), context, kv }
    }

    /// Refuses what can never fit before any of it is loaded: so many of the last layers, without a text. Where the device sees the
    /// host's memory, weights need not be in memory at all.
    pub(super) fn check(&self, layers: usize) -> Result<()> {
        if self.device.caps().unified {
            return Ok(());
        }
        let taken = self.take(layers)?;
        let fits = |bytes| self.device.pool().would_fit(bytes);
        if fits(taken.weights) { Ok(()) } else { Err(self.refuse(layers, fits, None)?) }
    }

    /// Has an error say what would fit, if so many layers did not. A CPU that is to have all of them has no other device beside it.
    pub(super) fn explain(&self, layers: usize, error: Error) -> Error {
        if layers == usize::MAX && self.device.caps().unified {
            return error;
        }
        let most = match &error {
            Error::Device(DeviceError::LimitExceeded(report)) if report.tag.is_empty() => report.limit,
            Error::Device(DeviceError::Exhausted(report)) if !self.device.caps().unified => report.reserved,
            Error::Device(DeviceError::TooLarge { most, .. }) if !self.device.caps().unified => *most,
            _ => return error,
        };
        let source = match &error {
            Error::Device(source) => Some(source.clone()),
            _ => None,
        };
        match self.refuse(layers, |bytes| bytes <= most, source) {
            Ok(refusal) if matches!(refusal, Error::DoesNotFit { layers: fit, of, .. } if fit < layers.min(of)) => {
                refusal
            }
            // It is not for want of memory for one text, or nobody can tell.
            _ => error,
        }
    }

    fn refuse(
        &self,
        layers: usize,
        fits: impl Fn(u64) -> bool,
        source: Option<DeviceError>,
    ) -> Result<Error> {
        let Fit { layers, of, context, .. } = self.fit(layers, fits)?;
        Ok(Error::DoesNotFit { device: self.device.caps().name.clone(), layers, of, context, source })
    }

    /// The most layers, up to so many, that fit.
    fn fit(&self, most: usize, fits: impl Fn(u64) -> bool) -> Result<Fit> {
        let whole = self.take(usize::MAX)?;
        // Those that fit, and those that may.
        let (mut low, mut high) = (0, most.min(whole.layers));
        let mut bytes = 0;
        while low < high {
            let middle = (low + high).div_ceil(2);
            let taken = self.take(middle)?;
            match fits(taken.all) {
                true => (low, bytes) = (middle, taken.all),
                false => high = middle - 1,
            }
        }
        Ok(Fit { layers: low, of: whole.layers, context: whole.context, bytes, whole: whole.all })
    }

    /// What so many of the last layers take, or all if there are not so many.
    fn take(&self, layers: usize) -> Result<Taken> {
        let [nowhere, there] = [nowhere()?, nowhere()?];
        let placement = match layers {
            usize::MAX => Placement::on(&there),
            layers => Placement::on(&nowhere).then(&there, layers),
        };
        let (weights, counts) = self.blueprint.on(placement);
        let model = models::load(weights)?;
        let (sizes, last) = (model.sizes(), model.legs().len() - 1);
        let context = self.context.unwrap_or(sizes.context.min(super::CONTEXT)).min(sizes.context);
        let is_whole = last == 0;
        let chunk = CHUNKS.of(&self.device, is_whole);
        let options = SequenceOptions { context, kv: self.kv, chunk, ..SequenceOptions::default() };
        let weights = counts.of(last);
        let before = there.pool().stats().taken;
        let held = leg::memory(&there, model.as_ref(), last, &options)?;
        let text = there.pool().stats().taken - before;
        drop(held);
        let extra = Activations::extra(&self.device, sizes, chunk.min(context));
        let taken = Taken { layers: layers.min(sizes.layers), context, weights, all: weights + text + extra };
        // Without layers a device has no part in the model.
        Ok(if layers == 0 { Taken { weights: 0, all: 0, ..taken } } else { taken })
    }
}

#[cfg(test)]
mod tests {
    use forebay_device::{DeviceOptions, NullOptions};

    use super::{super::tests::model, *};
    use crate::Engine;

    /// A card of so many bytes, of a kind that computes nothing.
    fn card(bytes: u64) -> Device {
        let null = NullOptions::default().memory(bytes).backed(false);
        null.open(&DeviceOptions::null()).unwrap().0
    }

    fn options() -> EngineOptions {
        EngineOptions::default().kv(DType::F32)
    }

    fn fitting(device: &Device) -> Fitting {
        let weights = Weights::of_bytes("tiny", model(""), device, crate::formats::weights::Precision::Fast);
        Fitting::new(&weights.unwrap(), device, &options())
    }

    #[test]
    fn layers_take_what_they_are_made_of() {
        let fitting = fitting(&card(1 << 30));
        let [none, one, two, all] = [0, 1, 2, usize::MAX].map(|layers| fitting.take(layers).unwrap());
        assert_eq!([none.layers, one.layers, two.layers, all.layers], [0, 1, 2, 2]);
        assert_eq!((none.weights, none.all), (0, 0));
        assert_eq!((two.weights, two.all), (all.weights, all.all));
        // The head is the embedding, which is on both devices where the first one has layers, and nine weights are in a layer.
        let granules = |floats: usize| (4 * floats as u64).next_multiple_of(256);
        let (table, norm) = (granules(10 * 8), granules(8));
        let layer = 2 * norm + 2 * granules(64) + 2 * granules(32) + 3 * granules(96);
        assert_eq!(one.weights, table + norm + layer);
        assert_eq!(all.weights, table + norm + 2 * layer);
        // Keys and values of 32 positions.
        assert_eq!(all.all - all.weights, one.all - one.weights + 2 * granules(32 * 4));
    }

    #[test]
    fn the_most_layers_are_found_for_any_size() {
        let fitting = fitting(&card(1 << 30));
        let [one, all] = [1, 2].map(|layers| fitting.take(layers).unwrap().all);
        for (most, layers) in [(0, 0), (one - 1, 0), (one, 1), (all - 1, 1), (all, 2), (u64::MAX, 2)] {
            let fit = fitting.fit(usize::MAX, |bytes| bytes <= most).unwrap();
            assert_eq!((fit.layers, fit.of, fit.context, fit.whole), (layers, 2, 32, all), "{most}");
            assert!(fit.bytes <= most);
        }
        assert_eq!(fitting.fit(1, |_| true).unwrap().layers, 1);
    }

    #[test]
    fn what_cannot_fit_is_refused_before_it_is_loaded() {
        let small = card(1 << 12);
        let error = Engine::open_bytes(&small, "tiny", model(""), &options()).unwrap_err();
        assert!(
            matches!(error, Error::DoesNotFit { layers: 0, of: 2, context: 32, source: None, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("no layer of the model fits"), "{error}");
        assert_eq!(small.pool().stats().live, 0);

        let fitting = fitting(&card(1 << 30));
        assert!(fitting.check(usize::MAX).is_ok() && fitting.check(0).is_ok());
        assert!(matches!(fitting.check(3), Err(Error::Option { name: "gpu_layers", .. })));
        let one = fitting.take(1).unwrap().all;
        let error = fitting.refuse(usize::MAX, |bytes| bytes <= one, None).unwrap().to_string();
        assert!(error.contains("1 of 2 layers fit") && error.contains("--gpu-layers 1"), "{error}");
    }

    #[test]
    fn a_device_that_runs_out_of_memory_says_what_would_have_fit() {
        let fitting = fitting(&card(1 << 30));
        let report = |limit, reserved| {
            let mut report = forebay_device::MemoryReport::default();
            (report.limit, report.reserved) = (limit, reserved);
            Box::new(report)
        };
        let [one, all] = [1, 2].map(|layers| fitting.take(layers).unwrap().all);
        let told = |error| fitting.explain(usize::MAX, Error::Device(error)).to_string();
        let limited = told(DeviceError::LimitExceeded(report(all - 1, 0)));
        assert!(
            limited.starts_with("memory limit reached") && limited.contains("1 of 2 layers fit"),
            "{limited}"
        );
        let exhausted = told(DeviceError::Exhausted(report(u64::MAX, one)));
        assert!(
            exhausted.starts_with("out of device memory") && exhausted.contains("--gpu-layers 1"),
            "{exhausted}"
        );
        // One that has room for a text is out of memory for another reason.
        for error in [DeviceError::LimitExceeded(report(all, 0)), DeviceError::Cancelled] {
            assert_eq!(told(error.clone()), error.to_string());
        }
        let one_asked = fitting.explain(1, Error::Device(DeviceError::Exhausted(report(0, one))));
        assert!(matches!(one_asked, Error::Device(_)));
    }
}
