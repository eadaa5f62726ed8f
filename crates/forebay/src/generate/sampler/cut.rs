//! Processors that leave unlikely tokens out, each by its own idea of unlikely. At least one token always stays.

use super::{Candidates, LogitsProcessor, Step, candidates::share};
use crate::error::Result;

/// Keeps so many of the largest; 0 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct TopK(pub usize);

impl LogitsProcessor for TopK {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        if self.0 > 0 {
            candidates.keep_largest(self.0);
        }
        Ok(())
    }

    fn looks_at(&self) -> Option<usize> {
        (self.0 > 0).then_some(self.0)
    }
}

/// Keeps the likeliest that together have this probability; 1 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct TopP(pub f32);

impl LogitsProcessor for TopP {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        let Some((most, sum)) = candidates.mass() else { return Ok(()) };
        if self.0 >= 1.0 {
            return Ok(());
        }
        let (mut kept, mut together) = (0, 0.0);
        while kept < candidates.len() && (kept == 0 || together < f64::from(self.0)) {
            // As much order as is needed: most of the time a few tokens have nearly all.
            let known = (kept + 1).next_power_of_two().max(64);
            together += share(candidates.largest(known)[kept].logit, most) / sum;
            kept += 1;
        }
        candidates.keep_largest(kept);
        Ok(())
    }
}

/// Keeps those that are at least so likely beside the likeliest; 0 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct MinP(pub f32);

impl LogitsProcessor for MinP {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        let Some((most, _)) = candidates.mass().filter(|_| self.0 > 0.0) else { return Ok(()) };
        let least = most + self.0.min(1.0).ln();
        candidates.retain(|candidate| candidate.logit >= least);
        Ok(())
    }
}

/// Keeps those whose surprise is nearest to the surprise that is expected, as many as have this probability together
/// (Meister and others, "Locally typical sampling", 2022); 1 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct Typical(pub f32);

impl LogitsProcessor for Typical {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        let Some((most, sum)) = candidates.mass().filter(|_| self.0 < 1.0) else { return Ok(()) };
        let surprise = |logit: f32| sum.ln() + f64::from(most) - f64::from(logit);
        let chance = |logit: f32| share(logit, most) / sum;
        let parts = candidates.as_slice().iter().map(|c| match chance(c.logit) {
            0.0 => 0.0,
            chance => chance * surprise(c.logit),
        });
        let expected: f64 = parts.sum();
        let (mut kept, mut together) = (0, 0.0);
        for candidate in candidates.sort_by_key(|c| (surprise(c.logit) - expected).abs()) {
            together += chance(candidate.logit);
            kept += 1;
            if together > f64::from(self.0) {
                break;
            }
        }
        candidates.truncate(kept);
        Ok(())
    }
}

/// Keeps those whose logit is at most so many standard deviations of all logits below the largest (Tang and others,
/// "Top-nσ", 2024); 0 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct TopNSigma(pub f32);

impl LogitsProcessor for TopNSigma {
    fn apply(&mut self, candidates: &mut Candidates, _: &Step<'_>) -> Result<()> {
        let Some((most, _)) = candidates.mass().filter(|_| self.0 > 0.0) else { return Ok(()) };
        let (count, all) = (candidates.len() as f64, candidates.as_slice());
        let mean = all.iter().map(|c| f64::from(c.logit)).sum::<f64>() / count;
        let variance = all.iter().map(|c| (f64::from(c.logit) - mean).powi(2)).sum::<f64>() / count;
        let least = f64::from(most) - f64::from(self.0) * variance.sqrt();
        candidates.retain(|candidate| f64::from(candidate.logit) >= least);
        Ok(())
    }
}

/// Leaves the likeliest out, now and then: of those that have at least this probability all but the least likely, so that the
/// text stays sensible and becomes less predictable. Nothing happens unless there are two such tokens.
#[derive(Clone, Copy, Debug)]
pub struct Xtc {
    /// How often it happens; 0 never.
    pub probability: f32,
    /// How likely a token has to be to be left out; above 0.5 there are never two such tokens.
    pub threshold: f32,
}

impl LogitsProcessor for Xtc {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step<'_>) -> Result<()> {
        let never = self.probability <= 0.0 || self.threshold > 0.5;
        if never || step.random(Step::XTC) >= f64::from(self.probability) {
            return Ok(());
        }
        let Some((most, sum)) = candidates.mass() else { return Ok(()) };
        let likely = |logit: f32| share(logit, most) / sum >= f64::from(self.threshold);
        let count = candidates.as_slice().iter().filter(|candidate| likely(candidate.logit)).count();
        candidates.drop_largest(count.saturating_sub(1));
        Ok(())
    }
}
