//! Which device has which layers of a model: one device all of them, or several that come one after another.
//!
//! It counts layers and knows nothing of what is in one. Next room: `weights`, which bring tensors to their devices.

use std::ops::Range;

use forebay_device::Device;

use crate::error::{Error, Result};

/// Devices in the order in which a model goes through them.
///
/// The first one takes in tokens, and the last one gives logits.
///
/// ```
/// use forebay::formats::placement::Placement;
/// use forebay_device::{Device, DeviceOptions};
///
/// let (cpu, card) = (Device::open(&DeviceOptions::cpu())?, Device::open(&DeviceOptions::null())?);
/// let legs = Placement::on(&cpu).then(&card, 20).legs(36)?;
/// assert_eq!((&legs[0].layers, &legs[1].layers), (&(0..16), &(16..36)));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Placement {
    first: Device,
    others: Vec<(Device, usize)>,
}

/// Layers of a model that come one after another and are on one device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leg {
    /// The device.
    pub device: Device,
    /// Its number among the devices of the placement.
    pub number: usize,
    /// The layers.
    pub layers: Range<usize>,
}

impl Placement {
    /// All layers on a device.
    pub fn on(device: &Device) -> Self {
        Self { first: device.clone(), others: Vec::new() }
    }

    /// So many of the last layers, and the output behind them, on another device instead: those that were there come before them.
    #[must_use]
    pub fn then(mut self, device: &Device, layers: usize) -> Self {
        self.others.push((device.clone(), layers));
        self
    }

    /// The legs of a model of so many layers. A device that is left without layers has no part in it.
    ///
    /// # Errors
    /// [`Error::Option`] if the model has fewer layers than are asked for.
    pub fn legs(&self, layers: usize) -> Result<Vec<Leg>> {
        let asked = self.others.iter().fold(0usize, |all, (_, count)| all.saturating_add(*count));
        let Some(rest) = layers.checked_sub(asked) else {
            let wanted = format!("at most {layers}, as many as the model has, where {asked} are asked for");
            return Err(Error::Option { name: "gpu_layers", wanted });
        };
        let counts =
            [(&self.first, rest)].into_iter().chain(self.others.iter().map(|(on, count)| (on, *count)));
        let mut next = 0;
        let legs = counts.enumerate().map(|(number, (device, count))| {
            let first = next;
            next += count;
            Leg { device: device.clone(), number, layers: first..next }
        });
        Ok(legs.filter(|leg| !leg.layers.is_empty() || layers == 0).take(layers.max(1)).collect())
    }

    /// The devices, in order.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        [&self.first].into_iter().chain(self.others.iter().map(|(device, _)| device))
    }

    pub(crate) fn first(&self) -> &Device {
        &self.first
    }

    /// The device that gives logits, and how many layers it is to have: all, if there is no other.
    pub(crate) fn last(&self) -> (&Device, usize) {
        self.others.last().map_or((&self.first, usize::MAX), |(device, layers)| (device, *layers))
    }
}

impl From<&Device> for Placement {
    fn from(device: &Device) -> Self {
        Self::on(device)
    }
}

impl From<&Self> for Placement {
    fn from(placement: &Self) -> Self {
        placement.clone()
    }
}

#[cfg(test)]
mod tests {
    use forebay_device::DeviceOptions;

    use super::*;

    #[test]
    fn layers_follow_one_another_and_idle_devices_are_left_out() {
        let device = Device::open(&DeviceOptions::null()).unwrap();
        let legs = |counts: &[usize], layers| -> Result<Vec<[usize; 2]>> {
            let placement = counts.iter().fold(Placement::on(&device), |on, count| on.then(&device, *count));
            Ok(placement.legs(layers)?.into_iter().map(|leg| [leg.layers.start, leg.layers.end]).collect())
        };
        assert_eq!(legs(&[], 5).unwrap(), [[0, 5]]);
        assert_eq!(legs(&[2], 5).unwrap(), [[0, 3], [3, 5]]);
        assert_eq!(legs(&[2, 0, 1], 5).unwrap(), [[0, 2], [2, 4], [4, 5]]);
        assert_eq!(legs(&[5], 5).unwrap(), [[0, 5]]);
        assert_eq!(legs(&[0], 5).unwrap(), [[0, 5]]);
        assert_eq!(legs(&[0, 0], 0).unwrap(), [[0, 0]]);
        for counts in [&[6][..], &[3, 3], &[usize::MAX, 2]] {
            let error = legs(counts, 5).unwrap_err().to_string();
            assert!(error.contains("option gpu_layers must be at most 5"), "{error}");
        }
    }
}
