//! The tokens that may follow, with their logits: what processors work on.
//!
//! It keeps as much order as somebody asked for: a vocabulary is large, and what is drawn from is mostly small. A list that is
//! kept and filled again allocates nothing. Larger logits come first; of equal ones the lower id.
//! Next room: `chain`, which fills a list and draws from it.

use std::cmp::Ordering;

/// A token that may follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its logit: a number, never infinite once processors have run.
    pub logit: f32,
}

/// The tokens that may follow.
///
/// ```
/// use forebay::generate::sampler::Candidates;
///
/// let mut candidates = Candidates::default();
/// candidates.fill(&[0.5, f32::NAN, 2.0, 2.0]);
/// candidates.change(0, |logit| logit + 4.0);
/// let ids: Vec<u32> = candidates.largest(2).iter().map(|candidate| candidate.id).collect();
/// assert_eq!((ids, candidates.len()), (vec![0, 2], 3));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    list: Vec<Candidate>,
    order: Order,
    /// Whether a logit may have become one that cannot be drawn.
    changed: bool,
}

/// What is known about the order of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// Ascending ids.
    ById,
    /// The first so many are the largest, in order.
    Largest(usize),
}

impl Default for Order {
    fn default() -> Self {
        Self::Largest(0)
    }
}

/// Larger logits first, of equal ones the lower id.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

impl Candidates {
    /// All tokens, by their logits. What is not a number or impossible is left out; beside an infinite logit all others are.
    pub fn fill(&mut self, logits: &[f32]) {
        self.list.clear();
        self.list.extend((0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }));
        self.order = Order::ById;
        self.changed = true;
        self.settle();
    }

    /// The largest of all tokens and their logits, in order, as if all others had been left out.
    pub(super) fn fill_with_largest(&mut self, ids: &[u32], logits: &[f32]) {
        self.list.clear();
        self.list.extend(ids.iter().zip(logits).map(|(&id, &logit)| Candidate { id, logit }));
        self.order = Order::Largest(0);
        self.changed = true;
        self.settle();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in no order that anybody may rely on.
    pub fn as_slice(&self) -> &[Candidate] {
        &self.list
    }

    /// The first so many of all, the largest first; fewer if there are no more.
    pub fn largest(&mut self, count: usize) -> &[Candidate] {
        let count = count.min(self.list.len());
        let ordered = match self.order {
            Order::ById => 0,
            Order::Largest(ordered) => ordered,
        };
        if count > ordered {
            let rest = &mut self.list[ordered..];
            if count - ordered < rest.len() {
                rest.select_nth_unstable_by(count - ordered - 1, by_rank);
            }
            rest[..count - ordered].sort_unstable_by(by_rank);
            self.order = Order::Largest(count);
        }
        &self.list[..count]
    }

    /// Keeps the largest.
    pub fn keep_largest(&mut self, count: usize) {
        if count < self.list.len() {
            self.largest(count);
            self.list.truncate(count);
        }
    }

    /// Leaves the largest out.
    pub fn drop_largest(&mut self, count: usize) {
        let count = self.largest(count).len();
        self.list.drain(..count);
        if let Order::Largest(ordered) = &mut self.order {
            *ordered -= count;
        }
    }

    /// Keeps those of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Candidate) -> bool) {
        let mut left = 0;
        let ordered = match self.order {
            Order::ById => 0,
            Order::Largest(ordered) => ordered,
        };
        let mut kept = 0;
        self.list.retain(|candidate| {
            let stays = keep(candidate);
            kept += usize::from(stays && left < ordered);
            left += 1;
            stays
        });
        if let Order::Largest(ordered) = &mut self.order {
            *ordered = kept;
        }
    }

    /// Changes the logit of one token; nothing happens if it is none of them. Minus infinity leaves the token out.
    pub fn change(&mut self, id: u32, change: impl FnOnce(f32) -> f32) {
        let found = match self.order {
            Order::ById => self.list.binary_search_by_key(&id, |candidate| candidate.id).ok(),
            Order::Largest(_) => self.list.iter().position(|candidate| candidate.id == id),
        };
        if let Some(at) = found {
            self.list[at].logit = change(self.list[at].logit);
            self.mark();
        }
    }

    /// Changes the logits of all tokens. Minus infinity leaves a token out.
    pub fn change_each(&mut self, mut change: impl FnMut(u32, f32) -> f32) {
        for Candidate { id, logit } in &mut self.list {
            *logit = change(*id, *logit);
        }
        self.mark();
    }

    /// The largest logit, and the sum of e^(logit - largest); none if there are no candidates.
    pub fn mass(&self) -> Option<(f32, f64)> {
        let most = self.list.iter().map(|candidate| candidate.logit).max_by(f32::total_cmp)?;
        Some((most, self.list.iter().map(|candidate| share(candidate.logit, most)).sum()))
    }

    /// Tokens and their probabilities, the likeliest first.
    pub fn chances(&mut self) -> Vec<(u32, f64)> {
        let Some((most, sum)) = self.mass() else { return Vec::new() };
        let all = self.largest(usize::MAX);
        all.iter().map(|candidate| (candidate.id, share(candidate.logit, most) / sum)).collect()
    }

    /// Sorts by anything else, after which no order is known.
    pub(super) fn sort_by_key(&mut self, mut key: impl FnMut(&Candidate) -> f64) -> &[Candidate] {
        self.list.sort_unstable_by(|a, b| key(a).total_cmp(&key(b)).then(a.id.cmp(&b.id)));
        self.order = Order::Largest(0);
        &self.list
    }

    /// Keeps the first so many as they lie.
    pub(super) fn truncate(&mut self, count: usize) {
        self.list.truncate(count);
        if let Order::Largest(ordered) = &mut self.order {
            *ordered = (*ordered).min(count);
        }
    }

    /// Leaves out what cannot be drawn after somebody changed logits.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        if self.list.iter().any(|candidate| candidate.logit == f32::INFINITY) {
            self.retain(|candidate| candidate.logit == f32::INFINITY);
            for candidate in &mut self.list {
                candidate.logit = 0.0;
            }
        } else {
            self.retain(|candidate| candidate.logit.is_finite());
        }
    }

    fn mark(&mut self) {
        self.changed = true;
        if let Order::Largest(ordered) = &mut self.order {
            *ordered = 0;
        }
    }
}

