//! What kernels on the CPU share: arguments as slices, sums in a fixed order, curves, elements of
//! caches, and products of panels with what is around them.

pub(crate) mod arguments;
pub(crate) mod around;
pub(crate) mod attend;
pub(crate) mod blocks;
pub(crate) mod cache;
pub(crate) mod compiled;
pub(crate) mod curves;
pub(crate) mod dot;
pub(crate) mod floats;
pub(crate) mod formats;
pub(crate) mod lanes;
mod many;
pub(crate) mod order;
pub(crate) mod pack;
pub(crate) mod points;
mod positions;
pub(crate) mod products;
pub(crate) mod rows;
pub(crate) mod scores;
