//! Recipes of two types that MLX's users know: most matrices get few bits, and those that a model suffers from most get more.
//!
//! The choices are those of mlx-lm, so that a folder of one name means the same everywhere. It looks at names only. Next room:
//! `mlx`, which makes the folders.

use forebay_tensor::{Affine, DType};

/// Elements of a group.
const GROUP: u32 = 64;

/// The names, and bits of most matrices and of the others.
const RECIPES: [(&str, u32, u32); 4] =
    [("mixed_2_6", 2, 6), ("mixed_3_4", 3, 4), ("mixed_3_6", 3, 6), ("mixed_4_6", 4, 6)];

/// Types of the matrices of a folder for MLX.
///
/// ```
/// use forebay::quantize::Mixed;
///
/// let mixed = Mixed::named("mixed_3_6").unwrap();
/// assert_eq!((mixed.most.name(), mixed.others.name()), ("mlx_3g64", "mlx_6g64"));
/// assert!(Mixed::named("mixed_5_6").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mixed {
    /// The type of most.
    pub most: DType,
    /// The type of the output, and in the first and last layers and every third between of the values of attention and of what
    /// leads back from the feed-forward network.
    pub others: DType,
}

impl Mixed {
    /// The recipe of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let (_, most, others) = RECIPES.iter().find(|(known, ..)| *known == name)?;
        let [most, others] = [most, others].map(|bits| Affine::new(*bits, GROUP).map(DType::Affine));
        Some(Self { most: most.ok()?, others: others.ok()? })
    }

    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        RECIPES.iter().map(|(name, ..)| *name)
    }

    /// The type of a module's matrix in a model of so many layers.
    pub(super) fn of(&self, module: &str, layers: usize) -> DType {
        let (layer, eighth) = (layer(module).unwrap_or(0), layers / 8);
        let suffers = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
        let is_output = module.contains("lm_head");
        match is_output || suffers && ["v_proj", "down_proj"].iter().any(|part| module.contains(part)) {
            true => self.others,
            false => self.most,
        }
    }
}

/// The layer that a module is in.
pub(super) fn layer(module: &str) -> Option<usize> {
    module.split('.').find_map(|part| part.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_layers_get_more_bits_for_what_they_suffer_from() {
        let mixed = Mixed::named("mixed_4_6").unwrap();
        let of = |part: &str| -> Vec<usize> {
            let module = |layer| format!("language_model.model.layers.{layer}.{part}");
            (0..28).filter(|layer| mixed.of(&module(*layer), 28) == mixed.others).collect()
        };
        let wanted = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27];
        assert_eq!(of("self_attn.v_proj"), wanted);
        assert_eq!(of("mlp.switch_mlp.down_proj"), wanted);
        assert!(of("self_attn.q_proj").is_empty() && of("mlp.up_proj").is_empty());
        assert_eq!(mixed.of("lm_head", 28), mixed.others);
        assert_eq!(mixed.of("model.embed_tokens", 28), mixed.most);
    }

    #[test]
    fn every_name_is_a_recipe() {
        for name in Mixed::names() {
            assert_eq!(Mixed::named(name).map(|mixed| mixed.most != mixed.others), Some(true));
        }
        assert_eq!(Mixed::named("mixed"), None);
    }
}
