//! Taking apart what the IQ formats store: the coordinates of a point, and the signs that go with it.
//!
//! Which points there are is in `grids`; what a coordinate is worth is said by each format.

/// The eight coordinates of an IQ2 or IQ1 point.
pub(super) fn eight(point: u16) -> [u8; 8] {
    std::array::from_fn(|i| (point >> (2 * i)) as u8 & 3)
}

/// The four coordinates of an IQ3 point.
pub(super) fn four(point: u16) -> [u8; 4] {
    std::array::from_fn(|i| (point >> (3 * i)) as u8 & 7)
}

/// The eight signs whose last makes the number of minuses even, bit `i` set where element `i` is negative.
pub(crate) const fn even_signs(seven: u32) -> u8 {
    let seven = seven as u8 & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// -1 where bit `i` of `signs` is set, else 1.
pub(super) fn sign(signs: u8, i: usize) -> f32 {
    if signs >> i & 1 == 1 { -1.0 } else { 1.0 }
}
