//! Steps that run ahead of the host: whatever is fed, rolled back or ended then, nobody can tell but by the clock.

use std::ops::ControlFlow;

use super::{
    Engine,
    tests::{drain, open},
};
use crate::{
    error::Error,
    generate::{
        sampler::{Chain, Draw, Drawn, Greedy, MinP, Sampler, Temperature, TopK},
        step::{Sequence, SequenceOptions},
        stop::StopRule,
        text::Text,
    },
};

/// A sequence that is apart from the host, so that steps run ahead, or is not.
fn sequence(engine: &Engine, ahead: bool) -> Sequence {
    let options = engine.sequence_options();
    let sequence = engine.sequence_with(&SequenceOptions { apart: Some(ahead), chunk: 2, ..options });
    sequence.unwrap()
}

/// The model without a window, and with one, which keeps rings.
fn engines() -> [Engine; 2] {
    ["", "window"].map(|spoil| open(spoil, 2).unwrap())
}

/// The largest logit, and draws of several kinds.
fn samplers() -> Vec<Box<dyn Sampler>> {
    let all = Draw { seed: 3, keep: 9, temperature: 1.0, top_p: 1.0, min_p: 0.0 };
    let draws = [
        all,
        Draw { seed: 4, keep: 4, temperature: 2.5, ..all },
        Draw { seed: u64::MAX, top_p: 0.8, ..all },
        Draw { keep: 9, min_p: 0.2, temperature: 0.6, ..all },
        Draw { keep: 1, ..all },
        // More than there are on the list of a device.
        Draw { keep: 11, ..all },
    ];
    let drawn = draws.map(|how| Box::new(Drawn::new(how)) as Box<dyn Sampler>);
    [Box::new(Greedy) as Box<dyn Sampler>].into_iter().chain(drawn).collect()
}

#[test]
fn texts_and_what_stays_of_them_are_the_same() {
    for (engine, which) in engines().iter().flat_map(|engine| (0..samplers().len()).map(move |i| (engine, i)))
    {
        let sampler = || samplers().swap_remove(which);
        let context = engine.sequence_options().context;
        let [mut plain, mut ahead] = [false, true].map(|ahead| sequence(engine, ahead));
        let mut overtaken = 0;
        // The ends of the model, every limit, and the end of the context.
        let rules = (0..6).map(StopRule::after).chain([StopRule::default()]);
        let on = StopRule { ignore_ends: true, ..StopRule::default() };
        let texts = ["b", "ab"].map(|text| StopRule { texts: vec![text.to_owned()], ..on.clone() });
        for rule in rules.chain(texts).chain([StopRule { limit: Some(9), ..on.clone() }, on]) {
            for prompt in [&[1u32, 7][..], &[1], &[1, 7, 8, 4, 5]] {
                let [wanted, got] = [&mut plain, &mut ahead].map(|sequence| {
                    let begun = engine.generate_in(sequence, prompt, rule.clone(), sampler(), &mut |_| {});
                    let mut generation = begun.unwrap();
                    let given = drain(&mut generation);
                    let ahead = generation.timings().ahead_tokens;
                    (given, generation.stop(), generation.sequence().tokens().to_vec(), ahead)
                });
                assert_eq!((&got.0, got.1, &got.2), (&wanted.0, wanted.1, &wanted.2), "{which}, {rule:?}");
                assert!(got.2.len() <= context && wanted.3 == 0);
                overtaken += got.3;
                if which == 0 {
                    assert_eq!(ahead.greedy().unwrap(), plain.greedy().unwrap());
                }
            }
        }
        assert_eq!(overtaken > 0, which + 1 < samplers().len(), "{which}");
    }
}

#[test]
fn the_device_draws_as_the_host_does_wherever_it_begins() {
    for engine in engines() {
        let [mut plain, mut ahead] = [false, true].map(|ahead| sequence(&engine, ahead));
        let how = Draw { seed: 8, keep: 6, temperature: 1.5, top_p: 0.95, min_p: 0.01 };
        assert!(!plain.set_draw(Some(how)).unwrap() && ahead.set_draw(Some(how)).unwrap());
        let mut drawn = Drawn::new(Draw { seed: 999, ..how });
        for seed in 0..20 {
            let how = Draw { seed, ..how };
            let mut other = Drawn::new(how);
            // A seed is changed, and nothing that was found by the other one counts.
            assert!(ahead.set_draw(Some(how)).unwrap());
            assert!(ahead.drawn(&how).is_err() && ahead.drawn(&Draw { seed: 99, ..how }).unwrap().is_none());
            for ids in [&[1u32, 7, 8][..], &[4], &[2, 2]] {
                for sequence in [&mut plain, &mut ahead] {
                    sequence.roll_back(0).unwrap();
                    sequence.feed(ids).unwrap();
                }
                let wanted = other.pick(&plain).unwrap();
                assert_eq!(ahead.drawn(&how).unwrap(), Some(wanted));
                assert_eq!(other.pick(&ahead).unwrap(), wanted);
                // What draws in another way does so by itself.
                assert_eq!(drawn.pick(&ahead).unwrap(), drawn.pick(&plain).unwrap());
                assert_eq!(ahead.greedy().unwrap(), plain.greedy().unwrap());
                for sequence in [&mut plain, &mut ahead] {
                    sequence.feed(&[wanted]).unwrap();
                }
                assert!(ahead.run_ahead().unwrap());
                let wanted = other.pick(&plain).unwrap();
                assert_eq!(other.pick(&ahead).unwrap(), wanted);
                assert!(matches!(ahead.greedy(), Err(Error::NoLogits)));
                assert!(matches!(drawn.pick(&ahead), Err(Error::NoLogits)));
                for sequence in [&mut plain, &mut ahead] {
                    sequence.feed(&[wanted]).unwrap();
                }
                // It was taken in already, and has logits of its own again only where it is fed another one.
                assert_eq!(other.pick(&ahead).unwrap(), other.pick(&plain).unwrap());
                assert_eq!(ahead.tokens(), plain.tokens());
            }
        }
        assert!(!ahead.set_draw(None).unwrap());
        ahead.feed(&[3]).unwrap();
        plain.feed(&[3]).unwrap();
        assert_eq!(ahead.greedy().unwrap(), plain.greedy().unwrap());
    }
}

