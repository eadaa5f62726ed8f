//! What kernels on the CPU share: arguments as slices, products of rows, and elements of caches.

pub(crate) mod arguments;
pub(crate) mod cache;
pub(crate) mod dot;
