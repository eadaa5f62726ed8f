//! Rotary positions as a `config.json` writes them, out of the keys and tensors of a GGUF file.
//!
//! Factors that a file has for each pair are the scheme of Llama 3, of which the numbers are found again, or those of long
//! texts, which configurations list. Next room: `config::rope` for the other direction.

use std::f64::consts::TAU;

use serde_json::{Map, Value as Json, json};

use super::{Draft, Family, decimal};
use crate::{
    error::Result,
    formats::config::rope::{Bands, FIRST_CONTEXT},
};

/// How far factors may be from what a configuration makes of them.
const NEAR: f64 = 1e-5;

/// Drafts all that is said of positions.
pub(super) fn draft(draft: &mut Draft<'_>) -> Result<()> {
    let width = draft.head_width()?;
    let rotated: u32 = draft.find("rope.dimension_count")?.unwrap_or(width);
    let base: f32 = draft.find("rope.freq_base")?.unwrap_or(10_000.0);
    let part = (rotated != width).then(|| f64::from(rotated) / f64::from(width.max(1)));
    let scaling = scaling(draft, base, rotated)?;
    if draft.family.lies_in_parts() {
        let mut table = scaling.unwrap_or_else(|| table(json!({ "rope_type": "default" })));
        table.insert("rope_theta".to_owned(), decimal(base));
        if let Some(part) = part {
            table.insert("partial_rotary_factor".to_owned(), part.into());
        }
        if let Some(sections) = draft.find::<Vec<u32>>("rope.dimension_sections")? {
            let sections: Vec<u32> = sections.into_iter().filter(|pairs| *pairs > 0).collect();
            table.insert("mrope_section".to_owned(), sections.into());
            table.insert("mrope_interleaved".to_owned(), true.into());
        }
        draft.put("rope_parameters", table);
        return Ok(());
    }
    draft.put("rope_theta", decimal(base));
    draft.put("rope_scaling", scaling.map_or(Json::Null, Json::from));
    if let Some(part) = part {
        draft.put("partial_rotary_factor", part);
    }
    if draft.family == Family::Gemma3 {
        draft.float("rope.freq_base_swa", "rope_local_base_freq", Some(10_000.0))?;
    }
    Ok(())
}

/// How positions are stretched.
fn scaling(draft: &mut Draft<'_>, base: f32, rotated: u32) -> Result<Option<Map<String, Json>>> {
    let context: Option<u32> = draft.find("rope.scaling.original_context_length")?;
    if let Some(context) = context {
        draft.put(FIRST_CONTEXT, context);
    }
    let long = (draft.facts.floats)("rope_factors_long.weight")?;
    let short = (draft.facts.floats)("rope_factors_short.weight")?;
    if let (Some(long), Some(short)) = (long, short) {
        let list = |factors: &[f32]| factors.iter().map(|factor| decimal(*factor)).collect::<Json>();
        let mut scaling = json!({ "rope_type": "longrope", "type": "longrope",
            "short_factor": list(&short), "long_factor": list(&long) });
        if let Some(magnitude) = draft.find::<f32>("rope.scaling.attn_factor")? {
            scaling["attention_factor"] = decimal(magnitude);
        }
        if context.is_none() {
            draft.put(FIRST_CONTEXT, draft.get::<u32>("context_length")?);
        }
        return Ok(Some(table(scaling)));
    }
    if let Some(factors) = (draft.facts.floats)("rope_freqs.weight")? {
        let found = Bands::find(&factors, f64::from(base), rotated, context.map(f64::from));
        let Some(Bands { factor, low, high, context }) = found else {
            return Err(
                draft.cannot("factors of positions in rope_freqs.weight that are not those of Llama 3")
            );
        };
        return Ok(Some(table(json!({ "rope_type": "llama3", "factor": factor, "low_freq_factor": low,
            "high_freq_factor": high, FIRST_CONTEXT: context as u64 }))));
    }
    let factor: Option<f32> = draft.find("rope.scaling.factor")?;
    match draft.find::<&str>("rope.scaling.type")? {
        None | Some("none") => Ok(None),
        Some("linear") => {
            let factor = factor.map_or_else(|| draft.get("rope.scaling.factor"), Ok)?;
            Ok(Some(table(json!({ "rope_type": "linear", "factor": decimal(factor) }))))
        }
        Some("yarn") => {
            let factor = factor.map_or_else(|| draft.get("rope.scaling.factor"), Ok)?;
            let context = context.map_or_else(|| draft.get("rope.scaling.original_context_length"), Ok)?;
            let mut scaling =
                json!({ "rope_type": "yarn", "factor": decimal(factor), FIRST_CONTEXT: context });
            for (theirs, key) in [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")] {
                if let Some(beta) = draft.find::<f32>(&format!("rope.scaling.{key}"))? {
                    scaling[theirs] = decimal(beta);
                }
            }
            if let Some(truncate) = draft.find::<bool>("rope.scaling.yarn_truncate")? {
                scaling["truncate"] = truncate.into();
            }
            if let Some(magnitude) = draft.find::<f32>("rope.scaling.attn_factor")? {
                // The key multiplies what the factor alone would give.
                scaling["attention_factor"] = decimal(magnitude * (0.1 * factor.max(1.0).ln() + 1.0));
            }
            Ok(Some(table(scaling)))
        }
        Some(other) => Err(draft.cannot(format!("positions that are stretched by {other:?}"))),
    }
}

