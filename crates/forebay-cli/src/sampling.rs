//! How tokens are chosen, as it is said on the command line: what is not said is the model's own default.

use std::{
    hash::{BuildHasher, RandomState},
    str::FromStr,
};

use clap::Args;
use forebay::generate::sampler::SamplerOptions;

use crate::cli::Failure;

/// What all commands take that choose tokens. What is not given comes from the model's own settings, and where it has none, is 0.8,
/// 40, 0.95 and 0.05 for temperature, top-k, top-p and min-p.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling (defaults come from the model)")]
pub(crate) struct SamplingArgs {
    /// Take the most likely token each time
    #[arg(long, conflicts_with_all = ["temp", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma", "xtc_probability"])]
    pub(crate) greedy: bool,
    /// What random numbers come from: the same seed gives the same text; a new one each time if not given
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Below 1 the likely becomes likelier, above 1 everything more alike; 0 takes the most likely
    #[arg(long, visible_alias = "temperature", value_name = "T", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Keep so many of the likeliest tokens; 0 keeps all
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Keep the likeliest tokens that have this probability together; 1 keeps all
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Keep tokens that are at least so likely beside the likeliest; 0 keeps all
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Keep typical tokens that have this probability together; 1 keeps all
    #[arg(long, visible_alias = "typical", value_name = "P", allow_negative_numbers = true)]
    typical_p: Option<f32>,
    /// Keep tokens whose logit is so many standard deviations below the largest at most; 0 keeps all
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    top_n_sigma: Option<f32>,
    /// Divide the logits of tokens that were said lately; 1 changes nothing
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// How many tokens back penalties look
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    repeat_last_n: Option<usize>,
    /// Take this from the logits of tokens that were said lately
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Take this from the logits of tokens for each time they were said lately
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Make tokens less likely that would continue a repetition; 0 does not
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    dry_multiplier: Option<f32>,
    /// By how much that grows with each token of the repetition
    #[arg(long, value_name = "X", requires = "dry_multiplier")]
    dry_base: Option<f32>,
    /// Let repetitions be that are shorter than this
    #[arg(long, value_name = "TOKENS", requires = "dry_multiplier")]
    dry_allowed_length: Option<usize>,
    /// How many tokens back repetitions are looked for; all if not given
    #[arg(long, value_name = "TOKENS", requires = "dry_multiplier")]
    dry_penalty_last_n: Option<usize>,
    /// A text that ends a repetition, instead of the line end, colon, quotation mark and asterisk; may be repeated
    #[arg(long, value_name = "TEXT", requires = "dry_multiplier")]
    dry_sequence_breaker: Vec<String>,
    /// How often the likeliest tokens are left out
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    xtc_probability: Option<f32>,
    /// How likely tokens have to be for that
    #[arg(long, value_name = "P", requires = "xtc_probability")]
    xtc_threshold: Option<f32>,
    /// Add to the logit of a token, such as 15043=-2.5; ID=-inf forbids it; may be repeated
    #[arg(long, value_name = "ID=X")]
    logit_bias: Vec<Bias>,
}

/// What is added to the logit of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bias(u32, f32);

impl FromStr for Bias {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a bias is the id of a token and a number, such as 15043=-2.5 or 15043=-inf";
        let (id, bias) = text.split_once('=').ok_or(WANTED)?;
        Ok(Self(id.trim().parse().map_err(|_| WANTED)?, bias.trim().parse().map_err(|_| WANTED)?))
    }
}

impl SamplingArgs {
    /// What was said, over what the model says.
    pub(crate) fn options(&self, defaults: SamplerOptions) -> Result<SamplerOptions, Failure> {
        let mut options = defaults;
        let set = |place: &mut f32, value: Option<f32>| *place = value.unwrap_or(*place);
        set(&mut options.temperature, if self.greedy { Some(0.0) } else { self.temp });
        set(&mut options.top_p, self.top_p);
        set(&mut options.min_p, self.min_p);
        set(&mut options.typical_p, self.typical_p);
        set(&mut options.top_n_sigma, self.top_n_sigma);
        // The most likely token is what the model says, unless somebody asks for penalties.
        set(&mut options.repetition_penalty, self.repeat_penalty.or(self.greedy.then_some(1.0)));
        set(&mut options.presence_penalty, self.presence_penalty);
        set(&mut options.frequency_penalty, self.frequency_penalty);
        set(&mut options.dry.multiplier, self.dry_multiplier);
        set(&mut options.dry.base, self.dry_base);
        set(&mut options.xtc.probability, self.xtc_probability);
        set(&mut options.xtc.threshold, self.xtc_threshold.or(self.xtc_probability.map(|_| 0.1)));
        options.top_k = self.top_k.unwrap_or(options.top_k);
        options.penalty_window = self.repeat_last_n.unwrap_or(options.penalty_window);
        options.dry.allowed = self.dry_allowed_length.unwrap_or(options.dry.allowed);
        options.dry.window = self.dry_penalty_last_n.or(options.dry.window);
        if !self.dry_sequence_breaker.is_empty() {
            options.dry.breakers.clone_from(&self.dry_sequence_breaker);
        }
        options.logit_bias.extend(self.logit_bias.iter().map(|Bias(id, bias)| (*id, *bias)));
        // A seed that people can read and type.
        options.seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0) >> 40);
        options.check()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_an_id_and_a_number() {
        assert_eq!("7=-2.5".parse(), Ok(Bias(7, -2.5)));
        assert_eq!("7 = -inf".parse(), Ok(Bias(7, f32::NEG_INFINITY)));
        for wrong in ["", "7", "=1", "-1=2", "7=", "7=x", "a=1"] {
            assert!(wrong.parse::<Bias>().is_err(), "{wrong}");
        }
    }
}
