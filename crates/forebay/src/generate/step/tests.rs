//! Sequences whose model is on two devices, against the same on one: nobody can tell but by the clock.

use std::{ops::ControlFlow, sync::Arc};

use forebay_device::{Device, DeviceOptions, NullCall, NullOptions};
use forebay_tensor::{DType, Ops};

use super::{Sequence, SequenceOptions};
use crate::{
    error::Error,
    formats::placement::Placement,
    models::{Model, made},
};

const IDS: [u32; 21] = [1, 7, 8, 4, 5, 6, 9, 3, 3, 0, 2, 7, 10, 1, 1, 4, 2, 8, 0, 5, 6];

fn cpu(threads: usize) -> Device {
    Device::open(&DeviceOptions::cpu().threads(threads)).unwrap()
}

fn model(placement: &Placement, file: &[u8]) -> (Arc<dyn Model>, Vec<Arc<Ops>>) {
    let model: Arc<dyn Model> = made::open(placement, file).unwrap().into();
    let ops = model.legs().iter().map(|leg| Arc::new(Ops::open(&leg.device).unwrap())).collect();
    (model, ops)
}

fn sequence(placement: &Placement, file: &[u8], options: &SequenceOptions) -> Sequence {
    let (model, ops) = model(placement, file);
    Sequence::new(model, &ops, options).unwrap()
}

fn options() -> SequenceOptions {
    SequenceOptions { context: 64, kv: DType::F32, chunk: 5, apart: Some(true), ..SequenceOptions::default() }
}

/// A model with states and experts, and one with windows, both of two layers.
fn files() -> [Vec<u8>; 2] {
    let hybrid = made::file("qwen3next", &made::numbers(), &[], &made::joined(made::hybrid()));
    let mut numbers = made::plain_numbers();
    numbers.extend([("block_count", 2), ("attention.sliding_window", 4)]);
    [hybrid, made::file("llama", &numbers, &[], &made::doubled(made::plain()))]
}

/// The same text on one device, and on two.
struct Texts([Sequence; 2]);

impl Texts {
    fn new(file: &[u8], options: &SequenceOptions) -> Self {
        let (one, two) = (cpu(1), cpu(2));
        Self([Placement::on(&one), Placement::on(&two).then(&one, 1)].map(|on| sequence(&on, file, options)))
    }

    /// Does something with all of them, and compares what there is afterwards.
    fn all<T: PartialEq + std::fmt::Debug>(&mut self, mut change: impl FnMut(&mut Sequence) -> T) -> T {
        let [one, two] = &mut self.0;
        let (wanted, got) = (change(one), change(two));
        assert_eq!(got, wanted);
        assert_eq!(two.tokens(), one.tokens());
        assert_eq!(two.greedy().ok(), one.greedy().ok());
        assert_eq!(two.logits().ok(), one.logits().ok());
        for to in 0..=one.len() {
            assert_eq!(two.reach(to), one.reach(to));
        }
        wanted
    }
}

#[test]
fn texts_are_fed_taken_back_and_begun_anew_alike() {
    for (file, apart) in files().iter().flat_map(|file| [(file, true), (file, false)]) {
        // Apart from the host, the hidden state goes through memory that both see.
        let mut texts = Texts::new(file, &SequenceOptions { apart: Some(apart), ..options() });
        assert_eq!(texts.0.each_ref().map(|text| text.legs().count()), [1, 2]);
        texts.all(|text| text.feed(&IDS).unwrap());
        texts.all(|text| text.checkpoint().unwrap());
        for _ in 0..3 {
            texts.all(|text| {
                let id = text.greedy().unwrap();
                text.feed(&[id]).unwrap();
            });
        }
        texts.all(|text| text.feed(&IDS[..12]).unwrap());
        let near = texts.all(|text| text.reach(30));
        texts.all(|text| text.roll_back(near).unwrap());
        texts.all(|text| text.feed(&IDS[3..11]).unwrap());
        texts.all(|text| text.roll_back(21).unwrap());
        texts.all(|text| text.roll_back(13).map_err(|error| error.to_string()).err());
        let go = |_| ControlFlow::Continue(());
        let other = [&IDS[..], &[3, 4, 5, 6]].concat();
        let kept = texts.all(|text| text.become_text(&other, go).unwrap());
        assert!([13, 21].contains(&kept), "{kept}");
        texts.all(|text| text.become_text(&IDS[2..], go).unwrap());
        texts.all(|text| text.roll_back(0).unwrap());
        texts.all(|text| text.feed(&IDS).unwrap());
    }
}