fn table(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(table) => table,
        _ => Map::new(),
    }
}

impl Bands {
    /// The numbers that give these factors; none where no numbers do.
    ///
    /// How much of a factor remains is a line over frequencies, between none and all of it. Such a line does not say which
    /// context it was meant for: of all that give it, the one is taken that stands in the file or has a lower limit of one.
    fn find(factors: &[f32], base: f64, rotated: u32, context: Option<f64>) -> Option<Self> {
        let factor = factors.iter().copied().fold(1.0f32, f32::max);
        let factor = factor.to_string().parse::<f64>().ok()?;
        let frequency = |pair: usize| base.powf(-2.0 * pair as f64 / f64::from(rotated));
        let between = |(pair, found): (usize, &f32)| {
            let stays = (1.0 / f64::from(*found) - 1.0 / factor) / (1.0 - 1.0 / factor);
            (stays > 1e-3 && stays < 1.0 - 1e-3).then(|| (frequency(pair), stays))
        };
        let points: Vec<(f64, f64)> = factors.iter().enumerate().filter_map(between).collect();
        let mut drafts = vec![];
        if let [(one, first), .., (other, last)] = points[..] {
            let slope = (first - last) / (one - other);
            let start = last - slope * other;
            // Nothing remains below the lower limit and all above the other one.
            let ratio = 1.0 - 1.0 / start;
            let of = |low: f64| Self {
                factor,
                low,
                high: low * ratio,
                context: slope * TAU * low * (ratio - 1.0),
            };
            drafts.push(of(1.0));
            drafts.extend(context.map(|context| of(context / (slope * TAU * (ratio - 1.0)))));
        }
        // Those that most models have, where no pair or only one lies between the limits.
        drafts.extend([context, Some(8192.0)].into_iter().flatten().map(|context| Self {
            factor,
            low: 1.0,
            high: 4.0,
            context,
        }));
        drafts.iter_mut().for_each(Self::round);
        drafts.into_iter().find(|draft| {
            let made = draft.factors(base, rotated);
            let near = |(made, found): (&f32, &f32)| f64::from((made / found - 1.0).abs()) < NEAR;
            made.len() == factors.len() && made.iter().zip(factors).all(near)
        })
    }

    /// Takes the whole numbers that its own are nearly.
    fn round(&mut self) {
        for number in [&mut self.low, &mut self.high, &mut self.context] {
            let whole = number.round();
            if (*number / whole - 1.0).abs() < 1e-3 {
                *number = whole;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_factors_are_found_again() {
        for (factor, low, high, context, base, rotated) in [
            (8.0, 1.0, 4.0, 8192.0, 500_000.0, 128),
            (32.0, 1.0, 4.0, 8192.0, 500_000.0, 64),
            (8.0, 1.0, 4.0, 64.0, 10_000.0, 64),
            (4.0, 1.0, 3.0, 1000.0, 10_000.0, 96),
        ] {
            let made = Bands { factor, low, high, context }.factors(base, rotated);
            let found = Bands::find(&made, base, rotated, None).unwrap();
            assert_eq!([found.factor, found.low, found.high, found.context], [factor, low, high, context]);
        }
        // Another lower limit is another way to say the same.
        let made = Bands { factor: 8.0, low: 2.0, high: 8.0, context: 8192.0 }.factors(500_000.0, 128);
        let found = Bands::find(&made, 500_000.0, 128, None).unwrap();
        assert_eq!([found.low, found.high, found.context], [1.0, 4.0, 4096.0]);
        // With few pairs, none of which lies between the limits.
        let made = Bands { factor: 8.0, low: 1.0, high: 4.0, context: 8192.0 }.factors(500_000.0, 6);
        assert_eq!(Bands::find(&made, 500_000.0, 6, None).unwrap().high, 4.0);
        let mut bent = Bands { factor: 8.0, low: 1.0, high: 4.0, context: 8192.0 }.factors(500_000.0, 128);
        bent[30] += 0.5;
        assert!(Bands::find(&bent, 500_000.0, 128, None).is_none());
    }
}
