//! Random numbers that are a function of a seed and a place, and of nothing else.
//!
//! Philox with four words and ten rounds (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011): a number does
//! not depend on which were asked for before, so a text that was rolled back meets the same ones again.

/// Numbers of one seed.
///
/// ```
/// use forebay_tensor::ops::Random;
///
/// let random = Random::new(7);
/// let number = random.uniform(12, 0);
/// assert!((0.0..1.0).contains(&number));
/// assert_eq!(number, Random::new(7).uniform(12, 0));
/// assert_ne!(number, random.uniform(13, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The number of a place, from 0 on and below 1: position in the text, and which draw of several there.
    pub fn uniform(&self, position: u64, draw: u32) -> f64 {
        let [low, high] = halves(position);
        let words = philox([low, high, draw, 0], halves(self.seed));
        let bits = (u64::from(words[1]) << 32 | u64::from(words[0])) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [low, high] = halves(u64::from(counter[0]) * 0xD251_1F53);
        let [other_low, other_high] = halves(u64::from(counter[2]) * 0xCD9E_8D57);
        counter = [other_high ^ counter[1] ^ key[0], other_low, high ^ counter[3] ^ key[1], low];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u32::MAX;
        assert_eq!(philox([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let key = [0xa409_3822, 0x299f_31d0];
        assert_eq!(philox(counter, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn numbers_are_even_and_their_places_apart() {
        let random = Random::new(3);
        let numbers: Vec<f64> = (0..4000).map(|position| random.uniform(position, 0)).collect();
        let mean = numbers.iter().sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        for tenth in 0..10 {
            let count = numbers.iter().filter(|number| (*number * 10.0) as usize == tenth).count();
            assert!((320..480).contains(&count), "{tenth}: {count}");
        }
        let mut apart =
            [(0, 0), (1, 0), (0, 1), (1 << 32, 0)].map(|(position, draw)| random.uniform(position, draw));
        apart.sort_by(f64::total_cmp);
        assert!(apart.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
