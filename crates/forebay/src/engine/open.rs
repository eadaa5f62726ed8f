//! What belongs to a model beside its weights, and whether it fits them.

use std::{path::Path, sync::Arc};

use super::EngineOptions;
use crate::{
    error::{Error, Result, VocabularyFault},
    formats::{
        folder::{Folder, Model as Found},
        placement::Placement,
        settings::Settings,
        weights::Weights,
    },
    generate::{template, tokenizer::Tokenizer},
};

/// A model before its weights are taken.
pub(super) struct Opened {
    pub(super) weights: Weights,
    pub(super) tokenizer: Tokenizer,
    pub(super) settings: Settings,
    pub(super) template: Option<TemplateSource>,
}

/// A chat template that nobody has read yet: one that cannot be read is no reason not to run a model without it.
#[derive(Debug)]
pub(super) struct TemplateSource {
    /// Where it came from.
    pub(super) file: Arc<Path>,
    pub(super) source: String,
}

impl Opened {
    /// Opens what a path names.
    pub(super) fn find(path: &Path, placement: &Placement, options: &EngineOptions) -> Result<Self> {
        let weights = Weights::open(path, placement, options.access, options.precision)?;
        match Found::find(path)? {
            Found::Gguf(_) => Self::of_gguf(weights, options),
            Found::Folder(folder) => {
                let beside = (Tokenizer::of_folder(&folder)?, settings_of(&folder)?, template_of(&folder)?);
                Ok(Self::with(weights, options, beside))
            }
        }
    }

    /// What the metadata of a GGUF file holds.
    pub(super) fn of_gguf(weights: Weights, options: &EngineOptions) -> Result<Self> {
        let metadata = weights.metadata();
        let source = metadata.find::<&str>("tokenizer.chat_template")?.map(str::to_owned);
        let template = source.map(|source| TemplateSource { file: weights.file().clone(), source });
        let beside = (Tokenizer::from_gguf(metadata)?, Settings::of_gguf(metadata)?, template);
        Ok(Self::with(weights, options, beside))
    }

    fn with(
        weights: Weights,
        options: &EngineOptions,
        (tokenizer, mut settings, template): (Tokenizer, Settings, Option<TemplateSource>),
    ) -> Self {
        settings.ends.extend(&tokenizer.specials().ends);
        settings.ends.sort_unstable();
        settings.ends.dedup();
        Self { weights: weights.progress(options.progress.clone()), tokenizer, settings, template }
    }
}

/// The chat template of a folder: a file of its own, or an entry among the settings of its tokenizer.
fn template_of(folder: &Folder) -> Result<Option<TemplateSource>> {
    const NAMES: [&str; 2] = ["chat_template.jinja", "tokenizer_config.json"];
    for name in NAMES {
        let Some(bytes) = folder.find(name)? else { continue };
        let source = match name.ends_with(".jinja") {
            true => Some(String::from_utf8_lossy(&bytes).into_owned()),
            false => template::source_in_config(&bytes),
        };
        if let Some(source) = source {
            return Ok(Some(TemplateSource { file: folder.path(name).into(), source }));
        }
    }
    Ok(None)
}

/// What a folder says about generation; ends that its `generation_config.json` leaves out, its `config.json` may name.
fn settings_of(folder: &Folder) -> Result<Settings> {
    const NAMES: [&str; 2] = ["generation_config.json", "config.json"];
    let [own, model] = NAMES.map(|name| match folder.find(name)? {
        Some(json) => Settings::parse(folder.path(name), &json),
        None => Ok(Settings::default()),
    });
    let (mut own, model) = (own?, model?);
    if own.ends.is_empty() {
        own.ends = model.ends;
    }
    Ok(own)
}

/// Whether the model has a row for every token of a text. Padding of the model may lie behind the last token, and special
/// tokens of other parts behind the last row.
pub(super) fn check_rows(tokenizer: &Tokenizer, rows: usize, file: &Arc<Path>) -> Result<()> {
    let mut beyond = (rows as u64..tokenizer.size() as u64).map(|token| token as u32);
    match beyond.find(|token| tokenizer.text(*token).is_ok() && !tokenizer.is_control(*token)) {
        Some(token) => {
            let fault = VocabularyFault::Rows { token, rows };
            Err(Error::Vocabulary { file: file.clone(), fault })
        }
        None => Ok(()),
    }
}
