//! Sums of squares against a model that is reckoned here in f64, step by step, from the same file.

use std::ops::ControlFlow;

use forebay_device::{Device, DeviceOptions};
use forebay_tensor::DType;

use super::{Engine, EngineOptions, ImportanceOptions, tests::model};
use crate::{
    error::Error,
    formats::{gguf::Gguf, weights::Precision},
    quantize::Sums,
};

/// The width of the tiny model, and of a head; two heads of queries share one of keys.
const WIDTH: usize = 8;
const HEAD: usize = 4;

fn open(precision: Precision) -> Engine {
    let device = Device::open(&DeviceOptions::cpu().threads(2)).unwrap();
    let options = EngineOptions::default().precision(precision).kv(DType::F32);
    Engine::open_bytes(&device, "tiny", model(""), &options).unwrap()
}

/// The matrices of the file by name, in f64, and what each of them met.
struct Reckoned {
    file: Vec<u8>,
    gguf: Gguf,
    sums: Sums,
}

impl Reckoned {
    fn tensor(&self, name: &str) -> Vec<f64> {
        let range = self.gguf.tensor(name).unwrap().range();
        let bytes = &self.file[range.start as usize..range.end as usize];
        bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
    }

    fn product(&mut self, name: &str, x: &[f64]) -> Vec<f64> {
        let floats: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        self.sums.add(name, x.len(), &floats, 1, &[]).unwrap();
        let matrix = self.tensor(name);
        matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-5).sqrt();
        x.iter().zip(self.tensor(name)).map(|(x, weight)| x * scale * weight).collect()
    }

    fn piece(&mut self, ids: &[u32]) {
        let mut kept: [Vec<(Vec<f64>, Vec<f64>)>; 2] = Default::default();
        for (position, id) in ids.iter().enumerate() {
            let mut hidden = self.tensor("token_embd.weight")[*id as usize * WIDTH..][..WIDTH].to_vec();
            for (layer, kept) in kept.iter_mut().enumerate() {
                let name = |name: &str| format!("blk.{layer}.{name}.weight");
                let x = self.norm(&name("attn_norm"), &hidden);
                let [q, k, v] = ["attn_q", "attn_k", "attn_v"].map(|of| self.product(&name(of), &x));
                let [q, k] = [q, k].map(|heads| turned(&heads, position));
                kept.push((k, v));
                let attended: Vec<f64> = q.chunks(HEAD).flat_map(|q| attend(q, kept)).collect();
                let change = self.product(&name("attn_output"), &attended);
                hidden.iter_mut().zip(change).for_each(|(x, y)| *x += y);
                let x = self.norm(&name("ffn_norm"), &hidden);
                let [gate, up] = ["ffn_gate", "ffn_up"].map(|of| self.product(&name(of), &x));
                let inner: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                let change = self.product(&name("ffn_down"), &inner);
                hidden.iter_mut().zip(change).for_each(|(x, y)| *x += y);
            }
            let x = self.norm("output_norm.weight", &hidden);
            self.product("token_embd.weight", &x);
        }
    }
}

/// Pairs of columns side by side, turned by their position.
fn turned(heads: &[f64], position: usize) -> Vec<f64> {
    let pair = |(i, pair): (usize, &[f64])| {
        let angle = position as f64 * 10_000f64.powf(-2.0 * (i % (HEAD / 2)) as f64 / HEAD as f64);
        let (sin, cos) = angle.sin_cos();
        [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos]
    };
    heads.chunks(2).enumerate().flat_map(pair).collect()
}

fn attend(q: &[f64], kept: &[(Vec<f64>, Vec<f64>)]) -> Vec<f64> {
    let score = |k: &Vec<f64>| k.iter().zip(q).map(|(a, b)| a * b).sum::<f64>() / (HEAD as f64).sqrt();
    let weights: Vec<f64> = kept.iter().map(|(k, _)| score(k).exp()).collect();
    let all: f64 = weights.iter().sum();
    let column = |i: usize| kept.iter().zip(&weights).map(|((_, v), w)| v[i] * w / all).sum();
    (0..HEAD).map(column).collect()
}

/// Two pieces of three tokens and one that is left.
const IDS: [u32; 7] = [1, 7, 8, 4, 5, 6, 9];

#[test]
fn sums_are_those_of_a_model_reckoned_by_hand() {
    let file = model("");
    let gguf = Gguf::parse("tiny", &file).unwrap();
    let mut wanted = Reckoned { file, gguf, sums: Sums::default() };
    // Each piece begins with the token that texts begin with.
    wanted.piece(&[1, 7, 8]);
    wanted.piece(&[1, 5, 6]);
    let options = ImportanceOptions { piece: 3, most: None, output: true };
    for (precision, within) in [(Precision::Strict, 1e-5), (Precision::Fast, 1e-5)] {
        let mut told = Vec::new();
        let watch = |done, all| {
            told.push((done, all));
            ControlFlow::Continue(())
        };
        let (sums, pieces) = open(precision).importance(&IDS, &options, watch).unwrap();
        assert_eq!((pieces, &told[..]), (2, &[(0, 2), (1, 2), (2, 2)][..]));
        assert_eq!(sums.names().len(), 2 * 7 + 1);
        for name in sums.names() {
            let ((found, counts), (wanted, _)) = (sums.get(name).unwrap(), wanted.sums.get(name).unwrap());
            assert_eq!((counts, found.len()), (&[6][..], wanted.len()), "{name}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found / wanted - 1.0).abs() < within, "{name}: {found} instead of {wanted}");
            }
        }
    }
}

#[test]
fn pieces_are_chosen_and_whoever_watches_may_break_off() {
    let engine = open(Precision::Fast);
    let go = |_, _| ControlFlow::Continue(());
    let of = |options: &ImportanceOptions| engine.importance(&IDS, options, go).unwrap();
    let options = ImportanceOptions { piece: 3, ..ImportanceOptions::default() };
    let (all, _) = of(&options);
    // The output is left out unless it is asked for.
    assert_eq!(all.names().len(), 2 * 7);
    let (one, pieces) = of(&ImportanceOptions { most: Some(1), ..options });
    assert_eq!((pieces, one.get("blk.0.attn_q.weight").unwrap().1), (1, &[3][..]));
    let stop = |done, _| if done == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let (broken, pieces) = engine.importance(&IDS, &options, stop).unwrap();
    assert_eq!((pieces, broken.get("blk.1.ffn_down.weight")), (1, one.get("blk.1.ffn_down.weight")));
    let long = ImportanceOptions { piece: 8, ..options };
    assert!(matches!(engine.importance(&IDS, &long, go), Err(Error::EmptyPrompt)));
    let none = ImportanceOptions { piece: 0, ..options };
    assert!(matches!(engine.importance(&IDS, &none, go), Err(Error::Option { .. })));
}
