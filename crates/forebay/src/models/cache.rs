//! The cache: what each layer keeps of the positions so far for those that follow, and the ways back to earlier ones.
//!
//! Attention keeps keys and values: of all positions, or in a ring of the last ones where it sees no others. A delta
//! network keeps states that every position changes. Keys and values can be forgotten position by position, a ring as
//! far as it has room to spare; for everything else there are checkpoints, copies of states and rings.
//! Next room: `generate::step`, whose sequences own one.

use std::ops::Range;

use forebay_device::{Buffer, Device, Request, Session, Tag};
use forebay_tensor::{DType, Tensor};

use super::{Sizes, delta::DeltaSizes};
use crate::error::{Error, Result};

/// The most checkpoints; the oldest makes room for the next one.
const CHECKPOINTS: usize = 4;
/// A ring is so many positions or a multiple of them, at which attention cuts its sums: so it gives the same bits as without.
const TILE: usize = 32;

/// What a layer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Keys and values of all positions.
    All,
    /// Keys and values of so many positions up to the latest.
    Window(usize),
    /// The states of a delta network.
    States(DeltaSizes),
}

/// Keys and values of one layer, `[kv heads, positions, width]`; of several texts, `[texts, kv heads, positions, width]`.
#[derive(Debug)]
pub struct KeysValues {
    /// The keys.
    pub keys: Tensor,
    /// The values.
    pub values: Tensor,
    /// Whether they are of the latest positions only.
    pub ring: bool,
}

/// The states of one layer's delta network, f32.
#[derive(Debug)]
pub struct States {
    /// `[taps - 1, channels]`: the last inputs of the convolutions of queries, keys and values.
    pub inputs: [Tensor; 3],
    /// `[value heads, key width, value width]`: the matrix of each head.
    pub matrices: Tensor,
}

#[derive(Debug)]
enum Layer {
    KeysValues(Box<KeysValues>),
    States(Box<States>),
}

/// The cache of one text.
///
/// It counts the positions that are in it: whoever records a pass calls [`advance`](Self::advance).
#[derive(Debug)]
pub struct Cache {
    /// The number of the first layer.
    first: usize,
    layers: Vec<Layer>,
    capacity: usize,
    len: usize,
    /// The largest length that rings were written up to: what lies a ring before it is gone, whatever was forgotten since.
    furthest: usize,
    /// How far behind that positions can be forgotten without a checkpoint; not at all where there are states.
    spare: Option<usize>,
    /// By position.
    checkpoints: Vec<Checkpoint>,
    /// Copies that are not needed any more, to be written over.
    unused: Vec<Vec<Buffer>>,
}

/// What a cache has room for.
struct Room {
    dtype: DType,
    capacity: usize,
    chunk: usize,
    /// So many texts side by side; none is one text alone.
    texts: Option<usize>,
}

/// All states and rings as they were.
#[derive(Debug)]
struct Checkpoint {
    position: usize,
    furthest: usize,
    copies: Vec<Buffer>,
}

impl Cache {
    /// An empty cache of some layers of a model for so many positions, of which up to `chunk` come in one pass. `keeps` is of
    /// all layers. Keys and values are f32, f16, bf16, q8_0 or q4_0.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if there are no such layers, and what the device says.
    pub fn new(
        device: &Device,
        sizes: &Sizes,
        keeps: &[Keeps],
        range: Range<usize>,
        dtype: DType,
        capacity: usize,
        chunk: usize,
    ) -> Result<Self> {
        Self::with(device, sizes, keeps, range, &Room { dtype, capacity, chunk, texts: None })
    }

