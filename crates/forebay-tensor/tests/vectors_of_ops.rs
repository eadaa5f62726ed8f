//! Ops against vectors that other software made: rotary tables, delta rule, convolution, curves, norms, attention, routing
//! and sampler chains. Found through FOREBAY_FIXTURES; without it they are left out.

#![allow(clippy::print_stdout, reason = "says what is left out")]
#![allow(clippy::unwrap_used, reason = "a vector that cannot be read is a failed test")]

use std::{collections::BTreeMap, path::PathBuf};

use forebay_device::{Device, DeviceOptions, Session};
use forebay_tensor::{
    DType, Element, Op, Ops, Registered, Tensor,
    ops::{
        Activate, Angles, Attention, CausalConv, Draw, Gate, GatedDelta, GatedNorm, L2Norm, Random, RmsNorm,
        Router, Sample, TopK,
        activate::Curve,
        angles::{Frequencies, Scaling},
        attention::Sight,
        gate::Gating,
        gated_delta::Heads,
        router::Score,
    },
};
use serde_json::Value;

/// A device, and the vectors.
struct Bench {
    device: Device,
    ops: Ops,
    session: Session,
    bytes: Vec<u8>,
    tensors: BTreeMap<String, (Vec<usize>, usize, usize)>,
}

fn folder() -> Option<PathBuf> {
    let root = std::env::var_os("FOREBAY_FIXTURES");
    if root.is_none() {
        println!("left out: vectors of ops, since FOREBAY_FIXTURES is not set");
    }
    root.map(|root| PathBuf::from(root).join("vectors"))
}

impl Bench {
    fn open() -> Option<Self> {
        let bytes = std::fs::read(folder()?.join("ops.safetensors")).unwrap();
        let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..data]).unwrap();
        let place = |(name, tensor): (String, Value)| {
            let number = |value: &Value| value.as_u64().unwrap() as usize;
            let shape = tensor["shape"].as_array()?.iter().map(number).collect();
            let offset = |i: usize| data + number(&tensor["data_offsets"][i]);
            Some((name, (shape, offset(0), offset(1))))
        };
        let tensors = header.into_iter().filter_map(place).collect();
        let device = Device::open(&DeviceOptions::cpu().threads(2)).unwrap();
        let (ops, session) = (Ops::open(&device).unwrap(), device.session().unwrap());
        Some(Self { device, ops, session, bytes, tensors })
    }

    fn bytes(&self, name: &str) -> &[u8] {
        let (_, start, end) = self.tensors[name];
        &self.bytes[start..end]
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.put(&self.tensors[name].0, &self.floats(name))
    }

    fn put<T: Element>(&self, shape: &[usize], elements: &[T]) -> Tensor {
        Tensor::from_slice(&self.device, shape, elements).unwrap()
    }

    fn empty(&self, dtype: DType, shape: &[usize]) -> Tensor {
        let request = Tensor::request(dtype, shape).unwrap();
        Tensor::of(dtype, shape, self.device.alloc(request).unwrap()).unwrap()
    }

    fn run<O: Registered>(&mut self, op: &O) {
        let mut stage = self.session.stage(<O as Op>::NAME);
        self.ops.record(&mut stage, op).unwrap();
        stage.fence().unwrap().wait().unwrap();
    }

    fn near(&self, name: &str, got: &Tensor, tolerance: f32) {
        near(name, &got.to_f32().unwrap(), &self.floats(name), |_| tolerance);
    }
}

fn near(name: &str, got: &[f32], wanted: &[f32], tolerance: impl Fn(usize) -> f32) {
    assert_eq!(got.len(), wanted.len(), "{name}");
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (got - wanted).abs() <= tolerance(i) * wanted.abs().max(1.0),
            "{name}[{i}] is {wanted}, not {got}"
        );
    }
}