#[test]
fn whoever_is_told_may_break_off() {
    for file in files() {
        let mut texts = Texts::new(&file, &options());
        let told = texts.all(|text| {
            let mut told = Vec::new();
            let watch = |done| {
                told.push(done);
                if done < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            text.feed_watched(&IDS, watch).unwrap();
            told
        });
        assert_eq!((told, texts.0[1].len()), (vec![0, 5, 10], 10));
        texts.all(|text| text.feed(&IDS[10..]).unwrap());
    }
}

#[test]
fn what_else_a_sequence_shows_is_the_same() {
    for file in files() {
        let mut texts = Texts::new(&file, &options());
        texts.all(|text| {
            text.set_shortlist(Some(3)).unwrap();
            text.feed(&IDS[..9]).unwrap();
            let (ids, logits) = text.shortlist().unwrap().unwrap();
            (ids.to_vec(), logits.to_vec())
        });
        texts.all(|text| {
            let mut hidden = Vec::new();
            text.feed_hidden(&IDS[9..16], |rows| {
                hidden.extend_from_slice(rows);
                Ok(())
            })
            .unwrap();
            hidden
        });
        texts.all(|text| {
            let mut seen = std::collections::BTreeMap::new();
            let see = |of: crate::models::witness::Multiplied<'_>| {
                seen.insert(of.name.to_owned(), (of.rows.to_vec(), of.ids.to_vec()));
                Ok(())
            };
            text.feed_witnessed(&IDS[16..], see).unwrap();
            seen
        });
        // Each leg reckons the angles of its own.
        texts.all(|text| {
            let launches = text.feed_profiled(4).unwrap().launches;
            let kernels = launches.iter().map(|launch| launch.kernel.to_string());
            kernels.filter(|of| of != "copy or fill" && of != "angles").collect::<Vec<_>>()
        });
        for rows in [1, 5] {
            texts.all(|text| {
                let mut notes = text.explain(rows).unwrap();
                notes.retain(|note| note.op != "angles" && note.op != "copy or fill");
                notes
            });
        }
        // The first leg has to be told the token by the host.
        let [one, two] = &mut texts.0;
        assert!(!two.run_ahead().unwrap());
        assert_eq!(one.run_ahead().unwrap(), one.last.room.cache.may_overshoot());
        let mut all = Texts::new(&file, &SequenceOptions { all_logits: true, ..options() });
        all.all(|text| {
            let mut logits = Vec::new();
            text.feed_each(&IDS, |rows| {
                logits.extend_from_slice(rows);
                Ok(())
            })
            .unwrap();
            logits
        });
    }
}

#[test]
fn what_is_noted_of_a_step_is_what_is_timed_and_nothing_of_it_runs() {
    for (file, apart) in files().iter().flat_map(|file| [(file, false), (file, true)]) {
        let mut texts = Texts::new(file, &SequenceOptions { apart: Some(apart), ..options() });
        for text in &mut texts.0 {
            text.feed(&IDS[..1]).unwrap();
            let before = text.logits().unwrap();
            let notes = text.explain_step().unwrap();
            assert_eq!(text.logits().unwrap(), before);
            let noted = notes.iter().flat_map(|note| &note.launches).map(|launch| launch.kernel.clone());
            let profile = text.feed_profiled(4).unwrap();
            let timed = profile.launches.iter().map(|launch| launch.kernel.clone());
            assert_eq!(noted.collect::<Vec<_>>(), timed.collect::<Vec<_>>());
            let again = text.explain_step().unwrap();
            let of = |notes: &[forebay_tensor::Note], op| {
                let launches = notes.iter().filter(|note| note.op == op).flat_map(|note| &note.launches);
                launches.map(|launch| launch.traffic.all()).sum::<u64>()
            };
            // A text that is longer has more to look at, and no more to multiply.
            assert!(of(&again, "attention") > of(&notes, "attention"));
            assert_eq!(of(&again, "matmul"), of(&notes, "matmul"));
        }
    }
}

#[test]
fn a_text_that_one_leg_has_and_another_has_not_is_no_longer_used() {
    let (null, control) = NullOptions::default().open(&DeviceOptions::null()).unwrap();
    let mut text = sequence(&Placement::on(&cpu(1)).then(&null, 1), &files()[0], &options());
    text.feed(&IDS[..7]).unwrap();
    let lost = forebay_device::Error::Lost { reason: "unplugged".into() };
    control.fail(NullCall::Submit, 1, lost);
    for _ in 0..2 {
        let error = text.feed(&IDS[7..12]).unwrap_err();
        assert!(error.to_string().contains("unplugged"), "{error}");
        assert_eq!(text.len(), 7);
        assert!(text.checkpoint().is_err() && text.roll_back(3).is_err());
    }
}

#[test]
fn ops_are_for_each_leg() {
    let (model, ops) = model(&Placement::on(&cpu(1)).then(&cpu(1), 1), &files()[0]);
    let error = Sequence::new(model, &ops[..1], &options()).unwrap_err();
    assert!(matches!(error, Error::OtherModel { what: "ops" }), "{error}");
}