    /// Empty caches of so many texts for all layers, side by side: what a pass takes that goes over several texts. Each text has its
    /// own by [`of_text`](Self::of_text), which counts its positions.
    ///
    /// # Errors
    /// [`Error::Option`] where layers keep states; what the device says.
    pub fn of_texts(
        device: &Device,
        sizes: &Sizes,
        keeps: &[Keeps],
        dtype: DType,
        capacity: usize,
        chunk: usize,
        texts: usize,
    ) -> Result<Self> {
        if keeps.iter().any(|keeps| matches!(keeps, Keeps::States(_))) {
            let wanted = "one without delta networks, whose states only single texts have".to_owned();
            return Err(Error::Option { name: "model of a batch", wanted });
        }
        let room = Room { dtype, capacity, chunk, texts: Some(texts) };
        Self::with(device, sizes, keeps, 0..keeps.len(), &room)
    }

    /// The empty cache of one of several texts.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there are not so many.
    pub fn of_text(&self, text: usize) -> Result<Self> {
        let own = |all: &Tensor| -> Result<Tensor> {
            Ok(all.narrow(0, text..text + 1)?.reshape(&all.shape()[1..])?)
        };
        let layer = |layer: &Layer| match layer {
            Layer::KeysValues(all) => {
                let (keys, values) = (own(&all.keys)?, own(&all.values)?);
                Ok(Layer::KeysValues(KeysValues { keys, values, ring: all.ring }.into()))
            }
            Layer::States(_) => Err(Error::OtherModel { what: "cache" }),
        };
        let layers = self.layers.iter().map(layer).collect::<Result<_>>()?;
        let (checkpoints, unused) = (Vec::new(), Vec::new());
        Ok(Self { layers, len: 0, furthest: 0, checkpoints, unused, ..*self })
    }

    fn with(
        device: &Device,
        sizes: &Sizes,
        keeps: &[Keeps],
        range: Range<usize>,
        room: &Room,
    ) -> Result<Self> {
        let Room { dtype, capacity, chunk, texts } = *room;
        let mut spare = Some(usize::MAX);
        let mut layer = |keeps: &Keeps| -> Result<Layer> {
            // A chunk is put into a ring before its first position looks back.
            let ring = match keeps {
                Keeps::Window(window) => window.saturating_add(chunk).checked_next_multiple_of(TILE),
                _ => None,
            };
            let ring = ring.filter(|ring| *ring < capacity);
            if let (Keeps::Window(window), Some(positions)) = (keeps, ring) {
                spare = spare.map(|spare: usize| spare.min(positions - window + 1));
            }
            Ok(match keeps {
                Keeps::States(delta) => {
                    spare = None;
                    Layer::States(States::new(device, delta)?.into())
                }
                _ => Layer::KeysValues(KeysValues::new(device, sizes, dtype, capacity, ring, texts)?.into()),
            })
        };
        let (first, keeps) = (range.start, keeps.get(range).ok_or(Error::OtherModel { what: "sizes" })?);
        let layers = keeps.iter().map(&mut layer).collect::<Result<_>>()?;
        let (len, furthest, checkpoints, unused) = (0, 0, Vec::new(), Vec::new());
        Ok(Self { first, layers, capacity, len, furthest, spare, checkpoints, unused })
    }

