//! What kernels on the CPU share: arguments as slices, sums in a fixed order, curves, and elements of caches.

pub(crate) mod arguments;
pub(crate) mod attend;
pub(crate) mod cache;
pub(crate) mod curves;
pub(crate) mod dot;
pub(crate) mod order;
pub(crate) mod rows;
