//! Recipes: which type each matrix gets, under the names that users know from llama.cpp.
//!
//! A recipe has a type for most matrices and finer ones where a model suffers most: the output, the values of
//! attention, and what leads back from the feed-forward network. The choices are those of `llama-quantize`, so that a
//! file of one name means the same everywhere. It looks at names and sizes only.

use std::{fmt, str::FromStr};

use forebay_tensor::DType;

use crate::error::{Error, Result};

/// A recipe.
///
/// ```
/// use forebay::quantize::Recipe;
///
/// let recipe: Recipe = "q4_k_m".parse()?;
/// assert_eq!(recipe.to_string(), "q4_k_m");
/// assert!("q4_k_x".parse::<Recipe>().unwrap_err().to_string().contains("q4_k_m"));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe(&'static Entry);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: &'static str,
    /// What such a file is called in its metadata, `general.file_type`.
    number: u32,
    /// The type of most matrices.
    most: DType,
    size: Size,
}

/// Which of the recipes of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Only,
    Small,
    Medium,
    Large,
}

const fn entry(name: &'static str, number: u32, most: DType, size: Size) -> Entry {
    Entry { name, number, most, size }
}

static RECIPES: &[Entry] = &[
    entry("f32", 0, DType::F32, Size::Only),
    entry("f16", 1, DType::F16, Size::Only),
    entry("bf16", 32, DType::BF16, Size::Only),
    entry("q8_0", 7, DType::Q8_0, Size::Only),
    entry("q6_k", 18, DType::Q6_K, Size::Only),
    entry("q5_k_m", 17, DType::Q5_K, Size::Medium),
    entry("q5_k_s", 16, DType::Q5_K, Size::Small),
    entry("q5_1", 9, DType::Q5_1, Size::Only),
    entry("q5_0", 8, DType::Q5_0, Size::Only),
    entry("q4_k_m", 15, DType::Q4_K, Size::Medium),
    entry("q4_k_s", 14, DType::Q4_K, Size::Small),
    entry("q4_1", 3, DType::Q4_1, Size::Only),
    entry("q4_0", 2, DType::Q4_0, Size::Only),
    entry("iq4_nl", 25, DType::IQ4_NL, Size::Only),
    entry("iq4_xs", 30, DType::IQ4_XS, Size::Only),
    entry("q3_k_l", 13, DType::Q3_K, Size::Large),
    entry("q3_k_m", 12, DType::Q3_K, Size::Medium),
    entry("q3_k_s", 11, DType::Q3_K, Size::Small),
    entry("iq3_s", 26, DType::IQ3_S, Size::Only),
    entry("iq3_xxs", 23, DType::IQ3_XXS, Size::Only),
    entry("q2_k", 10, DType::Q2_K, Size::Medium),
    entry("q2_k_s", 21, DType::Q2_K, Size::Small),
];

/// What a recipe has to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Layers.
    pub layers: usize,
    /// Heads of queries for each head of keys.
    pub heads_for_one: usize,
    /// Experts; none where there is one network.
    pub experts: usize,
    /// Whether the embedding serves as the output too.
    pub tied: bool,
    /// Whether the importance of columns is known.
    pub importance: bool,
}