/// What a logit weighs beside the largest.
pub(super) fn share(logit: f32, most: f32) -> f64 {
    (f64::from(logit) - f64::from(most)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn any_prefix_is_that_of_the_whole_order_whatever_was_asked_before() {
        let logits: Vec<f32> = (0..97u32).map(|i| ((i * 37) % 31) as f32 / 4.0).collect();
        let mut whole = Candidates::default();
        whole.fill(&logits);
        let wanted = ids(whole.largest(usize::MAX));
        assert!(wanted.windows(2).all(|pair| {
            let [a, b] = [logits[pair[0] as usize], logits[pair[1] as usize]];
            a > b || (a == b && pair[0] < pair[1])
        }));
        for steps in [&[1, 5, 97][..], &[40, 3, 41], &[96, 97]] {
            let mut candidates = Candidates::default();
            candidates.fill(&logits);
            for &count in steps {
                assert_eq!(ids(candidates.largest(count)), wanted[..count]);
            }
            candidates.retain(|candidate| candidate.id % 2 == 0);
            let even: Vec<u32> = wanted.iter().copied().filter(|id| id % 2 == 0).collect();
            assert_eq!(ids(candidates.largest(usize::MAX)), even);
            candidates.drop_largest(3);
            assert_eq!(ids(candidates.largest(7)), even[3..10]);
            candidates.change(even[20], |_| 100.0);
            assert_eq!(ids(candidates.largest(2)), [even[20], even[3]]);
        }
    }

    #[test]
    fn what_is_no_number_is_no_candidate() {
        let mut candidates = Candidates::default();
        candidates.fill(&[f32::NAN, 1.0, f32::NEG_INFINITY, -0.0, 0.0]);
        assert_eq!(ids(candidates.as_slice()), [1, 3, 4]);
        candidates.fill(&[f32::NAN, 1.0, f32::INFINITY, 3.0, f32::INFINITY]);
        assert_eq!(candidates.chances(), [(2, 0.5), (4, 0.5)]);
        candidates.change_each(|_, _| f32::NEG_INFINITY);
        candidates.settle();
        assert!(candidates.is_empty() && candidates.mass().is_none() && candidates.chances().is_empty());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut candidates = Candidates::default();
        candidates.fill(&[3e38, -3e38, 3e38]);
        assert_eq!(candidates.chances(), [(0, 0.5), (2, 0.5), (1, 0.0)]);
    }
}
