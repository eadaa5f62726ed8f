//! Tables of frequencies, and the schemes that stretch them beyond the context a model was trained for.
//!
//! Nothing here touches a device.

use std::f64::consts::TAU;

/// How frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scaling {
    /// Not at all.
    None,
    /// All are divided by the same number.
    Linear(f32),
    /// Each is divided by its own number.
    Factors(Vec<f32>),
    /// Low ones are divided, high ones stay, and those in between are blended by their wavelength, as in Llama 3.
    Bands {
        /// What low frequencies are divided by.
        factor: f32,
        /// Wavelengths in the original context below which a frequency is low.
        low: f32,
        /// Wavelengths in the original context above which a frequency is high.
        high: f32,
        /// Positions that the model was trained for.
        context: usize,
    },
    /// Low ones are divided, high ones stay, and those in between are blended by their number, as in YaRN.
    Ramp {
        /// What low frequencies are divided by.
        factor: f32,
        /// Turns in the original context from which on a frequency stays.
        fast: f32,
        /// Turns in the original context up to which a frequency is low.
        slow: f32,
        /// Positions that the model was trained for.
        context: usize,
        /// Whether the ends of the ramp are whole pairs.
        truncate: bool,
    },
}

/// The frequencies of pairs of columns.
///
/// ```
/// use forebay_tensor::ops::angles::{Frequencies, Scaling};
///
/// let table = Frequencies::new(100.0, 4, &Scaling::Linear(2.0));
/// assert_eq!((table.radians, table.magnitude), (vec![0.5, 0.05], 1.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians a position, for each pair.
    pub radians: Vec<f32>,
    /// What cosines and sines are multiplied by.
    pub magnitude: f32,
}

impl Frequencies {
    /// The table for `rotated` columns: `base^(-2 i / rotated)`, stretched. Numbers that a scheme lacks count as 1.
    pub fn new(base: f32, rotated: usize, scaling: &Scaling) -> Self {
        let radian = |i: usize| {
            let plain = f64::from(base).powf(-2.0 * i as f64 / rotated as f64);
            let stretched = match scaling {
                Scaling::None => plain,
                Scaling::Linear(factor) => plain / f64::from(*factor),
                Scaling::Factors(factors) => plain / f64::from(factors.get(i).copied().unwrap_or(1.0)),
                Scaling::Bands { factor, low, high, context } => {
                    let waves = *context as f64 * plain / TAU;
                    let (low, high) = (f64::from(*low), f64::from(*high));
                    blend(plain, *factor, ((waves - low) / (high - low)).clamp(0.0, 1.0))
                }
                Scaling::Ramp { factor, fast, slow, context, truncate } => {
                    let ends = [*fast, *slow].map(|turns| pair_of(turns, base, rotated, *context));
                    let [start, end] = if *truncate { [ends[0].floor(), ends[1].ceil()] } else { ends };
                    let (start, end) = (start.max(0.0), end.min(rotated as f64 - 1.0));
                    let width = if start == end { 0.001 } else { end - start };
                    blend(plain, *factor, 1.0 - ((i as f64 - start) / width).clamp(0.0, 1.0))
                }
            };
            stretched as f32
        };
        let magnitude = match scaling {
            Scaling::Ramp { factor, .. } if *factor > 1.0 => (0.1 * f64::from(*factor).ln() + 1.0) as f32,
            _ => 1.0,
        };
        Self { radians: (0..rotated / 2).map(radian).collect(), magnitude }
    }
}

/// A frequency of which so large a share stays; the rest is divided.
fn blend(plain: f64, factor: f32, stays: f64) -> f64 {
    plain / f64::from(factor) * (1.0 - stays) + plain * stays
}

/// The pair, as a fraction, that makes so many turns in a context.
fn pair_of(turns: f32, base: f32, rotated: usize, context: usize) -> f64 {
    let ratio = context as f64 / (f64::from(turns) * TAU);
    rotated as f64 * ratio.ln() / (2.0 * f64::from(base).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_frequencies_stay_and_low_ones_are_divided() {
        let plain = Frequencies::new(500_000.0, 64, &Scaling::None).radians;
        let bands = Scaling::Bands { factor: 8.0, low: 1.0, high: 4.0, context: 8192 };
        let ramp = Scaling::Ramp { factor: 8.0, fast: 32.0, slow: 1.0, context: 8192, truncate: true };
        for scaling in [bands, ramp] {
            let table = Frequencies::new(500_000.0, 64, &scaling);
            assert_eq!((table.radians[0], table.radians[31]), (plain[0], plain[31] / 8.0), "{scaling:?}");
            let between = table.radians.iter().zip(&plain).filter(|(x, p)| *x < p && **x > **p / 8.0).count();
            assert!(between > 2, "{scaling:?}");
        }
        assert_eq!(Frequencies::new(100.0, 4, &Scaling::Factors(vec![4.0])).radians, [0.25, 0.1]);
        assert_eq!(Frequencies::new(100.0, 0, &Scaling::None).radians, [0.0; 0]);
    }
}
