//! What people say about sampling, and the chain that it makes.
//!
//! The order of the chain is fixed: bias, penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature, draw.

use super::{
    Chain, Draw, Drawn, Dry, Greedy, LogitBias, MinP, Penalties, Sampler, Temperature, TopK, TopNSigma, TopP,
    Typical, Xtc,
};
use crate::{
    error::{Error, Result},
    formats::settings::Settings,
    generate::tokenizer::Tokenizer,
};

/// How tokens are chosen.
///
/// ```
/// use forebay::generate::sampler::SamplerOptions;
///
/// let options = SamplerOptions { temperature: 0.7, seed: 1, ..SamplerOptions::default() };
/// options.check()?;
/// assert!(SamplerOptions { top_p: 2.0, ..options }.check().is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides logits; 0 takes the likeliest each time.
    pub temperature: f32,
    /// Keeps so many of the likeliest; 0 all.
    pub top_k: usize,
    /// Keeps the likeliest that have this probability together; 1 all.
    pub top_p: f32,
    /// Keeps what is at least so likely beside the likeliest; 0 all.
    pub min_p: f32,
    /// Keeps what is typical, with this probability together; 1 all.
    pub typical_p: f32,
    /// Keeps what lies so many standard deviations below the largest at most; 0 all.
    pub top_n_sigma: f32,
    /// How many tokens back penalties look.
    pub penalty_window: usize,
    /// Divides the logits of what was said; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Is taken from a logit for each time that the token was said.
    pub frequency_penalty: f32,
    /// Is taken from a logit if the token was said.
    pub presence_penalty: f32,
    /// Against repetitions.
    pub dry: DryOptions,
    /// Against what is all too likely.
    pub xtc: XtcOptions,
    /// Is added to the logits of single tokens; minus infinity forbids a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// What random numbers come from.
    pub seed: u64,
}

/// The most candidates that a device is asked to draw from.
const MOST_DRAWN: usize = 256;

/// How repetitions are made less likely: the token that would continue one of `n` tokens loses
/// `multiplier * base ^ (n - allowed)`.
#[derive(Clone, Debug, PartialEq)]
pub struct DryOptions {
    /// How strong it is; 0 not at all.
    pub multiplier: f32,
    /// By how much it grows with each token.
    pub base: f32,
    /// Repetitions shorter than this are let be.
    pub allowed: usize,
    /// How many tokens back it looks; none is all of the text.
    pub window: Option<usize>,
    /// A token with one of these in its text ends a repetition.
    pub breakers: Vec<String>,
}

/// How the likeliest tokens are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct XtcOptions {
    /// How often; 0 never.
    pub probability: f32,
    /// How likely a token has to be.
    pub threshold: f32,
}

impl Default for SamplerOptions {
    /// What suits most models that say nothing themselves.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            penalty_window: 64,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry: DryOptions::default(),
            xtc: XtcOptions::default(),
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl Default for DryOptions {
    fn default() -> Self {
        let breakers = ["\n", ":", "\"", "*"].map(str::to_owned).to_vec();
        Self { multiplier: 0.0, base: 1.75, allowed: 2, window: None, breakers }
    }
}

impl SamplerOptions {
    /// What the makers of a model say. What they leave open changes nothing; if they say nothing at all, it is the default.
    ///
    /// ```
    /// use forebay::{formats::settings::Settings, generate::sampler::SamplerOptions};
    ///
    /// let settings = Settings::parse("generation_config.json", br#"{"temperature": 0.6, "top_k": 20}"#)?;
    /// let options = SamplerOptions::of(&settings);
    /// assert_eq!((options.temperature, options.top_k, options.min_p), (0.6, 20, 0.0));
    /// assert_eq!(SamplerOptions::of(&Settings::default()), SamplerOptions::default());
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn of(settings: &Settings) -> Self {
        let Settings { sample, temperature, top_k, top_p, min_p, repetition_penalty, .. } = *settings;
        let silent = (sample, temperature, top_k) == (None, None, None)
            && (top_p, min_p, repetition_penalty) == (None, None, None);
        if silent {
            return Self::default();
        }
        let greedy = sample == Some(false);
        Self {
            temperature: if greedy { 0.0 } else { temperature.unwrap_or(1.0) },
            top_k: top_k.unwrap_or(0) as usize,
            top_p: top_p.unwrap_or(1.0),
            min_p: min_p.unwrap_or(0.0),
            repetition_penalty: repetition_penalty.unwrap_or(1.0),
            ..Self::default()
        }
    }

    /// Whether all values can be.
    ///
    /// # Errors
    /// [`Error::Option`], naming the first that cannot.
    pub fn check(&self) -> Result<()> {
        let finite = |name, value: f32| ensure(value.is_finite(), name, "a number");
        let share = |name, value: f32| ensure((0.0..=1.0).contains(&value), name, "from 0 to 1");
        let positive = |name, value: f32| ensure(value.is_finite() && value > 0.0, name, "a number above 0");
        let from_zero =
            |name, value: f32| ensure(value.is_finite() && value >= 0.0, name, "a number from 0 on");
        from_zero("temperature", self.temperature)?;
        share("top_p", self.top_p)?;
        share("min_p", self.min_p)?;
        share("typical_p", self.typical_p)?;
        from_zero("top_n_sigma", self.top_n_sigma)?;
        positive("repetition_penalty", self.repetition_penalty)?;
        finite("frequency_penalty", self.frequency_penalty)?;
        finite("presence_penalty", self.presence_penalty)?;
        from_zero("dry.multiplier", self.dry.multiplier)?;
        ensure(self.dry.base.is_finite() && self.dry.base >= 1.0, "dry.base", "a number from 1 on")?;
        share("xtc.probability", self.xtc.probability)?;
        share("xtc.threshold", self.xtc.threshold)?;
        let bias = |&(_, bias): &(u32, f32)| !bias.is_nan() && bias < f32::INFINITY;
        ensure(self.logit_bias.iter().all(bias), "logit_bias", "numbers, or minus infinity")
    }

