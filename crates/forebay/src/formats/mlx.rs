//! Folders as MLX writes them: weights packed into words, with scales and perhaps biases beside them.
//!
//! It finds the planes of each weight and checks that they fit together; it never unpacks one. The blocks and scales of
//! gpt-oss are planes of one of its types. Next rooms: `rows`, for planes that have to be one, and forebay-tensor's
//! `quant::mlx`, which says what the bits mean.

mod rows;

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use forebay_tensor::{Affine, DType};
use serde_json::Value;

use super::safetensors::{Shards, Tensor};
use crate::error::{Error, Fault, FormatError, Place, Result};

pub(super) use rows::{dtype_of_rows, planes_of_mxfp4, write_rows};

/// Bits of a word of codes.
const WORD: u64 = 32;

/// How the modules of a folder are quantised, as its `config.json` says.
///
/// ```
/// use forebay::formats::mlx::Quantization;
///
/// let config = br#"{"quantization": {"bits": 4, "group_size": 64, "lm_head": {"bits": 6, "group_size": 64}}}"#;
/// let quantization = Quantization::parse("config.json", config)?.unwrap();
/// assert_eq!(quantization.of("model.embed_tokens").unwrap().name(), "mlx_4g64");
/// assert_eq!(quantization.of("lm_head").unwrap().name(), "mlx_6g64");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Quantization {
    default: Option<DType>,
    by_module: HashMap<String, Option<DType>>,
}