    /// The layers.
    pub fn layers(&self) -> Range<usize> {
        self.first..self.first + self.layers.len()
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions that are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts positions that a pass has put in.
    pub fn advance(&mut self, positions: usize) {
        self.len += positions;
        self.furthest = self.furthest.max(self.len);
    }

    /// Whether a position that is not counted yet can be put in and forgotten again.
    pub fn may_overshoot(&self) -> bool {
        self.spare.is_some_and(|spare| self.furthest.max(self.len + 1) - self.len <= spare)
    }

    /// Notes that a pass has put in a position that is not counted yet. It is counted by [`advance`](Self::advance), or another
    /// one takes its place.
    pub fn overshoot(&mut self) {
        self.furthest = self.furthest.max(self.len + 1);
    }

    /// Keys and values of a layer.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if it keeps none.
    pub fn keys_values(&self, layer: usize) -> Result<&KeysValues> {
        match self.layer(layer) {
            Some(Layer::KeysValues(found)) => Ok(found),
            _ => Err(Error::OtherModel { what: "cache" }),
        }
    }

    /// The states of a layer.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if it keeps none.
    pub fn states(&self, layer: usize) -> Result<&States> {
        match self.layer(layer) {
            Some(Layer::States(found)) => Ok(found),
            _ => Err(Error::OtherModel { what: "cache" }),
        }
    }

    fn layer(&self, layer: usize) -> Option<&Layer> {
        self.layers.get(layer.checked_sub(self.first)?)
    }

    /// Keeps a copy of what cannot be forgotten position by position, so that there is a way back to here. The oldest of
    /// several may go for it. Where all can be forgotten it does nothing.
    ///
    /// # Errors
    /// What the device says.
    pub fn checkpoint(&mut self, session: &mut Session) -> Result<()> {
        let here = self.checkpoints.iter().any(|kept| kept.position == self.len);
        if here || self.is_empty() || changing(&self.layers).next().is_none() {
            return Ok(());
        }
        if self.checkpoints.len() == CHECKPOINTS {
            self.unused.push(self.checkpoints.remove(0).copies);
        }
        let copies = match self.unused.pop() {
            Some(copies) => copies,
            None => self.copies(session.device())?,
        };
        let mut stage = session.stage("checkpoint");
        for (tensor, copy) in changing(&self.layers).zip(&copies) {
            stage.copy(tensor.buffer(), copy)?;
        }
        stage.submit()?;
        self.checkpoints.push(Checkpoint { position: self.len, furthest: self.furthest, copies });
        Ok(())
    }

    /// The latest position up to `to` that there is a way back to: `to` itself, a checkpoint, or the beginning.
    pub fn reach(&self, to: usize) -> usize {
        let to = to.min(self.len);
        if self.is_near(to) {
            return to;
        }
        self.checkpoints.iter().map(|kept| kept.position).filter(|at| *at <= to).max().unwrap_or(0)
    }

    /// Forgets all from a position on. Checkpoints beyond it go with them.
    ///
    /// # Errors
    /// [`Error::NoWayBack`] if there is no way back to exactly there, before anything is changed; what the device says.
    pub fn roll_back(&mut self, session: &mut Session, to: usize) -> Result<()> {
        let nearest = self.reach(to);
        if nearest != to {
            return Err(Error::NoWayBack { to, len: self.len, nearest });
        }
        if !self.is_near(to) {
            let mut stage = session.stage("roll back");
            let kept = self.checkpoints.iter().find(|kept| kept.position == to);
            for (i, tensor) in changing(&self.layers).enumerate() {
                match kept {
                    Some(kept) => stage.copy(&kept.copies[i], tensor.buffer())?,
                    // The beginning: states are zero, and of a ring nothing is seen.
                    None => stage.fill(tensor.buffer(), 0)?,
                }
            }
            stage.submit()?;
            self.furthest = kept.map_or(0, |kept| kept.furthest);
        }
        let beyond = self.checkpoints.partition_point(|kept| kept.position <= to);
        self.unused.extend(self.checkpoints.drain(beyond..).map(|kept| kept.copies));
        self.len = to;
        Ok(())
    }

    /// Whether all from a position on can be forgotten without a checkpoint.
    fn is_near(&self, to: usize) -> bool {
        to == self.len || self.spare.is_some_and(|spare| self.furthest - to <= spare)
    }

    /// Memory for a copy of all states and rings.
    fn copies(&self, device: &Device) -> Result<Vec<Buffer>> {
        let copy = |tensor: &Tensor| {
            let request = Request::new(tensor.buffer().len()).tag(Tag::Kv).label("cache.checkpoint");
            Ok(device.alloc(request)?)
        };
        changing(&self.layers).map(copy).collect()
    }
}

/// The tensors that positions write over: states and rings.
fn changing(layers: &[Layer]) -> impl Iterator<Item = &Tensor> {
    layers.iter().flat_map(|layer| {
        let [a, b, c, d] = match layer {
            Layer::KeysValues(layer) if layer.ring => [Some(&layer.keys), Some(&layer.values), None, None],
            Layer::KeysValues(_) => [None; 4],
            Layer::States(layer) => {
                let [queries, keys, values] = &layer.inputs;
                [queries, keys, values, &layer.matrices].map(Some)
            }
        };
        [a, b, c, d].into_iter().flatten()
    })
}

impl KeysValues {
    fn new(
        device: &Device,
        sizes: &Sizes,
        dtype: DType,
        capacity: usize,
        ring: Option<usize>,
        texts: Option<usize>,
    ) -> Result<Self> {
        let tensor = |label: &'static str, width: usize| -> Result<Tensor> {
            let shape = [texts.unwrap_or(1), sizes.kv_heads, ring.unwrap_or(capacity), width];
            let shape = &shape[usize::from(texts.is_none())..];
            let request = Tensor::request(dtype, shape)?.tag(Tag::Kv).label(label);
            Ok(Tensor::of(dtype, shape, device.alloc(request)?)?)
        };
        let (keys, values) = (tensor("kv.keys", sizes.head_width)?, tensor("kv.values", sizes.value_width)?);
        Ok(Self { keys, values, ring: ring.is_some() })
    }
}

