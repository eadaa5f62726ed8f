//! A table of `config.json`, read with care: values of another type are errors that name the key.

use std::{path::Path, sync::Arc};

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// A table, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    pub(super) file: &'a Arc<Path>,
    /// What comes before a key in messages.
    prefix: String,
    json: &'a Json,
}

impl<'a> Table<'a> {
    pub(super) fn new(file: &'a Arc<Path>, json: &'a Json) -> Self {
        Self { file, prefix: String::new(), json }
    }

    /// A table in this one, if there is one.
    pub(super) fn table(&self, key: &str) -> Option<Self> {
        let json = self.json.get(key).filter(|json| json.is_object())?;
        Some(Self { file: self.file, prefix: format!("{}{key}.", self.prefix), json })
    }

    /// A value; null is none.
    pub(super) fn find<T>(
        &self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Json) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.json.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(key, wanted)),
        }
    }

    /// A value that has to be there.
    pub(super) fn needed<T>(
        &self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Json) -> Option<T>,
    ) -> Result<T> {
        self.find(key, wanted, read)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<u32>> {
        self.find(key, "a whole number from 0 to 2^32-1", |value| value.as_u64()?.try_into().ok())
    }

    pub(super) fn needed_size(&self, key: &str) -> Result<u32> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn sizes(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.find(key, "a list of whole numbers", |value| {
            value.as_array()?.iter().map(|n| n.as_u64()?.try_into().ok()).collect()
        })
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.find(key, "a number", Json::as_f64)
    }

    pub(super) fn needed_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.find(key, "true or false", Json::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.find(key, "a text", Json::as_str)
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        self.find(key, "a list of texts", |value| value.as_array()?.iter().map(Json::as_str).collect())
    }

    pub(super) fn missing(&self, key: &str) -> Error {
        Error::MissingKey { file: self.file.clone(), key: format!("{}{key}", self.prefix) }
    }

    pub(super) fn wrong(&self, key: &str, wanted: &'static str) -> Error {
        let (file, key, found) =
            (self.file.clone(), format!("{}{key}", self.prefix), self.json[key].to_string());
        Error::KeyValue { file, key, found, wanted }
    }

    pub(super) fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { file: self.file.clone(), what: what.into() }
    }
}
