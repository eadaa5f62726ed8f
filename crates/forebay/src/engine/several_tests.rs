//! Several texts at once: whoever else is there, comes or goes, each is what it is alone, to the bit.

use super::{
    Engine, Several,
    tests::{drain, open},
};
use crate::{
    error::Error,
    generate::{
        batch::Batch,
        sampler::{Chain, Greedy, Sampler, SamplerOptions, Temperature, TopK},
        step::{Sequence, SequenceOptions},
        stop::{Stop, StopRule},
        text::Text,
    },
};

/// The model without a window, and with one, which keeps rings.
fn engines() -> [Engine; 2] {
    ["", "window"].map(|spoil| open(spoil, 2).unwrap())
}

fn options(engine: &Engine, ahead: bool) -> SequenceOptions {
    SequenceOptions { apart: Some(ahead), chunk: 3, ..engine.sequence_options() }
}

/// A batch, and beside it each of its texts alone.
struct Beside {
    batch: Batch,
    alone: Vec<Option<Sequence>>,
    runs_ahead: bool,
}

impl Beside {
    fn new(engine: &Engine, places: usize, ahead: bool) -> Self {
        let batch = engine.batch_with(places, &options(engine, ahead)).unwrap();
        Self { batch, alone: (0..places).map(|_| None).collect(), runs_ahead: ahead }
    }

    fn join(&mut self, engine: &Engine, ids: &[u32]) -> usize {
        let place = self.batch.join(ids).unwrap().unwrap();
        assert!(self.alone[place].is_none());
        let mut sequence = engine.sequence_with(&options(engine, false)).unwrap();
        sequence.feed(ids).unwrap();
        self.alone[place] = Some(sequence);
        self.compare(place);
        place
    }

    fn leave(&mut self, place: usize) {
        self.batch.leave(place).unwrap();
        self.alone[place] = None;
        assert!(self.batch.text(place).is_err() && self.batch.leave(place).is_err());
    }

    fn compare(&self, place: usize) {
        let (text, alone) = (self.batch.text(place).unwrap(), self.alone[place].as_ref().unwrap());
        assert_eq!(text.tokens(), alone.tokens());
        assert_eq!(text.greedy().unwrap(), alone.greedy().unwrap());
        assert!(text.logits().unwrap() == alone.logits().unwrap(), "place {place} of {:?}", self.batch);
    }

    /// A step of these places with the largest logits, or with those next to them.
    fn step(&mut self, places: &[usize], beside: u32) {
        let next = |place: &usize| {
            let found = self.batch.text(*place).unwrap().greedy().unwrap();
            (*place, (found + beside) % 10)
        };
        let next: Vec<_> = places.iter().map(next).collect();
        self.batch.step(&next).unwrap();
        for (place, id) in next {
            self.alone[place].as_mut().unwrap().feed(&[id]).unwrap();
            self.compare(place);
        }
    }

    /// Runs ahead, which nobody may notice but by logits that are gone.
    fn run_ahead(&mut self, places: &[usize], wanted: bool) {
        assert_eq!(self.batch.run_ahead().unwrap(), wanted && self.runs_ahead);
        for place in places {
            let (text, alone) = (self.batch.text(*place).unwrap(), self.alone[*place].as_ref().unwrap());
            assert_eq!(text.greedy().unwrap(), alone.greedy().unwrap());
            assert!(!(wanted && self.runs_ahead) || matches!(text.logits(), Err(Error::NoLogits)));
        }
    }
}

