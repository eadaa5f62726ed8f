//! The contract suite and its test kernels.