impl States {
    fn new(device: &Device, sizes: &DeltaSizes) -> Result<Self> {
        let tensor = |label: &'static str, shape: &[usize]| -> Result<Tensor> {
            let request = Tensor::request(DType::F32, shape)?.tag(Tag::Kv).label(label).zeroed();
            Ok(Tensor::of(DType::F32, shape, device.alloc(request)?)?)
        };
        let DeltaSizes { taps, key_width, value_heads, value_width, .. } = *sizes;
        let input = |channels| tensor("delta.inputs", &[taps - 1, channels]);
        let [queries, keys, values] = sizes.channels();
        Ok(Self {
            inputs: [input(queries)?, input(keys)?, input(values)?],
            matrices: tensor("delta.matrices", &[value_heads, key_width, value_width])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use forebay_device::DeviceOptions;

    use super::*;

    const DELTA: DeltaSizes =
        DeltaSizes { taps: 3, key_heads: 1, value_heads: 2, key_width: 2, value_width: 3 };

    /// A cache of 100 positions, of which up to 2 come at a time.
    fn cache(device: &Device, keeps: &[Keeps]) -> Cache {
        let sizes = Sizes {
            layers: keeps.len(),
            width: 4,
            heads: 1,
            kv_heads: 1,
            head_width: 4,
            rotated: 4,
            value_width: 4,
            gated: false,
            ffn_width: 4,
            experts: None,
            delta: Some(DELTA),
            rounded_twice: false,
            vocabulary: 4,
            context: 100,
        };
        Cache::new(device, &sizes, keeps, 0..keeps.len(), DType::F32, 100, 2).unwrap()
    }

    /// Writes a number into all that changes, as a pass over so many positions would.
    fn pass(cache: &mut Cache, positions: usize, number: f32) {
        for tensor in changing(&cache.layers) {
            tensor.copy_from(&vec![number; tensor.elements()]).unwrap();
        }
        cache.advance(positions);
    }

    fn numbers(cache: &Cache) -> Vec<f32> {
        changing(&cache.layers).flat_map(|tensor| tensor.to_vec::<f32>().unwrap()).collect()
    }

    #[test]
    fn keys_and_values_of_all_positions_can_be_forgotten_one_by_one() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let mut session = device.session().unwrap();
        // A window that reaches over everything needs no ring.
        let mut cache = cache(&device, &[Keeps::All, Keeps::Window(98)]);
        assert!(!cache.keys_values(1).unwrap().ring);
        cache.advance(15);
        cache.checkpoint(&mut session).unwrap();
        assert!(cache.checkpoints.is_empty());
        for to in [15, 14, 3, 0] {
            assert_eq!(cache.reach(to), to);
            cache.roll_back(&mut session, to).unwrap();
            assert_eq!(cache.len(), to);
        }
        assert!(matches!(cache.states(0), Err(Error::OtherModel { what: "cache" })));
        assert!(matches!(cache.keys_values(2), Err(Error::OtherModel { what: "cache" })));
    }

    #[test]
    fn a_ring_forgets_as_far_as_it_has_room_to_spare() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let mut session = device.session().unwrap();
        let mut cache = cache(&device, &[Keeps::All, Keeps::Window(3)]);
        assert_eq!(cache.keys_values(1).unwrap().keys.shape(), [1, 32, 4]);
        pass(&mut cache, 50, 1.0);
        // Positions 18 to 49 are there, and position 20 would see 18 and 19.
        assert_eq!([cache.reach(60), cache.reach(20), cache.reach(19)], [50, 20, 0]);
        assert!(matches!(
            cache.roll_back(&mut session, 19),
            Err(Error::NoWayBack { to: 19, len: 50, nearest: 0 })
        ));
        cache.roll_back(&mut session, 20).unwrap();
        // What was lost does not come back by forgetting more.
        assert_eq!((cache.len(), cache.reach(19)), (20, 0));
        pass(&mut cache, 5, 2.0);
        assert_eq!([cache.reach(20), cache.reach(19)], [20, 0]);
        pass(&mut cache, 30, 3.0);
        assert_eq!([cache.reach(25), cache.reach(24)], [25, 0]);
    }