#[test]
fn each_text_gives_what_it_gives_alone() {
    for (engine, ahead) in engines().iter().flat_map(|engine| [(engine, false), (engine, true)]) {
        let mut all = Beside::new(engine, 3, ahead);
        assert!(!all.batch.run_ahead().unwrap());
        let a = all.join(engine, &[1, 7, 8, 4, 5]);
        all.step(&[a], 0);
        let b = all.join(engine, &[1]);
        // What was found of others in the step before stays.
        all.compare(a);
        all.step(&[b, a], 1);
        let c = all.join(engine, &[1, 7, 9, 9, 9, 9, 9]);
        assert_eq!((all.batch.join(&[1]).unwrap(), all.batch.free()), (None, 0));
        for _ in 0..3 {
            all.step(&[a, b, c], 0);
            all.run_ahead(&[a, b, c], true);
            all.step(&[a, b, c], 0);
            all.run_ahead(&[a, b, c], true);
            // Some of those that ran ahead, in another order; and then others.
            all.step(&[c, a], 0);
            assert!(matches!(all.batch.text(b).unwrap().logits(), Err(Error::NoLogits)));
            all.run_ahead(&[c, a], false);
            all.batch.feed(b, &[6]).unwrap();
            all.alone[b].as_mut().unwrap().feed(&[6]).unwrap();
            all.step(&[b, c], 2);
            all.run_ahead(&[b, c], true);
            // The device was wrong about these.
            all.step(&[b, c], 1);
            all.batch.feed(a, &[3, 3, 3, 4]).unwrap();
            all.alone[a].as_mut().unwrap().feed(&[3, 3, 3, 4]).unwrap();
            all.run_ahead(&[b, c], true);
            all.leave(c);
            all.step(&[a, b], 0);
            assert_eq!(all.join(engine, &[1, 7, 9, 9, 2]), c);
            all.step(&[c], 0);
            all.run_ahead(&[c], true);
            // Fed what the device thought, and more.
            let id = all.batch.text(c).unwrap().greedy().unwrap();
            all.batch.feed(c, &[id, 5]).unwrap();
            all.alone[c].as_mut().unwrap().feed(&[id, 5]).unwrap();
            all.compare(c);
            for place in [a, b] {
                all.leave(place);
            }
            let joined = [all.join(engine, &[1, 4, 4]), all.join(engine, &[1, 7, 8, 4])];
            assert!(joined.contains(&a) && joined.contains(&b));
            all.step(&[c, a, b], 1);
        }
        all.batch.wait().unwrap();
        let next = [0, 1].map(|place| (place, 4));
        let profile = all.batch.step_profiled(&next).unwrap();
        assert!(profile.launches.iter().any(|launch| &*launch.kernel == "follow"));
        for (place, id) in next {
            all.alone[place].as_mut().unwrap().feed(&[id]).unwrap();
            all.compare(place);
        }
    }
}