#[test]
fn rotary_tables_are_those_of_transformers() {
    let Some(mut bench) = Bench::open() else { return };
    let ramp = |factor, truncate, context| Scaling::Ramp { factor, fast: 32.0, slow: 1.0, context, truncate };
    let bands = |factor| Scaling::Bands { factor, low: 1.0, high: 4.0, context: 8192 };
    let positions: Vec<u32> = bench
        .bytes("rope.positions")
        .as_chunks::<8>()
        .0
        .iter()
        .map(|p| i64::from_le_bytes(*p) as u32)
        .collect();
    for (name, base, scaling) in [
        ("default", 1e4, Scaling::None),
        ("theta1e6", 1e6, Scaling::None),
        ("linear8", 1e6, Scaling::Linear(8.0)),
        ("llama3", 5e5, bands(8.0)),
        ("llama3_32", 5e5, bands(32.0)),
        ("yarn4", 1e6, ramp(4.0, true, 32_768)),
        ("yarn32_gptoss_trunc", 1.5e5, ramp(32.0, true, 4096)),
        ("yarn32_gptoss_notrunc", 1.5e5, ramp(32.0, false, 4096)),
    ] {
        let table = Frequencies::new(base, 64, &scaling);
        let wanted = bench.floats(&format!("rope.{name}.inv_freq"));
        for (got, wanted) in table.radians.iter().zip(&wanted) {
            assert!((got / wanted - 1.0).abs() < 2e-6, "{name}: {got} is not {wanted}");
        }
        let (p, f) = (bench.put(&[positions.len()], &positions), bench.put(&[32], &wanted));
        let out = bench.empty(DType::F32, &[positions.len(), 2, 32]);
        bench.run(&Angles { magnitude: table.magnitude, ..Angles::new(&p, &f, &out) });
        let got = out.to_vec::<f32>().unwrap();
        for (part, half) in ["cos", "sin"].into_iter().zip(0..) {
            let own: Vec<f32> = got.chunks(64).flat_map(|row| &row[half * 32..][..32]).copied().collect();
            // Theirs are products of f32, which are off by a part of the angle.
            let angle = |i: usize| positions[i / 32] as f32 * wanted[i % 32];
            let key = format!("rope.{name}.{part}");
            near(&key, &own, &bench.floats(&key), |i| 2e-6 + 1.2e-7 * angle(i));
        }
    }
}

#[test]
fn delta_rule_and_convolution_are_those_of_transformers() {
    let Some(mut bench) = Bench::open() else { return };
    let (q, k, v) = (bench.tensor("gdn.q"), bench.tensor("gdn.k"), bench.tensor("gdn.v"));
    let (decay, beta, start) = (bench.tensor("gdn.g"), bench.tensor("gdn.beta"), bench.floats("gdn.s0"));
    for x in [&q, &k] {
        bench.run(&L2Norm { x, epsilon: 1e-6 });
    }
    let scale = 1.0 / 32f32.sqrt();
    for pieces in [1, 10, 70] {
        let (state, out) = (bench.put(&[4, 32, 32], &start), bench.empty(DType::F32, &[70, 4, 32]));
        for i in 0..pieces {
            let part = |x: &Tensor| x.narrow(0, i * 70 / pieces..(i + 1) * 70 / pieces).unwrap();
            let (q, k, v, decay, beta, out) =
                (part(&q), part(&k), part(&v), part(&decay), part(&beta), part(&out));
            let (heads, q, k, v, decay, beta) = (Heads::Grouped, &q, &k, &v, &decay, &beta);
            bench.run(&GatedDelta { q, k, v, decay, beta, heads, scale, state: &state, out: &out });
        }
        bench.near("gdn.out", &out, 2e-6);
        bench.near("gdn.s1", &state, 2e-6);
    }
    let (x, weight) = (bench.tensor("conv.x"), bench.tensor("conv.w"));
    let (state, out) = (bench.put(&[3, 48], &[0.0f32; 144]), bench.empty(DType::F32, &[20, 48]));
    bench.run(&CausalConv { x: &x, weight: &weight, bias: None, state: &state, silu: true, out: &out });
    bench.near("conv.out_silu", &out, 2e-6);
}

#[test]
fn curves_and_norms_are_those_of_transformers() {
    let Some(mut bench) = Bench::open() else { return };
    for curve in [Curve::Silu, Curve::GeluTanh, Curve::GeluErf, Curve::Softplus] {
        let x = bench.tensor("act.x");
        bench.run(&Activate { x: &x, curve });
        bench.near(&format!("act.{}", curve.name()), &x, 2e-6);
    }
    let (gate, up) = (bench.tensor("act.x"), bench.tensor("act.y"));
    bench.run(&Gate { gate: &gate, up: &up, gating: Gating::Clamped { alpha: 1.702, limit: 7.0 } });
    bench.near("act.gptoss_swiglu_xgate_yup", &up, 2e-6);
    let weight = bench.tensor("norm.w");
    let x = bench.tensor("norm.x");
    bench.run(&RmsNorm { x: &x, weight: Some(&weight), epsilon: 1e-6, out: None });
    bench.near("norm.rms", &x, 4e-6);
    let more: Vec<f32> = bench.floats("norm.w").iter().map(|w| 1.0 + w).collect();
    let (x, more) = (bench.tensor("norm.x"), bench.put(&[256], &more));
    bench.run(&RmsNorm { x: &x, weight: Some(&more), epsilon: 1e-6, out: None });
    bench.near("norm.rms_1p", &x, 4e-6);
    let (x, gate) = (bench.tensor("norm.x"), bench.tensor("norm.z"));
    bench.run(&GatedNorm { x: &x, weight: &weight, gate: &gate, epsilon: 1e-6 });
    bench.near("norm.rms_gated", &x, 4e-6);
}