/// A weight with all its planes; each is given with the number of its file.
#[derive(Clone, Debug)]
pub struct Weight<'a> {
    /// The name of the tensor that holds the weight or its codes; of blocks, without the ending that says so.
    pub name: &'a str,
    /// What the weight is made of; none where that is not known.
    pub dtype: Option<DType>,
    /// Its shape in elements, slowest dimension first.
    pub shape: Vec<u64>,
    /// The weight itself, or its codes.
    pub codes: (usize, &'a Tensor),
    /// A scale for each group.
    pub scales: Option<(usize, &'a Tensor)>,
    /// A bias for each group.
    pub biases: Option<(usize, &'a Tensor)>,
}

impl Quantization {
    /// Reads a folder's `config.json`; `None` where nothing is packed.
    ///
    /// # Errors
    /// [`Error::Format`] where it is no JSON, [`Error::KeyValue`] where it asks for what is not known.
    pub fn parse(file: impl AsRef<Path>, config: &[u8]) -> Result<Option<Self>> {
        let file: Arc<Path> = file.as_ref().into();
        let config: Value = serde_json::from_slice(config).map_err(|error| {
            let fault = Fault::Json { detail: error.to_string() };
            FormatError { file: file.clone(), place: Place::Header, offset: 0, fault }
        })?;
        let wrong = |key: String, found: &dyn fmt::Display, wanted| Error::KeyValue {
            file: file.clone(),
            key,
            found: found.to_string(),
            wanted,
        };
        let name = if config["quantization"].is_object() { "quantization" } else { "quantization_config" };
        let Some(table) = config[name].as_object() else { return Ok(None) };
        if let Some(method) = table.get("quant_method") {
            // Its blocks are ordinary tensors, which the model's own code joins.
            if method == "mxfp4" {
                return Ok(None);
            }
            let wanted = "a folder that is not quantised, or by MLX, or a GGUF file";
            return Err(wrong(format!("{name}.quant_method"), method, wanted));
        }
        let wanted = "bits and a group size of MLX: affine, mxfp4, mxfp8 or nvfp4";
        let default = dtype(table, table);
        if default.is_none() && table.contains_key("bits") {
            return Err(wrong(name.to_owned(), &config[name], wanted));
        }
        let mut by_module = HashMap::new();
        for (module, value) in table {
            let dtype = match value {
                Value::Bool(false) => None,
                Value::Bool(true) => default,
                Value::Object(own) => {
                    let dtype = dtype(own, table);
                    Some(dtype.ok_or_else(|| wrong(format!("{name}.{module}"), value, wanted))?)
                }
                _ => continue,
            };
            by_module.insert(module.clone(), dtype);
        }
        Ok(Some(Self { default, by_module }))
    }

    /// The type of a module's weight where it is packed; which ones are, their scales tell.
    pub fn of(&self, module: &str) -> Option<DType> {
        self.by_module.get(module).copied().unwrap_or(self.default)
    }
}

/// The type that a table names; what it does not say, the whole folder's says.
fn dtype(own: &serde_json::Map<String, Value>, folder: &serde_json::Map<String, Value>) -> Option<DType> {
    let find = |key: &str| own.get(key).or_else(|| folder.get(key));
    let number = |key, default: Option<u64>| find(key).map_or(default, Value::as_u64);
    let mode = find("mode").map_or(Some("affine"), Value::as_str)?;
    let (dtype, bits, group) = match mode {
        "affine" => {
            let (bits, group) = (number("bits", None)?, number("group_size", Some(64))?);
            let affine = Affine::new(bits.try_into().ok()?, group.try_into().ok()?);
            return Some(DType::Affine(affine.ok()?));
        }
        "mxfp4" => (DType::MlxMxfp4, 4, 32),
        "mxfp8" => (DType::MlxMxfp8, 8, 32),
        "nvfp4" => (DType::MlxNvfp4, 4, 16),
        _ => return None,
    };
    let fits = number("bits", Some(bits))? == bits && number("group_size", Some(group))? == group;
    fits.then_some(dtype)
}

/// The weights of a folder with their planes, in the order of the files.
///
/// ```
/// use forebay::formats::{mlx::{Quantization, weights}, safetensors::{Safetensors, Shards}};
///
/// let header = br#"{"w.weight": {"dtype": "U32", "shape": [1, 8], "data_offsets": [0, 32]},
///     "w.scales": {"dtype": "F16", "shape": [1, 1], "data_offsets": [32, 34]},
///     "w.biases": {"dtype": "F16", "shape": [1, 1], "data_offsets": [34, 36]}}"#;
/// let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 36]].concat();
/// let model = Shards::join(vec![Safetensors::parse("model.safetensors", &file)?], None)?;
/// let config = br#"{"quantization": {"bits": 4, "group_size": 64}}"#;
/// let quantization = Quantization::parse("config.json", config)?;
///
/// let weights = weights(&model, quantization.as_ref())?;
/// assert_eq!((weights.len(), weights[0].name, &weights[0].shape[..]), (1, "w.weight", &[1, 64][..]));
/// assert_eq!(weights[0].dtype.unwrap().name(), "mlx_4g64");
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// [`Error::Format`] where planes do not fit together.
pub fn weights<'a>(shards: &'a Shards, quantization: Option<&Quantization>) -> Result<Vec<Weight<'a>>> {
    let mut weights = Vec::new();
    for (part, tensor) in shards.tensors() {
        let name = tensor.name();
        let plane_of = name.rsplit_once('.').filter(|(_, plane)| matches!(*plane, "scales" | "biases"));
        if let Some((module, _)) = plane_of
            && quantization.is_some()
            && shards.find(&format!("{module}.weight")).is_some()
            && shards.find(&format!("{module}.scales")).is_some()
        {
            continue;
        }
        let blocks_of = |ending: &str, other: &str| {
            let stem = name.strip_suffix(ending)?;
            Some((stem, shards.find(&format!("{stem}{other}"))?))
        };
        if blocks_of("_scales", "_blocks").is_some() {
            continue;
        }
        if let Some((stem, scales)) = blocks_of("_blocks", "_scales") {
            let shape = joined(tensor, scales.1).map_err(|fault| Error::from(at(tensor, fault)))?;
            let (dtype, codes) = (Some(DType::MlxMxfp4), (part, tensor));
            weights.push(Weight { name: stem, dtype, shape, codes, scales: Some(scales), biases: None });
            continue;
        }
        let module = name.strip_suffix(".weight").filter(|_| quantization.is_some());
        let scales = module.and_then(|module| shards.find(&format!("{module}.scales")));
        let (Some(module), Some(scales), Some(quantization)) = (module, scales, quantization) else {
            let (dtype, shape) = (tensor.dtype().ok(), tensor.shape().to_vec());
            weights.push(Weight { name, dtype, shape, codes: (part, tensor), scales: None, biases: None });
            continue;
        };
        let biases = shards.find(&format!("{module}.biases"));
        let codes = (part, tensor);
        let packed = quantization.of(module);
        let (dtype, shape) = unpacked(packed, tensor, scales.1, biases.map(|(_, biases)| biases))
            .map_err(|fault| Error::from(at(tensor, fault)))?;
        weights.push(Weight { name, dtype: Some(dtype), shape, codes, scales: Some(scales), biases });
    }
    Ok(weights)
}

