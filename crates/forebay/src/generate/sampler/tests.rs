//! Chains against the probabilities that llama.cpp gives, and draws against probabilities.

use super::*;
use crate::error::Error;

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn chains_keep_the_same_tokens_with_the_same_probabilities() {
    let Some(root) = std::env::var_os("FOREBAY_FIXTURES") else {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let file = std::fs::read(std::path::Path::new(&root).join("vectors/sampling.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let mut count = 0;
    for case in cases["chains"].as_array().unwrap() {
        let vector = &cases["vectors"][case["vector"].as_u64().unwrap() as usize];
        let logits: Vec<f32> = numbers(&vector["logits"]).iter().map(|logit| *logit as f32).collect();
        let mut chain = Chain::new(0);
        for link in case["chain"].as_array().unwrap() {
            let values: Vec<f32> =
                link.as_array().unwrap()[1..].iter().map(|v| v.as_f64().unwrap() as f32).collect();
            chain = match link[0].as_str().unwrap() {
                "temp" => chain.with(Temperature(values[0])),
                "top_k" => chain.with(TopK(values[0] as usize)),
                "top_p" => chain.with(TopP(values[0])),
                "min_p" => chain.with(MinP(values[0])),
                "typical" => chain.with(Typical(values[0])),
                "top_n_sigma" => chain.with(TopNSigma(values[0])),
                "penalties" => {
                    chain.with(Penalties::new(values[0] as usize, values[1], values[2], values[3]))
                }
                other => panic!("{other}"),
            };
        }
        let got = chain.chances(&logits, &ids(&vector["history"])).unwrap();
        // A token without probability does not count as one that is left.
        let wanted = ids(&case["ids"]).into_iter().zip(numbers(&case["probs"])).filter(|(_, p)| *p > 0.0);
        let wanted: Vec<(u32, f64)> = wanted.collect();
        assert_eq!(got.len(), wanted.len(), "{}", case["chain"]);
        for (got, wanted) in got.iter().zip(&wanted) {
            assert_eq!(got.0, wanted.0, "{}", case["chain"]);
            assert!((got.1 - wanted.1).abs() < 1e-6, "{}: {got:?}, wanted {wanted:?}", case["chain"]);
        }
        count += 1;
    }
    assert!(count >= 22);
}

#[test]
fn draws_are_as_frequent_as_likely_and_the_same_for_the_same_seed() {
    let logits: Vec<f32> = (0..200).map(|i| ((i * 7) % 13) as f32 / 3.0).collect();
    let mut chain = Chain::new(5).with(TopP(0.9)).with(Temperature(0.8));
    let chances = chain.chances(&logits, &[]).unwrap();
    let past = [0; 20_000];
    let draw = |chain: &mut Chain| -> Vec<u32> {
        (0..past.len()).map(|length| chain.choose(&logits, &past[..length]).unwrap()).collect()
    };
    let drawn = draw(&mut chain);
    for (id, chance) in &chances {
        let share = drawn.iter().filter(|other| *other == id).count() as f64 / past.len() as f64;
        assert!(
            (share - chance).abs() < 5.0 * (chance / past.len() as f64).sqrt(),
            "{id}: {share}, {chance}"
        );
    }
    assert!(drawn.iter().all(|id| chances.iter().any(|(other, _)| other == id)));
    assert_eq!(chain.choose(&logits, &past[..77]).unwrap(), drawn[77]);
    let mut other = Chain::new(6).with(TopP(0.9)).with(Temperature(0.8));
    assert_ne!(draw(&mut other), drawn);
}

#[test]
fn draws_are_those_of_the_chain_that_they_stand_for() {
    let logits: Vec<f32> = (0..300).map(|i| ((i * 7919) % 997) as f32 / 90.0).collect();
    let mut differ = 0;
    for (keep, temperature, top_p, min_p) in [
        (40, 0.8, 0.95, 0.05),
        (1, 1.0, 1.0, 0.0),
        (256, 1.7, 1.0, 0.0),
        (20, 0.3, 0.5, 0.0),
        (9, 1.0, 1.0, 0.4),
    ] {
        let mut drawn = Drawn::new(Draw { seed: 5, keep, temperature, top_p, min_p });
        let chain = Chain::new(5).with(TopK(keep as usize)).with(TopP(top_p)).with(MinP(min_p));
        let mut chain = chain.with(Temperature(temperature));
        let past = [0; 500];
        for length in 0..past.len() {
            let chosen = chain.choose(&logits, &past[..length]).unwrap();
            differ += usize::from(drawn.choose(&logits, length).unwrap() != chosen);
        }
    }
    // Sums of other orders fall on other sides of a number, hardly ever.
    assert!(differ <= 1, "{differ}");
    let how = Draw { seed: 5, keep: 0, temperature: 1.0, top_p: 1.0, min_p: 0.0 };
    assert_eq!(Drawn::new(how).choose(&[0.5, 2.0], 7).unwrap(), 1, "one candidate is kept at least");
    assert!(matches!(Drawn::new(how).choose(&[f32::NAN], 0), Err(Error::NoToken)));
    assert!(matches!(Drawn::new(how).choose(&[f32::NEG_INFINITY; 2], 0), Err(Error::NoToken)));
}

#[test]
fn what_only_the_host_can_do_is_named() {
    let plain = SamplerOptions::default();
    assert_eq!(plain.needs_host(), None);
    let greedy = SamplerOptions { temperature: 0.0, top_k: 0, typical_p: 0.5, ..plain.clone() };
    assert_eq!(greedy.needs_host(), None);
    let xtc = XtcOptions { probability: 0.1, threshold: 0.1 };
    for (options, what) in [
        (SamplerOptions { logit_bias: vec![(1, 1.0)], ..plain.clone() }, "bias"),
        (SamplerOptions { presence_penalty: 0.5, ..plain.clone() }, "penalties"),
        (SamplerOptions { repetition_penalty: 1.1, ..greedy.clone() }, "penalties"),
        (SamplerOptions { xtc, ..greedy }, "XTC"),
        (
            SamplerOptions { dry: DryOptions { multiplier: 0.8, ..DryOptions::default() }, ..plain.clone() },
            "DRY",
        ),
        (SamplerOptions { typical_p: 0.9, ..plain.clone() }, "typical"),
        (SamplerOptions { top_n_sigma: 1.0, ..plain.clone() }, "sigma"),
        (SamplerOptions { top_k: 0, ..plain.clone() }, "top-k"),
        (SamplerOptions { top_k: 257, ..plain }, "top-k"),
    ] {
        let told = options.needs_host().unwrap();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn every_processor_leaves_something_of_anything() {
    let mut all_equal = vec![1.0f32; 50];
    all_equal[7] = f32::NAN;
    for logits in [&[0.0][..], &[f32::NAN, -1e30], &[f32::INFINITY, 0.0], &[f32::MAX, f32::MIN], &all_equal] {
        for zero in [true, false] {
            let number = if zero { 0.0 } else { 1e-6 };
            let mut chain = Chain::new(1)
                .with(Penalties::new(9, 3.0, 1e30, 1e30))
                .with(Dry::new(1e30, 4.0, 1, 99, Vec::new()))
                .with(TopNSigma(number))
                .with(TopK(1 + usize::from(zero)))
                .with(Typical(number))
                .with(TopP(number))
                .with(MinP(1.0))
                .with(Xtc { probability: 1.0, threshold: 0.0 })
                .with(Temperature(number));
            let token = chain.choose(logits, &[0, 1, 0, 1, 0]).unwrap();
            assert!((token as usize) < logits.len() && !logits[token as usize].is_nan());
        }
    }
    let mut chain = Chain::new(1).with(LogitBias(vec![(0, f32::NEG_INFINITY)]));
    assert_eq!(chain.choose(&[9.0, 0.0], &[]).unwrap(), 1);
    assert!(matches!(chain.choose(&[9.0, f32::NAN], &[]), Err(Error::NoToken)));
    assert!(matches!(Chain::new(1).choose(&[], &[]), Err(Error::NoToken)));
}

#[test]
fn the_likeliest_are_left_out_as_often_as_was_asked_for() {
    let logits = [5.0f32, 4.9, 4.8, 0.0];
    let left = |probability, threshold, past: &[u32]| {
        let chances = Chain::new(3).with(Xtc { probability, threshold }).chances(&logits, past).unwrap();
        chances.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    };
    assert_eq!(left(1.0, 0.1, &[]), [2, 3]);
    assert_eq!(left(1.0, 0.33, &[]), [1, 2, 3]);
    assert_eq!(left(1.0, 0.36, &[]), [0, 1, 2, 3]);
    assert_eq!(left(0.0, 0.1, &[]), [0, 1, 2, 3]);
    let past = [0; 1000];
    let often = (0..1000).filter(|&length| left(0.3, 0.1, &past[..length]).len() == 2).count();
    assert!((250..350).contains(&often), "{often}");
}

#[test]
fn a_temperature_of_nothing_takes_the_first_of_the_largest() {
    for temperature in [0.0, 1e-30] {
        let mut chain = Chain::new(9).with(Temperature(temperature));
        assert_eq!(chain.choose(&[1.0, 3.0, 2.0], &[]).unwrap(), 1);
    }
    assert_eq!(Chain::new(9).with(Temperature(0.0)).choose(&[3.0, 3.0], &[]).unwrap(), 0);
}