#[test]
fn attention_and_routing_are_those_of_transformers() {
    let Some(mut bench) = Bench::open() else { return };
    let q = bench.tensor("attn.q");
    // Theirs lie position by position.
    let by_heads = |name: &str| {
        let x = bench.floats(name);
        let at = |head: usize, position: usize| &x[(position * 2 + head) * 16..][..16];
        (0..2)
            .flat_map(|head| (0..21).flat_map(move |position| at(head, position)))
            .copied()
            .collect::<Vec<f32>>()
    };
    let [k, v] = ["attn.k", "attn.v"].map(|name| bench.put(&[2, 21, 16], &by_heads(name)));
    let positions = bench.put(&[21], &(0..21).collect::<Vec<u32>>());
    for (name, sight, softcap) in [
        ("attn.plain", Sight::Before, None),
        ("attn.window6", Sight::Window(6), None),
        ("attn.softcap5", Sight::Before, Some(5.0)),
    ] {
        let out = bench.empty(DType::F32, &[21, 4, 16]);
        bench.run(&Attention { sight, softcap, ..Attention::new(&q, &k, &v, &positions, 0.25, &out) });
        bench.near(name, &out, 3e-6);
    }
    let logits = bench.tensor("route.logits");
    for (name, score, renormalise) in [
        ("route.top4_raw", Score::Softmax, false),
        ("route.top4_renorm", Score::Softmax, true),
        ("route.top4_softmax_after", Score::SoftmaxOfChosen, false),
    ] {
        let (ids, weights) = (bench.empty(DType::U32, &[9, 4]), bench.empty(DType::F32, &[9, 4]));
        bench.run(&Router { renormalise, ..Router::new(&logits, score, &ids, &weights) });
        assert_eq!(ids.buffer().to_vec::<u8>().unwrap(), bench.bytes("route.top4_ids"));
        bench.near(name, &weights, 1e-6);
    }
}

#[test]
fn sampler_chains_keep_what_llama_cpp_keeps() {
    let (Some(mut bench), Some(folder)) = (Bench::open(), folder()) else { return };
    let all: Value = serde_json::from_slice(&std::fs::read(folder.join("sampling.json")).unwrap()).unwrap();
    let numbers =
        |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let mut checked = 0;
    for case in all["chains"].as_array().unwrap() {
        let order = ["top_k", "top_p", "min_p", "temp"];
        let steps: Vec<(&str, f32)> = case["chain"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| (step[0].as_str().unwrap(), step[1].as_f64().unwrap() as f32))
            .collect();
        let places: Vec<_> = steps.iter().map(|(name, _)| order.iter().position(|one| one == name)).collect();
        if places.contains(&None) || !places.is_sorted() {
            continue;
        }
        checked += 1;
        let of =
            |name: &str, other: f32| steps.iter().find(|(one, _)| *one == name).map_or(other, |(_, x)| *x);
        let logits: Vec<f32> = numbers(&all["vectors"][case["vector"].as_u64().unwrap() as usize]["logits"])
            .iter()
            .map(|x| *x as f32)
            .collect();
        let k = of("top_k", logits.len() as f32) as usize;
        let x = bench.put(&[1, logits.len()], &logits);
        let (values, ids) = (bench.empty(DType::F32, &[1, k]), bench.empty(DType::U32, &[1, k]));
        bench.run(&TopK { x: &x, values: &values, ids: &ids });
        let (position, out) = (bench.put(&[1], &[0u32]), bench.empty(DType::U32, &[1]));
        let (top_p, min_p, temperature) = (of("top_p", 1.0), of("min_p", 0.0), of("temp", 1.0));
        let draw = Draw { seed: 11, keep: 0, temperature, top_p, min_p };
        let rules = bench.put(&[1, Draw::WORDS], &draw.words());
        let number = |position: &u32| Random::new(draw.seed).uniform(u64::from(*position) + 1, 0);
        let mut before = 0.0;
        let wanted = numbers(&case["ids"]);
        for (id, chance) in wanted.iter().zip(numbers(&case["probs"])) {
            // Those nearest to both ends of its share, of the positions whose numbers fall into it; a small share may have none.
            let inside = |at: &u32| (before + 2e-6..before + chance - 2e-6).contains(&number(at));
            let by_number = |a: &u32, b: &u32| number(a).total_cmp(&number(b));
            let ends =
                [(0..4000).filter(inside).min_by(by_number), (0..4000).filter(inside).max_by(by_number)];
            for at in ends.into_iter().flatten() {
                position.copy_from(&[at]).unwrap();
                let (values, ids, positions, rules) = (&values, &ids, &position, &rules);
                bench.run(&Sample { values, ids, positions, rules, places: None, out: &out });
                assert_eq!(f64::from(out.to_vec::<u32>().unwrap()[0]), *id, "{:?} at {at}", case["chain"]);
            }
            before += chance;
        }
    }
    assert!(checked >= 10, "only {checked} chains");
}
