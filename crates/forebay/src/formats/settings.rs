//! How the makers of a model want it to generate: where it ends, and how tokens are drawn.
//!
//! It reads what files say and decides nothing: what is not said is none. Next room: `generate::sampler`, for which these
//! are defaults.

use std::{path::Path, sync::Arc};

use serde_json::Value;

use super::gguf::Metadata;
use crate::error::{Error, Fault, FormatError, Place, Result};

/// Settings of generation that come with a model.
///
/// ```
/// use forebay::formats::settings::Settings;
///
/// let json = br#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "eos_token_id": [7, 3]}"#;
/// let settings = Settings::parse("generation_config.json", json)?;
/// assert_eq!((settings.sample, settings.temperature, settings.top_k), (Some(true), Some(0.6), Some(20)));
/// assert_eq!((settings.ends, settings.top_p), (vec![3, 7], None));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Ids at which generation stops, in ascending order.
    pub ends: Vec<u32>,
    /// Whether tokens are drawn; if not, the likeliest is taken.
    pub sample: Option<bool>,
    /// What logits are divided by.
    pub temperature: Option<f32>,
    /// How many of the likeliest tokens are left; 0 is all.
    pub top_k: Option<u32>,
    /// The likeliest tokens are left, up to this share of all.
    pub top_p: Option<f32>,
    /// Tokens are left whose probability is at least this share of the largest.
    pub min_p: Option<f32>,
    /// By how much a token that came before is less likely.
    pub repetition_penalty: Option<f32>,
}

impl Settings {
    /// What a GGUF file says; which tokens end a text, its vocabulary says.
    ///
    /// # Errors
    /// [`Error::KeyValue`] where a value is of another type.
    pub fn of_gguf(metadata: &Metadata) -> Result<Self> {
        let number = |name: &str| metadata.find::<f32>(&format!("general.sampling.{name}"));
        Ok(Self {
            temperature: number("temp")?,
            top_k: metadata.find("general.sampling.top_k")?,
            top_p: number("top_p")?,
            min_p: number("min_p")?,
            repetition_penalty: number("penalty_repeat")?,
            ..Self::default()
        })
    }

    /// What a folder's `generation_config.json` says, or a `config.json`, which names ends only.
    ///
    /// # Errors
    /// [`Error::Format`] where it is no JSON, [`Error::KeyValue`] where a value is of another type.
    pub fn parse(file: impl AsRef<Path>, json: &[u8]) -> Result<Self> {
        let file: Arc<Path> = file.as_ref().into();
        let table: Value = serde_json::from_slice(json).map_err(|error| {
            let fault = Fault::Json { detail: error.to_string() };
            FormatError { file: file.clone(), place: Place::Header, offset: 0, fault }
        })?;
        let reader = Reader { file, table: &table };
        let mut ends = reader.ids(&table)?;
        if ends.is_empty() {
            // Where a model has parts, that for text may know it.
            ends = reader.ids(&table["text_config"])?;
        }
        ends.sort_unstable();
        ends.dedup();
        Ok(Self {
            ends,
            sample: reader.find("do_sample", "true or false", Value::as_bool)?,
            temperature: reader.number("temperature")?,
            top_k: reader.find("top_k", ID, |value| value.as_u64()?.try_into().ok())?,
            top_p: reader.number("top_p")?,
            min_p: reader.number("min_p")?,
            repetition_penalty: reader.number("repetition_penalty")?,
        })
    }
}

const ID: &str = "a whole number from 0 to 2^32-1";

struct Reader<'a> {
    file: Arc<Path>,
    table: &'a Value,
}

impl Reader<'_> {
    fn find<T>(
        &self,
        key: &str,
        wanted: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match &self.table[key] {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or_else(|| self.wrong(key, value, wanted)),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        self.find(key, "a number", |value| value.as_f64().map(|number| number as f32))
    }

    fn ids(&self, table: &Value) -> Result<Vec<u32>> {
        const KEY: &str = "eos_token_id";
        let id = |value: &Value| -> Result<u32> {
            let id = value.as_u64().and_then(|id| id.try_into().ok());
            id.ok_or_else(|| self.wrong(KEY, value, "an id of a token, or a list of them,"))
        };
        match &table[KEY] {
            Value::Null => Ok(Vec::new()),
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => Ok(vec![id(one)?]),
        }
    }

    fn wrong(&self, key: &str, found: &Value, wanted: &'static str) -> Error {
        Error::KeyValue { file: self.file.clone(), key: key.to_owned(), found: found.to_string(), wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf::{Gguf, builder::Builder};

    #[test]
    fn what_files_say_is_read_and_the_rest_is_none() {
        let file = Builder::new()
            .raw(b"general.sampling.temp", 6, &0.5f32.to_le_bytes())
            .raw(b"general.sampling.top_k", 5, &40i32.to_le_bytes())
            .bytes();
        let gguf = Gguf::parse("m.gguf", &file).unwrap();
        let wanted = Settings { temperature: Some(0.5), top_k: Some(40), ..Settings::default() };
        assert_eq!(Settings::of_gguf(gguf.metadata()).unwrap(), wanted);

        let json = br#"{"eos_token_id": 2, "repetition_penalty": 1.1, "min_p": null, "top_p": 1}"#;
        let wanted = Settings {
            ends: vec![2],
            repetition_penalty: Some(1.1),
            top_p: Some(1.0),
            ..Settings::default()
        };
        assert_eq!(Settings::parse("g.json", json).unwrap(), wanted);
        let nested = br#"{"eos_token_id": null, "text_config": {"eos_token_id": [9, 4, 9]}}"#;
        assert_eq!(Settings::parse("c.json", nested).unwrap().ends, [4, 9]);
        assert_eq!(Settings::parse("c.json", b"[]").unwrap(), Settings::default());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (json, wanted) in [
            ("{", "g.json: header"),
            (r#"{"eos_token_id": "</s>"}"#, r#"key "eos_token_id" holds "</s>", an id"#),
            (r#"{"eos_token_id": [1, -1]}"#, r#"key "eos_token_id" holds -1"#),
            (r#"{"top_k": 2.5}"#, r#"key "top_k" holds 2.5, a whole number"#),
            (r#"{"temperature": true}"#, r#"key "temperature" holds true, a number"#),
            (r#"{"do_sample": 1}"#, r#"key "do_sample" holds 1, true or false"#),
        ] {
            let error = Settings::parse("g.json", json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{json}: {error}");
        }
        let file = Builder::new().text("general.sampling.top_p", "much").bytes();
        let gguf = Gguf::parse("m.gguf", &file).unwrap();
        assert!(matches!(Settings::of_gguf(gguf.metadata()), Err(Error::KeyValue { .. })));
    }
}