impl Recipe {
    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        RECIPES.iter().map(|entry| entry.name)
    }

    /// The number of such files in `general.file_type`.
    pub fn number(self) -> u32 {
        self.0.number
    }

    /// The type that a tensor gets, by its name and shape, slowest dimension first; none where it stays as it is.
    /// `pure` gives every matrix the type of most.
    pub fn choose(self, name: &str, shape: &[usize], facts: &Facts, pure: bool) -> Option<DType> {
        if !is_matrix(name, shape) {
            return None;
        }
        let width = shape.last().copied().unwrap_or(0);
        let wanted = if pure { self.0.most } else { self.wanted(name, width, facts) };
        Some(fitting(wanted, width))
    }

    /// The type that a matrix should have.
    fn wanted(self, name: &str, width: usize, facts: &Facts) -> DType {
        let Entry { most, size, .. } = *self.0;
        if most.is_plain() {
            return most;
        }
        let output = if facts.tied { "token_embd.weight" } else { "output.weight" };
        if name == output {
            return match most {
                _ if !width.is_multiple_of(DType::Q6_K.block_elements()) => DType::Q8_0,
                DType::Q8_0 => DType::Q8_0,
                DType::IQ3_XXS => DType::Q5_K,
                _ => DType::Q6_K,
            };
        }
        if name == "token_embd.weight" {
            return if most == DType::IQ3_XXS { DType::IQ3_S } else { most };
        }
        let Some((layer, part)) = parts(name) else { return most };
        let n = facts.layers;
        let early = |share: usize| layer < n / share;
        // The first and last eighth, and every third layer between them.
        let tender = early(8) || layer >= 7 * n / 8 || (layer.saturating_sub(n / 8)) % 3 == 2;
        let grouped = facts.heads_for_one >= 4;
        match (part, most, size) {
            ("attn_v" | "attn_k", ..) if facts.experts == 8 => DType::Q8_0,
            ("attn_v", DType::Q2_K, _) => match (grouped, size) {
                (true, _) => DType::Q4_K,
                (false, Size::Small) => DType::Q2_K,
                (false, _) => DType::Q3_K,
            },
            ("attn_v", DType::Q3_K, Size::Medium) if layer < 2 => DType::Q5_K,
            ("attn_v", DType::Q3_K, Size::Medium) => DType::Q4_K,
            ("attn_v", DType::Q3_K, Size::Large) => DType::Q5_K,
            ("attn_v", DType::Q4_K, Size::Small) if layer < 4 => DType::Q5_K,
            ("attn_v", DType::IQ4_NL | DType::IQ4_XS, _) if grouped => DType::Q5_K,
            ("attn_v", DType::IQ3_XXS | DType::IQ3_S, _) if grouped => DType::Q4_K,
            ("attn_v", DType::IQ3_XXS, _) if !facts.importance => DType::IQ3_S,
            ("attn_q" | "attn_k", DType::IQ3_XXS, _) => DType::IQ2_S,
            ("attn_v" | "ffn_down", DType::Q4_K | DType::Q5_K, Size::Medium) if tender => DType::Q6_K,

            ("ffn_down", DType::Q2_K, Size::Medium) => DType::Q3_K,
            ("ffn_down", DType::Q2_K, Size::Small) if early(8) => DType::Q4_K,
            ("ffn_down", DType::Q3_K, Size::Medium) if early(16) => DType::Q5_K,
            ("ffn_down", DType::Q3_K, Size::Medium) => DType::Q4_K,
            ("ffn_down", DType::Q3_K, Size::Large) => DType::Q5_K,
            ("ffn_down", DType::Q4_K, Size::Small) if early(8) => DType::Q5_K,
            ("ffn_down", DType::IQ4_NL | DType::IQ4_XS, _) if early(8) && !facts.importance => DType::Q5_K,
            ("ffn_down", DType::Q4_0, _) if early(8) && facts.importance => DType::Q4_1,
            ("ffn_down", DType::Q5_0, _) if early(8) && facts.importance => DType::Q5_1,
            ("ffn_down", DType::IQ3_XXS, _) if !facts.importance => {
                if early(8) {
                    DType::Q4_K
                } else {
                    DType::Q3_K
                }
            }

            (
                "attn_output",
                DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::IQ3_XXS | DType::IQ3_S | DType::IQ4_NL,
                Size::Small | Size::Medium | Size::Only,
            ) if facts.experts == 8 => DType::Q5_K,
            ("attn_output", DType::Q2_K, Size::Medium) => DType::Q3_K,
            ("attn_output", DType::Q3_K, Size::Medium) => DType::Q4_K,
            ("attn_output", DType::Q3_K, Size::Large) => DType::Q5_K,
            ("attn_output", DType::IQ3_XXS, _) => DType::IQ3_S,

            ("attn_qkv", DType::Q3_K, Size::Medium | Size::Large) => DType::Q4_K,
            ("attn_qkv", DType::Q4_K, Size::Medium) => DType::Q5_K,
            ("attn_qkv", DType::Q5_K, Size::Medium) => DType::Q6_K,
            _ => most,
        }
    }
}