    #[test]
    fn a_position_can_be_put_in_that_is_not_counted() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let cache_of = |keeps: &[Keeps]| {
            let mut cache = cache(&device, keeps);
            pass(&mut cache, 50, 1.0);
            cache
        };
        assert!(!cache_of(&[Keeps::All, Keeps::States(DELTA)]).may_overshoot());
        let mut all = cache_of(&[Keeps::All]);
        let mut ring = cache_of(&[Keeps::Window(3)]);
        for cache in [&mut all, &mut ring] {
            assert!(cache.may_overshoot());
            cache.overshoot();
            assert_eq!((cache.len(), cache.reach(50), cache.reach(21)), (50, 50, 21));
        }
        // What it has put in has taken the place of position 18.
        assert_eq!([all.reach(20), ring.reach(20)], [20, 0]);
        ring.advance(1);
        assert_eq!([ring.len(), ring.reach(21)], [51, 21]);
    }

    #[test]
    fn checkpoints_bring_states_and_rings_back() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let mut session = device.session().unwrap();
        let mut cache = cache(&device, &[Keeps::Window(3), Keeps::States(DELTA)]);
        assert!(cache.states(1).unwrap().matrices.to_vec::<f32>().unwrap().iter().all(|x| *x == 0.0));
        for position in 1..=6 {
            pass(&mut cache, 1, position as f32);
            cache.checkpoint(&mut session).unwrap();
        }
        // The first two have gone for the others.
        assert_eq!([cache.reach(2), cache.reach(3), cache.reach(6)], [0, 3, 6]);
        pass(&mut cache, 5, 11.0);
        assert_eq!(cache.reach(10), 6);
        for to in [6, 4, 3] {
            cache.roll_back(&mut session, to).unwrap();
            assert_eq!(cache.len(), to);
            assert!(numbers(&cache).iter().all(|x| *x == to as f32), "{to}: {:?}", numbers(&cache));
            pass(&mut cache, 1, 50.0);
        }
        // Checkpoints beyond belong to a text that is gone.
        pass(&mut cache, 1, 51.0);
        assert_eq!([cache.reach(5), cache.reach(4), cache.reach(3)], [5, 3, 3]);
        assert!(cache.roll_back(&mut session, 2).is_err());
        cache.roll_back(&mut session, 0).unwrap();
        assert!(numbers(&cache).iter().all(|x| *x == 0.0));
        assert_eq!((cache.len(), cache.reach(5)), (0, 0));
    }
}
