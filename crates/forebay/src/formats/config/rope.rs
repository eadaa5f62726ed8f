//! Rotary positions as `config.json` describes them: a base, and a way to stretch it.
//!
//! Schemes that GGUF files write as a factor for each pair become tensors here too. Next room: the families in `models`,
//! which refuse a scheme that they do not know.

use std::f64::consts::TAU;

use serde_json::Value as Json;

use super::{Draft, Table};
use crate::error::Result;

/// The longest text that a model was first made for.
pub(super) const FIRST_CONTEXT: &str = "original_max_position_embeddings";

/// Drafts the keys of the positions of heads of so many columns.
pub(super) fn draft(draft: &mut Draft, text: &Table<'_>, head_width: u32) -> Result<()> {
    let (near, far) = kinds(text);
    let base = |table: &Table<'_>| table.number("rope_theta");
    let found = match &far {
        Some(far) => base(far)?.or(base(text)?),
        None => base(text)?,
    };
    draft.float("rope.freq_base", found.unwrap_or(10_000.0));
    let near_base = match &near {
        Some(near) => base(near)?,
        None => text.number("rope_local_base_freq")?,
    };
    if let Some(base) = near_base {
        draft.float("rope.freq_base_swa", base);
    }
    let part = match &far {
        Some(far) => far.number("partial_rotary_factor")?.or(text.number("partial_rotary_factor")?),
        None => text.number("partial_rotary_factor")?,
    };
    // Columns turn in pairs.
    let rotated = (f64::from(head_width) * part.unwrap_or(1.0) / 2.0).floor() as u32 * 2;
    draft.size("rope.dimension_count", rotated);
    if let Some(context) = text.size(FIRST_CONTEXT)? {
        draft.size("rope.scaling.original_context_length", context);
    }
    let Some(table) = far else { return Ok(()) };
    if let Some(sections) = table.sizes("mrope_section")? {
        let mut sections = sections;
        sections.resize(4, 0);
        draft.sizes("rope.dimension_sections", &sections);
    }
    scaling(draft, text, &table, found.unwrap_or(10_000.0), rotated)
}

/// The tables of layers that see a window and of those that see everything, or the one of all.
fn kinds<'a>(text: &Table<'a>) -> (Option<Table<'a>>, Option<Table<'a>>) {
    let table = text.table("rope_parameters").or_else(|| text.table("rope_scaling"));
    match table {
        Some(table) => match table.table("full_attention") {
            Some(far) => (table.table("sliding_attention"), Some(far)),
            None => (None, Some(table)),
        },
        None => (None, None),
    }
}

fn scaling(draft: &mut Draft, text: &Table<'_>, table: &Table<'_>, base: f64, rotated: u32) -> Result<()> {
    let kind = match table.text("rope_type")? {
        Some(kind) => kind,
        None => table.text("type")?.unwrap_or("default"),
    };
    let context = || -> Result<u32> {
        match table.size(FIRST_CONTEXT)?.or(text.size(FIRST_CONTEXT)?) {
            Some(context) => Ok(context),
            None => text.needed_size("max_position_embeddings"),
        }
    };
    let magnitude = table.number("attention_factor")?;
    match kind {
        "default" | "mrope" => {}
        "linear" => {
            draft.text("rope.scaling.type", kind);
            draft.float("rope.scaling.factor", table.needed_number("factor")?);
        }
        "llama3" => {
            let factor = table.needed_number("factor")?;
            let low = table.needed_number("low_freq_factor")?;
            let high = table.needed_number("high_freq_factor")?;
            let bands = Bands { factor, low, high, context: context()?.into() };
            draft.given("rope_freqs.weight", bands.factors(base, rotated));
        }
        "yarn" => {
            let factor = table.needed_number("factor")?;
            draft.text("rope.scaling.type", kind);
            draft.float("rope.scaling.factor", factor);
            draft.size("rope.scaling.original_context_length", context()?);
            for (key, ours) in [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")] {
                if let Some(beta) = table.number(key)? {
                    draft.float(&format!("rope.scaling.{ours}"), beta);
                }
            }
            if table.flag("truncate")? == Some(false) {
                draft.flag("rope.scaling.yarn_truncate", false);
            }
            if let Some(magnitude) = magnitude {
                // The scheme's key multiplies what the factor alone would give.
                draft.float("rope.scaling.attn_factor", magnitude / (0.1 * factor.max(1.0).ln() + 1.0));
            }
        }
        "longrope" | "su" => {
            draft.text("rope.scaling.type", "longrope");
            let (context, longest) = (context()?, text.needed_size("max_position_embeddings")?);
            draft.size("rope.scaling.original_context_length", context);
            let stretch = f64::from(longest) / f64::from(context.max(1));
            let usual = match stretch > 1.0 {
                true => (1.0 + stretch.ln() / f64::from(context).ln()).sqrt(),
                false => 1.0,
            };
            draft.float("rope.scaling.attn_factor", magnitude.unwrap_or(usual));
            for (key, ours) in [("short_factor", "short"), ("long_factor", "long")] {
                draft.given(&format!("rope_factors_{ours}.weight"), table.needed_numbers(key, rotated / 2)?);
            }
        }
        other => draft.text("rope.scaling.type", other),
    }
    Ok(())
}

/// The scheme of Llama 3: low frequencies are divided, high ones stay, those between are blended by wavelength.
#[derive(Debug)]
pub(super) struct Bands {
    pub(super) factor: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) context: f64,
}

impl Bands {
    /// What the frequency of each pair is divided by.
    pub(super) fn factors(&self, base: f64, rotated: u32) -> Vec<f32> {
        let factor = |pair: u32| {
            let frequency = base.powf(-2.0 * f64::from(pair) / f64::from(rotated));
            let waves = self.context * frequency / TAU;
            let stays = ((waves - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - stays) / self.factor + stays)) as f32
        };
        (0..rotated / 2).map(factor).collect()
    }
}

impl<'a> Table<'a> {
    /// A list of so many numbers that has to be there.
    fn needed_numbers(&self, key: &str, count: u32) -> Result<Vec<f32>> {
        let numbers = |value: &'a Json| -> Option<Vec<f32>> {
            let list = value.as_array()?.iter().map(|n| n.as_f64().map(|n| n as f32));
            list.collect::<Option<Vec<f32>>>().filter(|list| list.len() == count as usize)
        };
        self.needed(key, "a list of numbers, one for each pair of columns,", numbers)
    }
}
