//! The shapes of models that people run, so that speed can be measured without their files.
//!
//! A file or folder of random weights has the names, types and sizes of the real one, and a vocabulary of made-up
//! words. Any program that reads GGUF, or folders of MLX, can be measured on the same bytes. Next room: `mlx`, which
//! knows what such a folder is made of.

use std::{collections::HashMap, ops::ControlFlow, path::Path};

use forebay_tensor::{
    DType,
    quant::{
        self,
        mlx::{PlanesMut, encode, plane_bytes},
    },
};

use super::{Facts, MlxOptions, Recipe, mlx::Input};
use crate::{
    error::{Error, Result},
    formats::{
        gguf::{Array, GgufWriter, Planned, Value},
        origin::{Origin, Refolded},
    },
};

/// The shape of a model.
///
/// ```
/// use forebay::quantize::Shape;
///
/// let shape = Shape::find("qwen3-0.6b")?;
/// assert_eq!(shape.name(), "qwen3-0.6b");
/// assert!(Shape::find("qwen9").unwrap_err().to_string().contains("qwen3-8b"));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    name: &'static str,
    family: &'static str,
    layers: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    ffn_width: usize,
    vocabulary: usize,
    context: usize,
    base: f32,
    tied: bool,
}

/// What the models of Qwen 3 share.
const QWEN3: Shape = Shape {
    name: "",
    family: "qwen3",
    layers: 28,
    width: 0,
    heads: 16,
    kv_heads: 8,
    head_width: 128,
    ffn_width: 0,
    vocabulary: 151_936,
    context: 40_960,
    base: 1e6,
    tied: true,
};

/// What the models of Llama 3 share.
const LLAMA3: Shape =
    Shape { family: "llama", heads: 32, vocabulary: 128_256, context: 131_072, base: 5e5, ..QWEN3 };

static SHAPES: &[Shape] = &[
    Shape { name: "qwen3-0.6b", width: 1024, ffn_width: 3072, ..QWEN3 },
    Shape { name: "qwen3-1.7b", width: 2048, ffn_width: 6144, ..QWEN3 },
    Shape { name: "qwen3-4b", layers: 36, width: 2560, heads: 32, ffn_width: 9728, ..QWEN3 },
    Shape { name: "qwen3-8b", layers: 36, width: 4096, heads: 32, ffn_width: 12_288, tied: false, ..QWEN3 },
    Shape { name: "qwen3-14b", layers: 40, width: 5120, heads: 40, ffn_width: 17_408, tied: false, ..QWEN3 },
    Shape { name: "qwen3-32b", layers: 64, width: 5120, heads: 64, ffn_width: 25_600, tied: false, ..QWEN3 },
    Shape { name: "llama-3.2-1b", layers: 16, width: 2048, head_width: 64, ffn_width: 8192, ..LLAMA3 },
    Shape { name: "llama-3.1-8b", layers: 32, width: 4096, ffn_width: 14_336, tied: false, ..LLAMA3 },
];

/// Rows of random numbers that are encoded; matrices repeat them.
const ROWS: usize = 64;

impl Shape {
    /// The shape of this name.
    ///
    /// # Errors
    /// [`Error::Option`] with all names.
    pub fn find(name: &str) -> Result<Self> {
        let names: Vec<_> = SHAPES.iter().map(|shape| shape.name).collect();
        let unknown = || Error::Option { name: "shape", wanted: format!("one of {}", names.join(", ")) };
        SHAPES.iter().find(|shape| shape.name.eq_ignore_ascii_case(name)).copied().ok_or_else(unknown)
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes a file of random weights in the types of a recipe; it is told how many bytes of how many are written.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        recipe: Recipe,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let tensors = self.tensors(recipe);
        let bytes = |tensor: &Planned| -> Result<u64> {
            let width = tensor.shape.last().copied().unwrap_or(1);
            let rows: usize = tensor.shape.iter().rev().skip(1).product();
            Ok(rows as u64 * tensor.dtype.row_bytes(width)? as u64)
        };
        let all = tensors.iter().map(bytes).sum::<Result<u64>>()?;
        let metadata = self.metadata(recipe);
        let entries = metadata.iter().map(|(key, value)| (key.as_str(), value));
        let mut writer = GgufWriter::create(path, entries, &tensors)?;
        let (mut noise, mut done) = (Noise::default(), 0);
        for tensor in &tensors {
            let size = bytes(tensor)?;
            let planes = noise.planes(tensor.dtype, None, &tensor.shape)?;
            repeat(&planes[0], size, |rows| writer.bytes(rows))?;
            done += size;
            progress(done, all);
        }
        writer.finish()
    }

