//! One tensor: what it is, what its values are like, and its values as floats in a file of their own.

use std::io::{self, Write};

use forebay::{
    Error,
    formats::write::{self, NamedTensor},
};
use forebay_tensor::{DType, quant};
use serde_json::json;

use super::{InspectArgs, Model};
use crate::{cli::Failure, size::Size};

/// Tells of a tensor.
pub(super) fn run(model: &Model, name: &str, args: &InspectArgs) -> Result<(), Failure> {
    let missing = || Error::MissingTensor { file: (&*model.path).into(), tensor: name.to_owned() };
    let tensor = model.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(missing)?;
    let (kind, shape) = (&tensor.kind, &tensor.shape);
    let Some(dtype) = tensor.dtype else {
        return Err(Failure::Failed(format!("{name} is of {kind}, which cannot be decoded")));
    };
    let range = tensor.range.start as usize..tensor.range.end as usize;
    let mut values = vec![0f32; tensor.elements as usize];
    quant::decode(dtype, &model.files[tensor.file].bytes()[range], &mut values).map_err(Error::from)?;
    let count = values.len() as f64;
    let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
    let (mut sum, mut squares, mut odd) = (0.0, 0.0, 0usize);
    for &value in &values {
        if !value.is_finite() {
            odd += 1;
            continue;
        }
        (least, most) = (least.min(value), most.max(value));
        (sum, squares) = (sum + f64::from(value), squares + f64::from(value).powi(2));
    }
    let (mean, size) = (sum / count, (squares / count).sqrt());
    let first = &values[..values.len().min(8)];
    let mut out = io::stdout().lock();
    if args.json {
        let object = json!({
            "name": name, "type": kind, "shape": shape, "bytes": tensor.bytes(),
            "min": least, "max": most, "mean": mean, "rms": size, "not_finite": odd, "first": first,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "{name}: {kind}, {shape:?}, {}", Size(tensor.bytes()))?;
        writeln!(
            out,
            "from {least} to {most}, mean {mean:.6}, root of the mean square {size:.6}, {odd} not finite"
        )?;
        writeln!(out, "begins {first:?}")?;
    }
    let Some(path) = &args.out else { return Ok(()) };
    let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
    let bytes = bytemuck::cast_slice(&values);
    write::safetensors(path, &[NamedTensor { name, dtype: DType::F32, shape: &shape, bytes }])?;
    eprintln!("written to {}", path.display());
    Ok(())
}