/// The layer and the part of a name such as `blk.3.ffn_down_exps.weight`: 3 and `ffn_down`.
fn parts(name: &str) -> Option<(usize, &str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let part = rest.strip_suffix(".weight")?;
    Some((layer.parse().ok()?, part.strip_suffix("_exps").unwrap_or(part)))
}

/// Whether products are made with a tensor: everything else is small and stays as it is.
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let small = ["_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight", "ffn_gate_inp_shexp.weight"];
    shape.len() >= 2
        && name.ends_with(".weight")
        && !small.iter().any(|end| name.ends_with(end))
        && !name.starts_with("rope_")
}

/// The type, or the nearest one whose blocks a row of this width can be cut into.
fn fitting(wanted: DType, width: usize) -> DType {
    let fits = |dtype: DType| width.is_multiple_of(dtype.block_elements());
    if fits(wanted) {
        return wanted;
    }
    let coarser = match wanted {
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K => DType::Q8_0,
        _ => DType::IQ4_NL,
    };
    if fits(coarser) { coarser } else { DType::F16 }
}

impl FromStr for Recipe {
    type Err = Error;

    /// # Errors
    /// [`Error::Option`] with all names.
    fn from_str(name: &str) -> Result<Self> {
        let found = RECIPES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
        found.map(Self).ok_or_else(|| {
            let names: Vec<_> = Self::names().collect();
            Error::Option { name: "type", wanted: format!("one of {}", names.join(", ")) }
        })
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts { layers: 32, heads_for_one: 4, experts: 0, tied: false, importance: false };

    fn types(recipe: &str, name: &str, shape: &[usize]) -> Vec<DType> {
        let recipe: Recipe = recipe.parse().unwrap();
        let of = |layer| recipe.choose(&name.replace('#', &format!("{layer}")), shape, &FACTS, false);
        (0..FACTS.layers).filter_map(of).collect()
    }

    #[test]
    fn the_medium_recipes_spend_more_at_both_ends_and_on_every_third_layer() {
        let down = types("q4_k_m", "blk.#.ffn_down.weight", &[4096, 14_336]);
        let fine: Vec<_> = (0..32).filter(|&layer| down[layer] == DType::Q6_K).collect();
        assert_eq!(fine, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert!(down.iter().all(|&t| t == DType::Q6_K || t == DType::Q4_K));
        assert_eq!(types("q4_k_m", "blk.#.attn_q.weight", &[4096, 4096]), [DType::Q4_K; 32]);
        let values = types("q3_k_m", "blk.#.attn_v.weight", &[1024, 4096]);
        assert_eq!((values[1], values[2]), (DType::Q5_K, DType::Q4_K));
    }

    #[test]
    fn what_is_small_stays_and_what_does_not_fit_gets_a_finer_type() {
        let q4: Recipe = "Q4_K_M".parse().unwrap();
        assert_eq!(q4.choose("blk.0.attn_norm.weight", &[4096], &FACTS, false), None);
        assert_eq!(q4.choose("blk.0.ffn_gate_inp.weight", &[128, 4096], &FACTS, false), None);
        assert_eq!(q4.choose("blk.9.attn_q.bias", &[4096], &FACTS, false), None);
        assert_eq!(q4.choose("blk.9.attn_q.weight", &[896, 896], &FACTS, false), Some(DType::Q5_0));
        assert_eq!(q4.choose("blk.9.attn_q.weight", &[172, 172], &FACTS, false), Some(DType::F16));
        assert_eq!(q4.choose("output.weight", &[32_000, 4096], &FACTS, false), Some(DType::Q6_K));
        assert_eq!(q4.choose("token_embd.weight", &[32_000, 4096], &FACTS, false), Some(DType::Q4_K));
        let tied = Facts { tied: true, ..FACTS };
        assert_eq!(q4.choose("token_embd.weight", &[32_000, 4096], &tied, false), Some(DType::Q6_K));
    }

    #[test]
    fn every_recipe_has_a_name_of_its_own_and_keeps_plain_types_plain() {
        let mut names: Vec<_> = Recipe::names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RECIPES.len());
        assert_eq!(types("f16", "blk.#.ffn_down.weight", &[64, 100]), [DType::F16; 32]);
    }
}