/// A sequence that never runs ahead, and one that does so before everything else.
struct Pair {
    plain: Sequence,
    ahead: Sequence,
}

impl Pair {
    /// Has the device run ahead if it can, does something with both, and compares.
    fn both(&mut self, runs: bool, change: impl Fn(&mut Sequence)) {
        let Self { plain, ahead } = self;
        assert_eq!((ahead.run_ahead().unwrap(), plain.run_ahead().unwrap()), (runs, false));
        assert_eq!(ahead.greedy().ok(), plain.greedy().ok());
        assert!(!runs || matches!(ahead.logits(), Err(Error::NoLogits)));
        change(plain);
        change(ahead);
        assert_eq!(ahead.tokens(), plain.tokens());
        assert_eq!(ahead.greedy().ok(), plain.greedy().ok());
    }

    /// As `both`, with what takes tokens in.
    fn feed(&mut self, runs: bool, feed: impl Fn(&mut Sequence)) {
        self.both(runs, feed);
        assert!(self.ahead.logits().unwrap() == self.plain.logits().unwrap());
    }
}

#[test]
fn whatever_is_fed_after_a_step_ran_ahead_counts() {
    let greedy = |sequence: &mut Sequence| {
        let id = sequence.greedy().unwrap();
        sequence.feed(&[id]).unwrap();
    };
    let other = |sequence: &mut Sequence| {
        let id = (sequence.greedy().unwrap() + 1) % 10;
        sequence.feed(&[id]).unwrap();
    };
    for engine in engines() {
        let [plain, ahead] = [false, true].map(|ahead| sequence(&engine, ahead));
        let mut pair = Pair { plain, ahead };
        // Chunks are of two tokens: the last of three is a step of its own.
        pair.feed(false, |sequence| sequence.feed(&[1, 7, 8]).unwrap());
        for _ in 0..3 {
            pair.feed(true, greedy);
            pair.feed(true, other);
            pair.feed(true, |sequence| sequence.feed(&[4, 5, 6, 9]).unwrap());
            pair.feed(false, other);
        }
        pair.feed(true, |sequence| {
            let profile = sequence.feed_profiled(6).unwrap();
            assert!(profile.launches.iter().any(|launch| &*launch.kernel == "follow"));
        });
        pair.both(true, |sequence| sequence.checkpoint().unwrap());
        // It has run ahead already, and nobody has decided.
        pair.both(false, |sequence| sequence.roll_back(sequence.len()).unwrap());
        pair.feed(false, greedy);
        pair.both(true, |sequence| sequence.roll_back(sequence.len() - 1).unwrap());
        assert!(pair.ahead.greedy().is_err());
        pair.feed(false, |sequence| sequence.feed(&[5]).unwrap());
        let go = |_| ControlFlow::Continue(());
        pair.feed(true, |sequence| assert_eq!(sequence.become_text(&[1, 7, 8, 3], go).unwrap(), 3));
        pair.feed(true, other);
        pair.feed(true, |sequence| {
            while sequence.len() < sequence.context() {
                sequence.run_ahead().unwrap();
                greedy(sequence);
            }
        });
        // There is no room for what would follow.
        pair.feed(false, |sequence| assert!(sequence.feed(&[1]).is_err()));
    }
}

#[test]
fn a_list_of_the_largest_is_all_that_a_chain_looks_at() {
    for engine in engines() {
        let [mut plain, mut listed] = [false, true].map(|apart| sequence(&engine, apart));
        for (seed, most) in [(3, 4), (5, 4), (5, 9), (6, 10), (7, 0), (8, 1)] {
            let chain =
                || Box::new(Chain::new(seed).with(TopK(most)).with(MinP(0.01)).with(Temperature(1.5)));
            let rule = StopRule { ignore_ends: true, ..StopRule::after(20) };
            let [wanted, got] = [&mut plain, &mut listed].map(|sequence| {
                let begun = engine.generate_in(sequence, &[1, 7, 8], rule.clone(), chain(), &mut |_| {});
                drain(&mut begun.unwrap())
            });
            assert_eq!(got, wanted, "{most}");
            assert!(plain.shortlist().unwrap().is_none());
            // A list of all is none.
            let list = listed.shortlist().unwrap().map(|(ids, _)| ids.len());
            assert_eq!(list, Some(most).filter(|most| (1..10).contains(most)));
        }
        // It holds the largest logits in order, and a chain that looks at more takes all of them.
        listed.set_shortlist(Some(3)).unwrap();
        assert!(matches!(listed.shortlist(), Err(Error::NoLogits)));
        listed.feed(&[4, 5, 6]).unwrap();
        let logits = listed.logits().unwrap();
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let (got, of) = listed.shortlist().unwrap().unwrap();
        assert_eq!(*got, ids[..3]);
        assert!(of.iter().zip(&ids).all(|(logit, id)| *logit == logits[*id as usize]));
        let mut wide = Chain::new(9).with(TopK(8)).with(Temperature(3.0));
        let past = listed.tokens().to_vec();
        assert_eq!(wide.pick(&listed).unwrap(), wide.choose(&logits, &past).unwrap());
    }
}
