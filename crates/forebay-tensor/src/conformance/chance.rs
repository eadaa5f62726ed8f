//! Random numbers for cases: the same for the same seed, on every machine.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// A number around zero; a few are large.
    pub fn float(&mut self) -> f32 {
        let bits = self.bits();
        let x = (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        if bits & 63 == 0 { 8.0 * x } else { x }
    }

    /// A number from 0 on and below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    /// A length: none, one, or anything up to `most`, most often odd.
    pub fn length(&mut self, most: usize) -> usize {
        match self.below(8) {
            0 => 0,
            1 => 1,
            2 => self.below(most + 1),
            _ => self.below(most) | 1,
        }
    }
}
