//! What weights were multiplied with in a pass: copies of the rows, made before later ops write over them.
//!
//! It knows weights by their names and never what they mean. Rows are those before any rounding. Next room:
//! `generate::step`, which hands out what was seen.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use forebay_device::{Device, Tag};
use forebay_tensor::{Recorder, Tensor, ops::Copy};

use crate::error::Result;

/// The rows that a weight was multiplied with, as [`Sequence::feed_witnessed`](crate::generate::step::Sequence::feed_witnessed)
/// shows them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Multiplied<'a> {
    /// The name of the weight.
    pub name: &'a str,
    /// Elements of a row.
    pub width: usize,
    /// The rows, one after another.
    pub rows: &'a [f32],
    /// Experts that there are; 1 where there are none.
    pub experts: usize,
    /// The experts of each row, as many for every one; none where there are no experts.
    pub ids: &'a [u32],
}

/// Sees what the weights of one pass are multiplied with.
#[derive(Debug)]
pub(crate) struct Witness {
    device: Device,
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Debug)]
struct Seen {
    rows: Tensor,
    /// How many experts there are, and those of each row.
    experts: Option<(usize, Tensor)>,
}

impl Witness {
    pub(crate) fn new(device: &Device) -> Self {
        Self { device: device.clone(), seen: Mutex::default() }
    }

    /// Records copies of the rows that a weight is multiplied with, and of the experts that they go to. Weights of one name
    /// are parts of one, which read the same rows.
    pub(crate) fn see(
        &self,
        ops: &mut Recorder<'_, '_>,
        name: &str,
        rows: &Tensor,
        experts: Option<(usize, &Tensor)>,
    ) -> Result<()> {
        if self.seen().contains_key(name) {
            return Ok(());
        }
        let mut copy = |x: &Tensor| -> Result<Tensor> {
            let request = Tensor::request(x.dtype(), x.shape())?.tag(Tag::Activations).label("witness");
            let out = Tensor::of(x.dtype(), x.shape(), self.device.alloc(request)?)?;
            ops.record(&Copy { x, out: &out })?;
            Ok(out)
        };
        let rows = copy(rows)?;
        let experts = experts.map(|(count, ids)| Ok::<_, crate::Error>((count, copy(ids)?))).transpose()?;
        self.seen().insert(name.to_owned(), Seen { rows, experts });
        Ok(())
    }

    /// Waits for the pass and hands out what was seen, by name.
    pub(crate) fn tell(&self, each: &mut dyn FnMut(Multiplied<'_>) -> Result<()>) -> Result<()> {
        for (name, Seen { rows, experts }) in self.seen().iter() {
            let width = rows.shape().last().copied().unwrap_or(1);
            let (experts, ids) = match experts {
                Some((count, ids)) => (*count, ids.to_vec::<u32>()?),
                None => (1, Vec::new()),
            };
            each(Multiplied { name, width, rows: &rows.read::<f32>()?, experts, ids: &ids })?;
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        // What is in there is whole at any time.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forebay_device::DeviceOptions;
    use forebay_tensor::{DType, Ops};

    use super::*;
    use crate::{
        models::{Pass, activations::Activations, cache::Cache, made},
        quantize::Sums,
    };

    /// What the weights of a hybrid with experts are multiplied with, for five tokens.
    fn sums() -> Sums {
        let bytes = made::file("qwen3next", &made::numbers(), &[], &made::joined(made::hybrid()));
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let (model, ops) = (made::open(&device, &bytes).unwrap(), Ops::open(&device).unwrap());
        let cache = Cache::new(&device, model.sizes(), &model.keeps(), 0..2, DType::F32, 64, 5).unwrap();
        let witness = Arc::new(Witness::new(&device));
        let buffers = Activations::new(&device, model.sizes(), 64, 5, 1).unwrap().witnessed(&witness);
        let [ids, positions] = [[1u32, 7, 3, 9, 7], [0, 1, 2, 3, 4]]
            .map(|numbers| Tensor::from_slice(&device, &[5], &numbers).unwrap());
        let mut session = device.session().unwrap();
        let mut stage = session.stage("pass");
        let pass = Pass { ids: &ids, positions: &positions, places: None, cache: &cache, buffers: &buffers };
        model.forward(&mut ops.on(&mut stage), &pass).unwrap();
        stage.submit().unwrap();
        let mut sums = Sums::default();
        witness.tell(&mut |seen| sums.add(seen.name, seen.width, seen.rows, seen.experts, seen.ids)).unwrap();
        sums
    }

    #[test]
    fn experts_see_what_their_router_saw() {
        let sums = sums();
        for layer in 0..2 {
            let of = |name: &str| sums.get(&format!("blk.{layer}.{name}.weight")).unwrap();
            let ((router, rows), (gate, counts)) = (of("ffn_gate_inp"), of("ffn_gate_exps"));
            assert_eq!((rows, counts.iter().sum::<u64>()), (&[5][..], 5 * 2));
            // Every row went to two experts.
            for (column, all) in router.iter().enumerate() {
                let each: f64 = gate.iter().skip(column).step_by(router.len()).sum();
                assert!((each / (2.0 * all) - 1.0).abs() < 1e-12, "{each} {all}");
            }
            assert_eq!(of("ffn_up_exps"), (gate, counts));
            let (down, of_down) = of("ffn_down_exps");
            assert_eq!((of_down, down.len()), (counts, 5 * 10));
            for (expert, count) in counts.iter().enumerate() {
                let sees =
                    |sums: &[f64], width: usize| sums[expert * width..][..width].iter().all(|x| *x > 0.0);
                assert_eq!((sees(gate, router.len()), sees(down, 10)), (*count > 0, *count > 0));
            }
            assert_eq!(of("ffn_gate_shexp").0, router);
            assert_eq!(of("ffn_gate_inp_shexp").0, router);
        }
        // Parts of one matrix are one.
        assert_eq!(sums.get("blk.0.attn_qkv.weight").unwrap().1, [5]);
        // The output sees the last row only.
        assert_eq!(sums.get("token_embd.weight").unwrap().1, [1]);
        assert_eq!(sums.names().len(), 4 + 4 + 2 * 8 + 1);
    }
}
