//! What is in a model file, in words or as JSON.

use std::io::Write;

use forebay::{
    formats::gguf::{Array, Value},
    models::{Sizes, moe::ExpertSizes},
};
use serde_json::{Map, json};

use super::{Fit, Kind, Layers, Model, Room};
use crate::{cli::Failure, size::Size};

/// Values of an array that are shown.
const SHOWN: usize = 4;

/// All of it in words.
pub(super) fn text(
    out: &mut impl Write,
    model: &Model,
    fit: &Result<Fit, String>,
    tensors: bool,
) -> Result<(), Failure> {
    let parts = model.files.len();
    let of_parts = if parts > 1 { format!(" in {parts} files") } else { String::new() };
    writeln!(out, "{}: {}{of_parts}", model.path.display(), model.format)?;
    writeln!(out, "{} parameters, {}\n", grouped(model.elements()), Size(model.bytes()))?;
    writeln!(out, "Metadata")?;
    for (key, value) in model.metadata.iter() {
        writeln!(out, "  {key}: {}", in_words(value))?;
    }
    writeln!(out, "\nTensors")?;
    writeln!(out, "  {:<10} {:>7} {:>18} {:>11} {:>7}", "type", "count", "elements", "size", "bits")?;
    for (name, Kind { tensors, elements, bytes }) in model.kinds() {
        let bits = bytes as f64 * 8.0 / elements.max(1) as f64;
        let (elements, size) = (grouped(elements), Size(bytes));
        writeln!(out, "  {name:<10} {tensors:>7} {elements:>18} {size:>11} {bits:>7.2}")?;
    }
    if tensors {
        writeln!(out)?;
        for tensor in &model.tensors {
            let (name, kind) = (&tensor.name, &tensor.kind);
            let (shape, size) = (format!("{:?}", tensor.shape), Size(tensor.bytes()));
            writeln!(out, "  {name:<40} {kind:<8} {shape:<20} {size:>11}")?;
        }
    }
    match fit {
        Ok(fit) => plan(out, fit),
        Err(reason) => Ok(writeln!(out, "\nHow much it takes to run cannot be told: {reason}")?),
    }
}

fn plan(out: &mut impl Write, fit: &Fit) -> Result<(), Failure> {
    let Sizes { layers, width, heads, kv_heads, head_width, ffn_width, vocabulary, context, .. } = fit.sizes;
    writeln!(out, "\nPlan")?;
    writeln!(out, "  {layers} layers of width {width}")?;
    let [all, window, states] = fit.keeps;
    for (count, what) in [
        (all, "attend to everything before"),
        (window, "attend to a window"),
        (states, "have a delta network in place of attention"),
    ] {
        if count > 0 {
            writeln!(out, "  {count} of them {what}")?;
        }
    }
    if ffn_width > 0 {
        writeln!(out, "  feed-forward networks {ffn_width} wide inside")?;
    }
    if let Some(experts) = fit.sizes.experts {
        let ExpertSizes { count, used, width } = experts;
        writeln!(out, "  {count} experts, {used} for each position, {width} wide inside")?;
    }
    writeln!(out, "  {heads} heads of queries, {kv_heads} of keys and values, {head_width} wide")?;
    writeln!(out, "  {vocabulary} tokens, made for a context of {context}")?;
    writeln!(out, "\nMemory at a context of {}", fit.context)?;
    for (name, bytes) in [
        ("weights", fit.weights),
        ("cache", fit.needs.cache),
        ("activations", fit.needs.activations),
        ("program", fit.program),
        ("together", fit.all()),
    ] {
        writeln!(out, "  {name:<12} {:>11}", Size(bytes))?;
    }
    for room @ Room { name, memory, layers } in &fit.devices {
        let memory = Size(*memory);
        match layers {
            Some(Layers { layers: layers @ 1.., of, .. }) => {
                writeln!(
                    out,
                    "  {layers} of {of} layers fit {name}, which has {memory} (--gpu-layers {layers})"
                )?;
            }
            _ => {
                let fits = if fit.fits(room) { "fits" } else { "does not fit" };
                writeln!(out, "  {fits} {name}, which has {memory}")?;
            }
        }
    }
    Ok(())
}