fn at(tensor: &Tensor, fault: Fault) -> FormatError {
    let place = Place::Tensor(tensor.name().to_owned());
    FormatError { file: tensor.file().clone(), place, offset: tensor.range().start, fault }
}

/// The shape of a weight in blocks of 16 bytes with a scale for each, if these fit together.
fn joined(blocks: &Tensor, scales: &Tensor) -> Result<Vec<u64>, Fault> {
    let wanted = "blocks of 16 U8 and a U8 as the scale of each";
    let fault = || Fault::Plane {
        found: format!(
            "{:?} of {}, {:?} of {}",
            blocks.shape(),
            blocks.kind(),
            scales.shape(),
            scales.kind()
        ),
        wanted: wanted.to_owned(),
    };
    match blocks.shape().split_last() {
        Some((16, outer)) if outer == scales.shape() && (blocks.kind(), scales.kind()) == ("U8", "U8") => {
            let (count, rows) = outer.split_last().ok_or_else(fault)?;
            // Parsing has bounded the elements, so 32 a block still fit.
            Ok(rows.iter().copied().chain([count * 32]).collect())
        }
        _ => Err(fault()),
    }
}

/// The type and shape of a packed weight, if its planes fit together.
fn unpacked(
    packed: Option<DType>,
    codes: &Tensor,
    scales: &Tensor,
    biases: Option<&Tensor>,
) -> Result<(DType, Vec<u64>), Fault> {
    let plane = |tensor: &Tensor, wanted: String| Fault::Plane {
        found: format!("{} {:?} of {}", tensor.name(), tensor.shape(), tensor.kind()),
        wanted,
    };
    let dtype = packed.ok_or_else(|| plane(scales, "no scales, by the config".to_owned()))?;
    let group = dtype.block_elements() as u64;
    let bits = dtype.block_bytes() as u64 * 8 / group;
    let Some((words, rows)) = codes.shape().split_last().filter(|_| codes.kind() == "U32") else {
        return Err(plane(codes, "codes in rows of U32".to_owned()));
    };
    // Parsing has bounded the elements, so 32 times a row still fits.
    let row = u128::from(*words) * u128::from(WORD) / u128::from(bits);
    let row = u64::try_from(row).unwrap_or(u64::MAX);
    if !(words * WORD).is_multiple_of(bits) || !row.is_multiple_of(group) {
        return Err(plane(codes, format!("rows that are whole groups of {group} at {bits} bits")));
    }
    let mut groups = rows.to_vec();
    groups.push(row / group);
    let affine = matches!(dtype, DType::Affine(_));
    let kinds: &[&str] = if affine { &["F16", "BF16", "F32"] } else { &["U8"] };
    for tensor in [Some(scales), biases].into_iter().flatten() {
        if tensor.shape() != groups || !kinds.contains(&tensor.kind()) {
            return Err(plane(tensor, format!("{groups:?} of {}", kinds.join(" or "))));
        }
    }
    if affine != biases.is_some() {
        return Err(plane(scales, format!("{} biases beside them", if affine { "with" } else { "no" })));
    }
    let mut shape = rows.to_vec();
    shape.push(row);
    Ok((dtype, shape))
}

#[cfg(test)]
mod tests;