    /// The chain of these options, without the links that change nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`Error::TokenId`] for a bias on a token that there is not.
    pub fn chain(&self, tokenizer: &Tokenizer) -> Result<Chain> {
        self.extend(Chain::new(self.seed), tokenizer)
    }

    /// A chain with the links of these options behind those that it has.
    ///
    /// # Errors
    /// As [`chain`](Self::chain).
    pub fn extend(&self, mut chain: Chain, tokenizer: &Tokenizer) -> Result<Chain> {
        self.check()?;
        let size = tokenizer.size();
        if let Some(&(id, _)) = self.logit_bias.iter().find(|(id, _)| *id as usize >= size) {
            return Err(Error::TokenId { id, size });
        }
        if !self.logit_bias.is_empty() {
            chain = chain.with(LogitBias(self.logit_bias.clone()));
        }
        if self.penalizes() {
            let [repetition, frequency, presence] =
                [self.repetition_penalty, self.frequency_penalty, self.presence_penalty];
            chain = chain.with(Penalties::new(self.penalty_window, repetition, frequency, presence));
        }
        if self.dry.multiplier > 0.0 {
            chain = chain.with(self.dry(tokenizer)?);
        }
        if self.top_n_sigma > 0.0 {
            chain = chain.with(TopNSigma(self.top_n_sigma));
        }
        if self.top_k > 0 {
            chain = chain.with(TopK(self.top_k));
        }
        if self.typical_p < 1.0 {
            chain = chain.with(Typical(self.typical_p));
        }
        if self.top_p < 1.0 {
            chain = chain.with(TopP(self.top_p));
        }
        if self.min_p > 0.0 {
            chain = chain.with(MinP(self.min_p));
        }
        if self.xtc.probability > 0.0 {
            let XtcOptions { probability, threshold } = self.xtc;
            chain = chain.with(Xtc { probability, threshold });
        }
        Ok(chain.with(Temperature(self.temperature)))
    }

    /// What chooses tokens by these options: what a device can do in the place of the host, unless
    /// [something](Self::needs_host) keeps it from that, which is then a [`chain`](Self::chain).
    ///
    /// # Errors
    /// As [`chain`](Self::chain).
    pub fn sampler(&self, tokenizer: &Tokenizer) -> Result<Box<dyn Sampler>> {
        let chain = self.chain(tokenizer)?;
        let Self { temperature, top_p, min_p, seed, .. } = *self;
        Ok(match self.needs_host() {
            Some(_) => Box::new(chain),
            None if temperature == 0.0 => Box::new(Greedy),
            None => Box::new(Drawn::new(Draw { seed, keep: self.top_k as u32, temperature, top_p, min_p })),
        })
    }

    /// What of these options only the host can do, so that a device waits for it at every token; none if it can do all of them.
    pub fn needs_host(&self) -> Option<&'static str> {
        let greedy = self.temperature == 0.0;
        [
            (!self.logit_bias.is_empty(), "a bias on logits"),
            (self.penalizes(), "penalties for what was said"),
            (self.dry.multiplier > 0.0, "DRY"),
            (self.xtc.probability > 0.0, "XTC"),
            (!greedy && self.top_n_sigma > 0.0, "top-n-sigma"),
            (!greedy && self.typical_p < 1.0, "typical-p"),
            (!greedy && !(1..=MOST_DRAWN).contains(&self.top_k), "a top-k of 0 or above 256"),
        ]
        .into_iter()
        .find_map(|(is, what)| is.then_some(what))
    }

    fn penalizes(&self) -> bool {
        let penalties = (self.repetition_penalty, self.frequency_penalty, self.presence_penalty);
        self.penalty_window > 0 && penalties != (1.0, 0.0, 0.0)
    }

    fn dry(&self, tokenizer: &Tokenizer) -> Result<Dry> {
        let DryOptions { multiplier, base, allowed, window, breakers } = &self.dry;
        let mut ids = Vec::new();
        for id in 0..tokenizer.size() as u32 {
            let bytes = tokenizer.bytes(id)?;
            let breaks = |breaker: &String| {
                !breaker.is_empty() && bytes.windows(breaker.len()).any(|part| part == breaker.as_bytes())
            };
            if breakers.iter().any(breaks) {
                ids.push(id);
            }
        }
        Ok(Dry::new(*multiplier, *base, *allowed, window.unwrap_or(usize::MAX), ids))
    }
}

fn ensure(fine: bool, name: &'static str, wanted: &str) -> Result<()> {
    match fine {
        true => Ok(()),
        false => Err(Error::Option { name, wanted: wanted.to_owned() }),
    }
}