    /// Writes a folder of random weights as MLX has them; it is told how many bytes of how many are written.
    ///
    /// # Errors
    /// Those of writing files, and [`Error::Option`] where there is something at the place of the folder.
    pub fn write_folder(
        &self,
        path: impl AsRef<Path>,
        options: &MlxOptions,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let (path, floats) = (path.as_ref(), "bf16".parse()?);
        let origin = Origin::planned(path, self.metadata(floats), &self.tensors(floats))?;
        let input = Input::of(Refolded::of(origin)?);
        let plan = input.plan(options)?;
        let all = plan.iter().flat_map(|plan| &plan.entries).map(|entry| entry.bytes).sum();
        let (mut noise, mut done) = (Noise::default(), 0);
        input.write(path, options.dtype, &plan, |plan, first, writer| {
            let planes = noise.planes(plan.dtype(), plan.scale_type(), &plan.part.shape)?;
            for (number, (entry, rows)) in plan.entries.iter().zip(planes).enumerate() {
                repeat(rows, entry.bytes, |rows| writer.bytes(first + number, rows))?;
                done += entry.bytes;
            }
            progress(done, all);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn metadata(&self, recipe: Recipe) -> Vec<(String, Value)> {
        let number = |n: usize| Value::U32(n as u32);
        let of_family = [
            ("block_count", number(self.layers)),
            ("context_length", number(self.context)),
            ("embedding_length", number(self.width)),
            ("feed_forward_length", number(self.ffn_width)),
            ("attention.head_count", number(self.heads)),
            ("attention.head_count_kv", number(self.kv_heads)),
            ("attention.key_length", number(self.head_width)),
            ("attention.value_length", number(self.head_width)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
            ("rope.freq_base", Value::F32(self.base)),
            ("rope.dimension_count", number(self.head_width)),
            ("vocab_size", number(self.vocabulary)),
        ];
        let mut entries = vec![
            ("general.architecture".to_owned(), Value::from(self.family)),
            (
                "general.name".to_owned(),
                Value::from(&*format!("random weights in the shape of {}", self.name)),
            ),
            ("general.file_type".to_owned(), Value::U32(recipe.number())),
            ("general.quantization_version".to_owned(), Value::U32(2)),
        ];
        entries.extend(of_family.map(|(key, value)| (format!("{}.{key}", self.family), value)));
        let words = (0..self.vocabulary).map(|number| format!("w{number}"));
        entries.extend([
            ("tokenizer.ggml.model".to_owned(), Value::from("gpt2")),
            ("tokenizer.ggml.pre".to_owned(), Value::from("qwen2")),
            ("tokenizer.ggml.tokens".to_owned(), Value::Array(words.collect())),
            ("tokenizer.ggml.token_type".to_owned(), Value::Array(Array::from(&*vec![1; self.vocabulary]))),
            ("tokenizer.ggml.merges".to_owned(), Value::Array(Array::from_iter::<[&str; 0]>([]))),
            ("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(false)),
        ]);
        entries
    }

    fn tensors(&self, recipe: Recipe) -> Vec<Planned> {
        let Self { width, heads, kv_heads, head_width, ffn_width, vocabulary, .. } = *self;
        let facts = Facts {
            layers: self.layers,
            heads_for_one: heads / kv_heads,
            experts: 0,
            tied: self.tied,
            importance: false,
        };
        let planned = |name: String, shape: Vec<usize>| {
            let dtype = recipe.choose(&name, &shape, &facts, false).unwrap_or(DType::F32);
            Planned { name, dtype, shape }
        };
        let mut all = vec![
            planned("token_embd.weight".to_owned(), vec![vocabulary, width]),
            planned("output_norm.weight".to_owned(), vec![width]),
        ];
        if !self.tied {
            all.push(planned("output.weight".to_owned(), vec![vocabulary, width]));
        }
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| {
                all.push(planned(format!("blk.{layer}.{name}.weight"), shape.to_vec()));
            };
            add("attn_norm", &[width]);
            add("attn_q", &[heads * head_width, width]);
            add("attn_k", &[kv_heads * head_width, width]);
            add("attn_v", &[kv_heads * head_width, width]);
            add("attn_output", &[width, heads * head_width]);
            if self.family == "qwen3" {
                add("attn_q_norm", &[head_width]);
                add("attn_k_norm", &[head_width]);
            }
            add("ffn_norm", &[width]);
            add("ffn_gate", &[ffn_width, width]);
            add("ffn_up", &[ffn_width, width]);
            add("ffn_down", &[width, ffn_width]);
        }
        all
    }
}

/// Gives rows again and again, until it gave so many bytes.
fn repeat(rows: &[u8], bytes: u64, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut left = bytes as usize;
    while left > 0 {
        let piece = left.min(rows.len());
        write(&rows[..piece])?;
        left -= piece;
    }
    Ok(())
}

/// Random rows, encoded once for each type and width.
#[derive(Default)]
struct Noise {
    rows: HashMap<Kind, Vec<Vec<u8>>>,
    state: u64,
}

/// What rows differ by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    dtype: DType,
    /// That of the scales, where they lie in a plane of their own.
    scale_type: Option<DType>,
    width: usize,
    is_norm: bool,
}

impl Noise {
    /// Rows for a tensor of this shape: codes, scales and biases where there is a type of scales, else blocks.
    fn planes(&mut self, dtype: DType, scale_type: Option<DType>, shape: &[usize]) -> Result<&[Vec<u8>]> {
        let width = shape.last().copied().unwrap_or(1);
        let kind = Kind { dtype, scale_type, width, is_norm: shape.len() == 1 };
        if !self.rows.contains_key(&kind) {
            let planes = self.encoded(kind)?;
            self.rows.insert(kind, planes);
        }
        Ok(&self.rows[&kind])
    }

    fn encoded(&mut self, kind: Kind) -> Result<Vec<Vec<u8>>> {
        let Kind { dtype, scale_type, width, is_norm } = kind;
        // Norms hover around one; matrices keep the size of what they multiply.
        let (middle, spread) = if is_norm { (1.0, 0.1) } else { (0.0, (3.0 / width as f32).sqrt()) };
        let floats: Vec<f32> = (0..ROWS * width).map(|_| middle + spread * self.float()).collect();
        let Some(scale_type) = scale_type else {
            let mut bytes = vec![0; ROWS * dtype.row_bytes(width)?];
            quant::encode(dtype, &floats, None, &mut bytes)?;
            return Ok(vec![bytes]);
        };
        let sizes = plane_bytes(dtype, scale_type, floats.len())?;
        let mut planes = [sizes.codes, sizes.scales, sizes.biases].map(|bytes| vec![0; bytes]);
        let [codes, scales, biases] = &mut planes;
        encode(dtype, &floats, PlanesMut { codes, scales, biases, scale_type })?;
        Ok(planes.into())
    }

    /// From -1 to 1.
    fn float(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.state;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ x >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use forebay_tensor::quant::mlx::{Planes, decode};

    use super::*;
    use crate::{
        Engine, EngineOptions,
        formats::{gguf::Gguf, safetensors::Safetensors},
        quantize::Mixed,
    };

    fn tiny(of: Shape) -> Shape {
        Shape {
            layers: 2,
            width: 256,
            heads: 2,
            kv_heads: 1,
            head_width: 64,
            ffn_width: 512,
            vocabulary: 300,
            ..of
        }
    }

    #[test]
    fn the_file_of_a_shape_has_the_sizes_and_types_of_the_real_one() {
        let tiny = tiny(SHAPES[0]);
        let path = std::env::temp_dir().join(format!("forebay-shape-{}.gguf", std::process::id()));
        let mut last = (0, 1);
        tiny.write(&path, "q4_k_m".parse().unwrap(), |done, all| last = (done, all)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let file = Gguf::parse(&path, &bytes).unwrap();
        assert!(last.0 == last.1 && last.1 < bytes.len() as u64);
        assert_eq!(file.tensors().len(), 2 + 2 * 11);
        let embedding = file.tensor("token_embd.weight").unwrap();
        assert_eq!((embedding.dtype().unwrap(), embedding.shape()), (DType::Q6_K, &[300, 256][..]));
        let rows = &bytes[embedding.range().start as usize..embedding.range().end as usize];
        let mut floats = vec![0.0; 300 * 256];
        quant::decode(DType::Q6_K, rows, &mut floats).unwrap();
        let square: f32 = floats.iter().map(|x| x * x).sum::<f32>() / floats.len() as f32;
        assert!((0.8..1.2).contains(&(square * 256.0)), "{square}");
    }

    #[test]
    fn the_folder_of_a_shape_is_one_of_mlx() {
        let mixed = Mixed::named("mixed_3_6").unwrap();
        let all = [
            MlxOptions::new("mlx_4g64".parse().unwrap()).unwrap(),
            MlxOptions::new(DType::MlxNvfp4).unwrap(),
            MlxOptions::mixed(mixed),
        ];
        // A family each that lays heads out otherwise in files, and with an output of its own.
        for (number, options) in all.iter().enumerate() {
            let shape = tiny([SHAPES[0], SHAPES[7], SHAPES[3]][number]);
            let place = format!("forebay-shape-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(place);
            let mut last = (0, 1);
            shape.write_folder(&path, options, |done, all| last = (done, all)).unwrap();
            let again = shape.write_folder(&path, options, |_, _| ()).unwrap_err().to_string();
            assert!(again.contains("nothing is yet"), "{again}");
            let engine = Engine::open_with(&path, &EngineOptions::default());
            let bytes = std::fs::read(path.join("model.safetensors")).unwrap();
            std::fs::remove_dir_all(&path).unwrap();
            let engine = engine.unwrap();
            let sizes = engine.model().sizes();
            assert_eq!((sizes.layers, sizes.width, sizes.vocabulary), (2, 256, 300));
            let file = Safetensors::parse(&path, &bytes).unwrap();
            assert_eq!(last.0, last.1);
            assert_eq!(last.1, file.tensors().iter().map(|t| t.range().end - t.range().start).sum::<u64>());
            assert_eq!(file.find("lm_head.scales").is_some(), !shape.tied);
            let of = |name: &str| {
                let tensor = file.tensor(name).unwrap();
                (&bytes[tensor.range().start as usize..tensor.range().end as usize], tensor.shape())
            };
            // The down projection of the last layer is what a recipe of two types gives more bits.
            let module = "model.layers.1.mlp.down_proj";
            let dtype = options.mixed.map_or(options.dtype, |mixed| mixed.others);
            let (codes, shape) = of(&format!("{module}.weight"));
            assert_eq!(shape, [256, dtype.row_bytes(512).unwrap() as u64 / 4]);
            let (scales, _) = of(&format!("{module}.scales"));
            let affine = matches!(dtype, DType::Affine(_));
            let biases = if affine { of(&format!("{module}.biases")).0 } else { &[] };
            let scale_type = if affine { DType::BF16 } else { DType::U8 };
            let mut floats = vec![0.0; 256 * 512];
            decode(dtype, &Planes { codes, scales, biases, scale_type }, &mut floats).unwrap();
            let square = floats.iter().map(|x| x * x).sum::<f32>() / floats.len() as f32 * 512.0;
            assert!((0.8..1.2).contains(&square), "{dtype}: {square}");
            let (norm, _) = of("model.norm.weight");
            let mut floats = vec![0.0; 256];
            quant::decode(DType::BF16, norm, &mut floats).unwrap();
            assert!(floats.iter().all(|x| (0.85..1.15).contains(x)), "{floats:?}");
        }
    }

    #[test]
    fn the_names_of_shapes_say_how_many_weights_they_have() {
        for shape in SHAPES {
            let weights: usize = shape
                .tensors("bf16".parse().unwrap())
                .iter()
                .map(|tensor| tensor.shape.iter().product::<usize>())
                .sum();
            let (_, named) = shape.name.rsplit_once('-').unwrap();
            let named: f64 = named.trim_end_matches('b').parse().unwrap();
            let found = weights as f64 / 1e9;
            assert!((found / named - 1.0).abs() < 0.25, "{}: {found}", shape.name);
        }
    }
}
