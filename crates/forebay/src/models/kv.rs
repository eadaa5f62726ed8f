//! The cache of keys and values: for each layer, what every position so far has left for those that follow.

use forebay_device::{Device, Tag};
use forebay_tensor::{DType, Tensor};

use super::Sizes;
use crate::error::Result;

/// Keys and values of one layer, `[kv heads, capacity, width]`.
#[derive(Clone, Debug)]
pub struct LayerCache {
    /// The keys.
    pub keys: Tensor,
    /// The values.
    pub values: Tensor,
}

/// Keys and values of all layers.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    capacity: usize,
}

impl KvCache {
    /// A cache of f32, f16, bf16, q8_0 or q4_0 for so many positions.
    ///
    /// # Errors
    /// What the device says.
    pub fn new(device: &Device, sizes: &Sizes, dtype: DType, capacity: usize) -> Result<Self> {
        let tensor = |label: &'static str, width: usize| -> Result<Tensor> {
            let shape = [sizes.kv_heads, capacity, width];
            let request = Tensor::request(dtype, &shape)?.tag(Tag::Kv).label(label);
            Ok(Tensor::of(dtype, &shape, device.alloc(request)?)?)
        };
        let layer = |_| {
            let (keys, values) =
                (tensor("kv.keys", sizes.head_width)?, tensor("kv.values", sizes.value_width)?);
            Ok(LayerCache { keys, values })
        };
        Ok(Self { layers: (0..sizes.layers).map(layer).collect::<Result<_>>()?, capacity })
    }

    /// The layers.
    pub fn layers(&self) -> &[LayerCache] {
        &self.layers
    }

    /// Positions there are.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