#[test]
fn what_begins_alike_is_not_computed_again() {
    for engine in engines() {
        let mut all = Beside::new(&engine, 3, false);
        let texts = [[1u32, 4, 4, 5, 5, 6], [1, 4, 4, 6, 6, 6], [1, 9, 9, 9, 9, 9]];
        let places = texts.map(|ids| all.join(&engine, &ids));
        places.into_iter().for_each(|place| all.leave(place));
        let ids = [1, 4, 4, 6, 6, 7, 7];
        let place = all.join(&engine, &ids);
        assert_eq!(place, places[1]);
        all.step(&[place], 0);
        let longer = [&ids[..], &[8, 8]].concat();
        let kept = all.batch.become_text(place, &longer, |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!(kept, if all.alone[place].as_ref().unwrap().reach(7) == 7 { 7 } else { 0 });
        let mut alone = engine.sequence().unwrap();
        alone.feed(&longer).unwrap();
        all.alone[place] = Some(alone);
        all.compare(place);
    }
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_lost() {
    let engine = open("", 1).unwrap();
    for places in [0, 257] {
        assert!(matches!(engine.batch(places), Err(Error::Option { name: "texts of a batch", .. })));
    }
    let bad = SequenceOptions { context: 33, ..engine.sequence_options() };
    assert!(matches!(engine.batch_with(2, &bad), Err(Error::Option { name: "context", .. })));
    let mut all = Beside::new(&engine, 2, false);
    assert!(matches!(all.batch.join(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(all.batch.join(&[10]), Err(Error::TokenId { id: 10, size: 10 })));
    assert!(matches!(all.batch.join(&[3; 33]), Err(Error::ContextFull { tokens: 33, context: 32 })));
    assert_eq!(all.batch.free(), 2);
    assert!(matches!(all.batch.text(0), Err(Error::Option { name: "place", .. })));
    let (a, b) = (all.join(&engine, &[1, 7]), all.join(&engine, &[3; 32]));
    assert!(matches!(all.batch.step(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(all.batch.step(&[(a, 10)]), Err(Error::TokenId { .. })));
    assert!(matches!(all.batch.step(&[(a, 1), (2, 1)]), Err(Error::Option { name: "place", .. })));
    assert!(matches!(all.batch.step(&[(a, 1), (a, 1)]), Err(Error::Option { name: "place", .. })));
    assert!(matches!(all.batch.step(&[(a, 1), (b, 1)]), Err(Error::ContextFull { .. })));
    assert!(matches!(all.batch.feed(b, &[1]), Err(Error::ContextFull { .. })));
    all.compare(a);
    all.compare(b);
    all.leave(b);
    all.step(&[a], 0);
}

fn chain(seed: u64, engine: &Engine) -> Box<dyn Sampler> {
    match seed % 3 {
        0 => Box::new(Greedy),
        1 => Box::new(Chain::new(seed).with(TopK(3 + seed as usize)).with(Temperature(2.0))),
        _ => {
            let options = SamplerOptions { temperature: 5.0, top_k: 0, seed, ..SamplerOptions::default() };
            Box::new(options.sampler(engine.tokenizer()).unwrap())
        }
    }
}

#[test]
fn generations_are_what_they_are_alone_however_many_run_at_once() {
    for engine in engines() {
        let on = StopRule { ignore_ends: true, ..StopRule::after(12) };
        let rules = [
            on.clone(),
            StopRule::after(0),
            StopRule::default(),
            StopRule { limit: None, ..on.clone() },
            StopRule { texts: vec!["b".to_owned()], ..on.clone() },
        ];
        let prompts: [&[u32]; 4] = [&[1, 7], &[1], &[1, 7, 8, 4, 5, 6, 9], &[1, 3, 3]];
        for which in [|seed: u64| seed, |_| 0, |seed| 1 + 3 * seed] {
            let jobs: Vec<_> = (0..11).map(|i| (prompts[i % 4], &rules[i % 5], which(i as u64))).collect();
            let wanted: Vec<_> = jobs
                .iter()
                .map(|(prompt, rule, seed)| {
                    let begun = engine.generate_from(prompt, (*rule).clone(), chain(*seed, &engine));
                    let mut generation = begun.unwrap();
                    (drain(&mut generation), generation.stop())
                })
                .collect();
            for (at_once, ahead) in [(1, false), (3, true), (4, false), (16, true)] {
                let batch = engine.batch_with(at_once, &options(&engine, ahead)).unwrap();
                let mut several = Several::new(&engine, batch);
                let mut got = vec![(String::new(), Vec::new()); jobs.len()];
                let add = |several: &mut Several<'_>, i: usize| {
                    let (prompt, rule, seed) = jobs[i];
                    let sampler = chain(seed, &engine);
                    assert_eq!(several.add(prompt, rule.clone(), sampler).unwrap(), i);
                };
                (0..8).for_each(|i| add(&mut several, i));
                let mut pieces = 0;
                while let Some(piece) = several.next() {
                    let (which, piece) = piece.unwrap();
                    got[which].0.push_str(&piece.text);
                    got[which].1.extend(piece.token);
                    pieces += 1;
                    // Others come while it goes on.
                    if (5..8).contains(&pieces) {
                        add(&mut several, pieces + 3);
                    }
                    assert!(several.active().len() <= at_once);
                }
                let got: Vec<_> =
                    got.into_iter().enumerate().map(|(i, text)| (text, several.stop(i))).collect();
                assert_eq!(got, wanted, "{at_once} at once, ahead {ahead}");
                assert!((0..11).all(|i| several.generated(i) == wanted[i].0.1.len()));
            }
        }
    }
}

/// Gives the largest logit a few times, and then an error.
struct Tired(usize);

impl Sampler for Tired {
    fn pick(&mut self, text: &dyn Text) -> crate::error::Result<u32> {
        self.0 = self.0.checked_sub(1).ok_or(Error::NoToken)?;
        text.greedy()
    }
}

#[test]
fn one_text_ends_alone_by_an_error_or_by_being_cancelled() {
    let engine = open("", 1).unwrap();
    let rule = StopRule { ignore_ends: true, ..StopRule::after(9) };
    let mut several = Several::new(&engine, engine.batch(2).unwrap());
    let late = StopRule { cancel: Default::default(), ..rule.clone() };
    late.cancel.cancel();
    for (rule, sampler) in [
        (rule.clone(), Box::new(Tired(2)) as Box<dyn Sampler>),
        (StopRule { cancel: Default::default(), ..rule.clone() }, Box::new(Greedy)),
        (late, Box::new(Greedy)),
        (StopRule { cancel: Default::default(), ..rule.clone() }, Box::new(Greedy)),
    ] {
        several.add(&[1, 7], rule, sampler).unwrap();
    }
    assert!(several.add(&[10], rule.clone(), Box::new(Greedy)).is_err());
    let (mut errors, mut counts) = (0, [0; 4]);
    for piece in &mut several {
        match piece {
            Ok((which, piece)) => counts[which] += usize::from(piece.token.is_some()),
            Err(Error::NoToken) => errors += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((errors, counts), (1, [2, 9, 0, 9]));
    let stops = [0, 1, 2, 3].map(|which| several.stop(which).unwrap());
    assert_eq!(stops, [Stop::Failure, Stop::Limit, Stop::Cancelled, Stop::Limit]);
    assert!(several.stop(4).is_none() && several.next().is_none());
}