/// All of it as JSON.
pub(super) fn json(model: &Model, fit: &Result<Fit, String>, tensors: bool) -> serde_json::Value {
    let metadata: Map<String, serde_json::Value> =
        model.metadata.iter().map(|(key, value)| (key.to_owned(), as_json(value))).collect();
    let kinds: Map<String, serde_json::Value> = model
        .kinds()
        .into_iter()
        .map(|(name, Kind { tensors, elements, bytes })| {
            (name.to_owned(), json!({ "tensors": tensors, "elements": elements, "bytes": bytes }))
        })
        .collect();
    let mut object = json!({
        "format": model.format,
        "files": model.files.len(),
        "parameters": model.elements(),
        "bytes": model.bytes(),
        "metadata": metadata,
        "types": kinds,
    });
    if tensors {
        let list = model.tensors.iter().map(|tensor| {
            let (name, kind, shape, bytes) = (&tensor.name, &tensor.kind, &tensor.shape, tensor.bytes());
            json!({ "name": name, "type": kind, "shape": shape, "bytes": bytes })
        });
        object["tensors"] = list.collect();
    }
    object["fit"] = match fit {
        Ok(fit) => json!({
            "context": fit.context,
            "weights": fit.weights,
            "cache": fit.needs.cache,
            "activations": fit.needs.activations,
            "program": fit.program,
            "together": fit.all(),
            "devices": fit.devices.iter().map(|room| {
                let mut told = json!({ "device": room.name, "memory": room.memory, "fits": fit.fits(room) });
                if let Some(fit) = &room.layers {
                    (told["layers"], told["of"]) = (fit.layers.into(), fit.of.into());
                }
                told
            }).collect::<Vec<_>>(),
        }),
        Err(reason) => json!({ "unknown": reason }),
    };
    object
}

/// A value in a line.
fn in_words(value: &Value) -> String {
    match value {
        Value::Array(array) => {
            let more = if array.len() > SHOWN { ", …" } else { "" };
            let first: Vec<String> = elements(array).iter().map(ToString::to_string).collect();
            format!(
                "{} of {}: [{}{more}]",
                grouped(array.len() as u64),
                array.element().name(),
                first.join(", ")
            )
        }
        Value::String(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let line: String = text.chars().take(100).collect();
            let more = if line.len() < text.len() { "…" } else { "" };
            format!("{line:?}{more}")
        }
        other => as_json(other).to_string(),
    }
}

/// A value as JSON; of an array how long it is, and how it begins.
fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::U8(n) => (*n).into(),
        Value::I8(n) => (*n).into(),
        Value::U16(n) => (*n).into(),
        Value::I16(n) => (*n).into(),
        Value::U32(n) => (*n).into(),
        Value::I32(n) => (*n).into(),
        Value::U64(n) => (*n).into(),
        Value::I64(n) => (*n).into(),
        // As many digits as tell it from its neighbours.
        Value::F32(n) => n.to_string().parse::<f64>().unwrap_or_default().into(),
        Value::F64(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::String(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Array(array) => {
            json!({ "type": array.element().name(), "length": array.len(), "first": elements(array) })
        }
    }
}

fn elements(array: &Array) -> Vec<serde_json::Value> {
    if let Some(texts) = array.strings() {
        return texts.iter().take(SHOWN).map(|text| String::from_utf8_lossy(text).into()).collect();
    }
    if let Some(scalars) = array.scalars() {
        return scalars.take(SHOWN).map(|value| as_json(&value)).collect();
    }
    let arrays = array.arrays().unwrap_or_default();
    arrays.iter().take(SHOWN).map(|array| as_json(&Value::Array(array.clone()))).collect()
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    crate::memory::grouped(number)
}
