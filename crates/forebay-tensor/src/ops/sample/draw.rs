//! How one of some values is drawn: the arithmetic that the host and every device share, to the last bit.
//!
//! Doubles are added and multiplied one by one, never fused, and sums go from the largest value to the smallest. `cuda.cu` does
//! the same with the same constants, so that one seed gives one text wherever it is drawn.

use super::random::Random;

/// How one of the largest values of a row is drawn: what is kept of them, and what number falls upon one.
///
/// Kept are the first `keep`; of these the first so many whose softmax reaches `top_p`, and of those the ones that are at least
/// `min_p` times as likely as the likeliest. Each has a share of `e^(value / temperature)`. What is not a number, or minus infinity,
/// is not kept, nor what has no share that an f64 tells from 0.
///
/// ```
/// use forebay_tensor::ops::Draw;
///
/// let draw = Draw { seed: 7, keep: 2, temperature: 0.5, top_p: 1.0, min_p: 0.0 };
/// let places: Vec<_> = (0..1000).filter_map(|length| draw.choose(&[3.0, 2.5, 2.4], length)).collect();
/// assert!(places.contains(&0) && places.contains(&1) && !places.contains(&2));
/// assert_eq!(draw.choose(&[f32::NAN], 0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// What the numbers come from.
    pub seed: u64,
    /// How many of the largest are kept; 0 all.
    pub keep: u32,
    /// How even the draw is; 0 always takes the first.
    pub temperature: f32,
    /// The probability that those kept have together; 1 keeps all.
    pub top_p: f32,
    /// How likely they are at least, beside the likeliest; 0 keeps all.
    pub min_p: f32,
}

/// Below this a power of e is next to nothing: what is not rounded more than others ends soon after.
const LEAST: f64 = -708.0;
/// Adding it to a number leaves no place behind the point.
const WHOLE: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts, of which the first has few enough digits that some thousand times it are exact.
const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
/// 1 / n!, from n = 13 on down to 0.
const TERMS: [f64; 14] = {
    let mut terms = [1.0; 14];
    let (mut n, mut factorial) = (1, 1.0);
    while n < 14 {
        factorial *= n as f64;
        terms[13 - n] = 1.0 / factorial;
        n += 1;
    }
    terms
};

impl Draw {
    /// Words that it takes in memory.
    pub const WORDS: usize = 6;
    /// What a device gives where nothing can be drawn.
    pub const NONE: u32 = u32::MAX;

    /// As devices read it.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let [temperature, top_p, min_p] = [self.temperature, self.top_p, self.min_p].map(f32::to_bits);
        [self.seed as u32, (self.seed >> 32) as u32, self.keep, temperature, top_p, min_p]
    }

    /// What words say.
    pub(super) fn of(words: [u32; Self::WORDS]) -> Self {
        let [low, high, keep, rest @ ..] = words;
        let [temperature, top_p, min_p] = rest.map(f32::from_bits);
        Self { seed: u64::from(high) << 32 | u64::from(low), keep, temperature, top_p, min_p }
    }

    /// The place of the one that is drawn behind a text of this length, of values of which the largest come first; none if nothing
    /// can be drawn.
    pub fn choose(&self, values: &[f32], length: u64) -> Option<usize> {
        let kept = if self.keep == 0 { values.len() } else { values.len().min(self.keep as usize) };
        let numbers =
            values[..kept].iter().position(|x| x.is_nan() || *x == f32::NEG_INFINITY).unwrap_or(kept);
        let values = &values[..self.candidates(&values[..numbers])];
        let last = values.len().checked_sub(1)?;
        let temperature = f64::from(self.temperature);
        if temperature.is_nan() || temperature <= 0.0 {
            return Some(0);
        }
        let shares = || values.iter().map(|x| share(*x, values[0], temperature));
        let drawn = Random::new(self.seed).uniform(length, 0) * shares().sum::<f64>();
        let mut sum = 0.0;
        let place = shares().position(|share| {
            sum += share;
            sum > drawn
        });
        Some(place.unwrap_or(last))
    }

    /// How many of the first are candidates, of numbers.
    fn candidates(&self, values: &[f32]) -> usize {
        let shares = || values.iter().map(|x| share(*x, values[0], 1.0));
        // All of them together are as likely as rounding makes them, which some of them may reach.
        let wanted = match self.top_p < 1.0 {
            true => f64::from(self.top_p) * shares().sum::<f64>(),
            false => f64::INFINITY,
        };
        // What cannot be drawn is none.
        let least = f64::from(self.min_p).max(f64::MIN_POSITIVE);
        let mut sum = 0.0;
        let end = shares().enumerate().position(|(i, share)| {
            let ends = i > 0 && (sum >= wanted || share < least);
            sum += share;
            ends
        });
        end.unwrap_or(values.len())
    }
}

/// How likely a value is beside the largest. Two infinities are equal, though their difference is no number.
fn share(x: f32, largest: f32, temperature: f64) -> f64 {
    if x == largest { 1.0 } else { power((f64::from(x) - f64::from(largest)) / temperature) }
}

/// e to a power that is not positive.
fn power(x: f64) -> f64 {
    if x.is_nan() || x < LEAST {
        return 0.0;
    }
    let whole = (x * std::f64::consts::LOG2_E + WHOLE) - WHOLE;
    let rest = (x - whole * LN_2[0]) - whole * LN_2[1];
    let sum = TERMS[1..].iter().fold(TERMS[0], |sum, term| sum * rest + term);
    sum * f64::from_bits(((whole as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_e() {
        for i in 0..200_000 {
            let x = f64::from(i) * -0.003_541_7;
            let (got, wanted) = (power(x), x.exp());
            let far = if x < LEAST { got } else { (got / wanted - 1.0).abs() };
            assert!(far < 5e-16, "{x}: {got}, wanted {wanted}");
        }
        assert_eq!(
            (power(0.0), power(-0.0), power(f64::NEG_INFINITY), power(f64::NAN)),
            (1.0, 1.0, 0.0, 0.0)
        );
    }

    #[test]
    fn words_say_all_of_it() {
        let draw = Draw { seed: 0x0123_4567_89ab_cdef, keep: 40, temperature: 0.7, top_p: 0.9, min_p: 0.05 };
        assert_eq!(Draw::of(draw.words()), draw);
    }
}
