//! What can go wrong in this crate, one enum, each variant named by what the caller can do about it.
//!
//! It never prints and never retries. Faults of memory and devices come from forebay-device and pass through as they are.
//! Next rooms: `fault` for what is wrong with a file, [`crate::formats`], where most of these begin.

mod fault;

use std::{fmt, path::Path, sync::Arc};

pub use self::fault::{Fault, FormatError, Place, SetFault, TemplateFault, VocabularyFault};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and by its name what helps.
///
/// ```
/// let error = forebay::formats::gguf::Gguf::parse("model.gguf", b"PK\x03\x04").unwrap_err();
/// assert_eq!(error.to_string(), r#"model.gguf: header, byte 0: starts with "PK\u{3}\u{4}", a GGUF file starts with "GGUF""#);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// The file.
        file: Arc<Path>,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// A file breaks the rules of its format: fetch it again, or have it written anew.
    Format(Box<FormatError>),
    /// A key that is needed is not in the file.
    MissingKey {
        /// The file.
        file: Arc<Path>,
        /// The key.
        key: String,
    },
    /// A key holds another type, or a value that cannot be used.
    KeyValue {
        /// The file.
        file: Arc<Path>,
        /// The key.
        key: String,
        /// What the file holds.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// No tensor has this name.
    MissingTensor {
        /// The file, or the first of several.
        file: Arc<Path>,
        /// The name asked for.
        tensor: String,
    },
    /// A tensor's element type is not known: use a newer version, or convert the file.
    UnknownType {
        /// The file.
        file: Arc<Path>,
        /// The tensor.
        tensor: String,
        /// The type as the file has it.
        found: String,
    },
    /// The files of one model do not belong together.
    Set {
        /// The file that does not fit.
        file: Arc<Path>,
        /// What is wrong with it.
        fault: SetFault,
    },
    /// A folder is not that of one model.
    Folder {
        /// The folder.
        folder: Arc<Path>,
        /// What is wrong with it.
        fault: FolderFault,
    },
    /// A vocabulary cannot be used.
    Vocabulary {
        /// The file.
        file: Arc<Path>,
        /// What is wrong with it.
        fault: VocabularyFault,
    },
    /// A chat template cannot be used: give another one, or a prompt without a template.
    Template {
        /// The file it came from.
        file: Arc<Path>,
        /// The line of the template, where it is known.
        line: Option<usize>,
        /// What is wrong.
        fault: TemplateFault,
    },
    /// An id is not in the vocabulary.
    TokenId {
        /// The id.
        id: u32,
        /// How many tokens there are.
        size: usize,
    },
    /// No model is called so.
    Architecture {
        /// The file.
        file: Arc<Path>,
        /// The name in the file.
        found: String,
        /// The known ones.
        known: String,
    },
    /// A model of a known family uses something that is not there yet.
    Unsupported {
        /// The file.
        file: Arc<Path>,
        /// What it uses.
        what: String,
    },
    /// A tensor has another shape than its model gives it.
    TensorShape {
        /// The file.
        file: Arc<Path>,
        /// The tensor.
        tensor: String,
        /// The shape in the file, slowest dimension first.
        found: Vec<u64>,
        /// The shape that the model needs.
        wanted: Vec<usize>,
    },
    /// The file holds tensors that its model does not use, so that it would compute something else.
    UnusedTensors {
        /// The file.
        file: Arc<Path>,
        /// The first of them.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// There is nothing to begin with: give at least one token.
    EmptyPrompt,
    /// There are no logits to look at: feed a token first.
    NoLogits,
    /// Nothing can follow: the logits are not numbers, or everything was left out; leave less out.
    NoToken,
    /// A grammar, or the JSON schema that it comes from, cannot be followed: simplify it.
    Grammar {
        /// What is wrong.
        detail: String,
    },
    /// The text does not fit the context: shorten it, or open the model with a larger context.
    ContextFull {
        /// Tokens that would be in the context.
        tokens: usize,
        /// The tokens it holds.
        context: usize,
    },
    /// A text cannot be taken back to a position: go to the nearest one, and take what follows it in again.
    NoWayBack {
        /// The position.
        to: usize,
        /// Positions there are.
        len: usize,
        /// The latest position before it that can be gone back to.
        nearest: usize,
    },
    /// A cache, buffers or sizes were made for another model.
    OtherModel {
        /// Which of them.
        what: &'static str,
    },
    /// What a weight is multiplied with are no numbers: the model file is damaged, or its type holds no such large ones.
    NotFinite {
        /// The weight.
        weight: String,
    },
    /// A file cannot become one of another format that means the same.
    Conversion {
        /// The file, or what it should become.
        file: Arc<Path>,
        /// What stands in the way.
        what: String,
    },
    /// A device has no room for what is to be there: give it fewer layers.
    DoesNotFit {
        /// The device.
        device: String,
        /// Layers that would fit, counted from the last one, with the output behind it and the cache of a text.
        layers: usize,
        /// Layers of the model.
        of: usize,
        /// Positions of the text.
        context: usize,
        /// What the device said, if it was asked.
        source: Option<forebay_device::Error>,
    },
    /// An option has a value that cannot be.
    Option {
        /// The option.
        name: &'static str,
        /// What it may be.
        wanted: String,
    },
    /// An op was given arguments that do not suit it, or its device failed.
    Tensor(forebay_tensor::Error),
    /// Memory or a device failed.
    Device(forebay_device::Error),
}

/// Why a folder is not that of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderFault {
    /// Nothing in it is a model.
    NoModel,
    /// It holds several: name one of them.
    Several {
        /// The files.
        files: Vec<String>,
    },
    /// A file that a model has is missing: fetch it.
    Lacks {
        /// The file.
        name: &'static str,
    },
}

impl From<forebay_device::Error> for Error {
    fn from(error: forebay_device::Error) -> Self {
        Self::Device(error)
    }
}

impl From<forebay_tensor::Error> for Error {
    fn from(error: forebay_tensor::Error) -> Self {
        match error {
            forebay_tensor::Error::Device(forebay_tensor::DeviceError(error)) => Self::Device(error),
            error => Self::Tensor(error),
        }
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        Self::Format(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { file, action, source } => write!(f, "cannot {action} {}: {source}", file.display()),
            Self::Format(error) => error.fmt(f),
            Self::MissingKey { file, key } => write!(f, "{}: has no key {key:?}", file.display()),
            Self::KeyValue { file, key, found, wanted } => {
                write!(f, "{}: key {key:?} holds {found}, {wanted} is needed", file.display())
            }
            Self::MissingTensor { file, tensor } => {
                write!(f, "{}: has no tensor {tensor:?}", file.display())
            }
            Self::UnknownType { file, tensor, found } => {
                let file = file.display();
                write!(f, "{file}: tensor {tensor:?} has an element type that is not known: {found}")
            }
            Self::Set { file, fault } => write!(f, "{}: {fault}", file.display()),
            Self::Folder { folder, fault } => write!(f, "{}: {fault}", folder.display()),
            Self::Vocabulary { file, fault } => write!(f, "{}: tokenizer: {fault}", file.display()),
            Self::Template { file, line, fault } => {
                write!(f, "{}: chat template", file.display())?;
                match line {
                    Some(line) => write!(f, ", line {line}: {fault}"),
                    None => write!(f, ": {fault}"),
                }
            }
            Self::TokenId { id, size } => {
                write!(f, "token id {id} is not in the vocabulary of {size} tokens")
            }
            Self::Architecture { file, found, known } => {
                let file = file.display();
                write!(f, "{file}: no model family is called {found:?}; known are {known}")
            }
            Self::Unsupported { file, what } => {
                write!(f, "{}: uses {what}, which cannot be run yet", file.display())
            }
            Self::TensorShape { file, tensor, found, wanted } => {
                let file = file.display();
                write!(f, "{file}: tensor {tensor:?} has shape {found:?}, the model needs {wanted:?}")
            }
            Self::UnusedTensors { file, first, count } => write!(
                f,
                "{}: holds {count} tensors that this model does not use, the first is {first:?}",
                file.display()
            ),
            Self::EmptyPrompt => f.write_str("the prompt has no token; give at least one"),
            Self::NoLogits => f.write_str("there are no logits of the last token; feed a token first"),
            Self::Grammar { detail } => write!(f, "the grammar cannot be followed: {detail}"),
            Self::NoToken => {
                f.write_str("no token can follow: the logits are not numbers, or every token was left out")
            }
            Self::ContextFull { tokens, context } => write!(
                f,
                "{tokens} tokens do not fit a context of {context}; shorten the text or ask for a larger context"
            ),
            Self::NoWayBack { to, len, nearest } => write!(
                f,
                "no checkpoint leads from position {len} back to {to}; the nearest one before it is at {nearest}"
            ),
            Self::OtherModel { what } => write!(f, "the {what} were made for a model of another kind"),
            Self::NotFinite { weight } => {
                write!(f, "what {weight} is multiplied with are no numbers; the model file may be damaged")
            }
            Self::Conversion { file, what } => write!(f, "{}: cannot be converted: {what}", file.display()),
            Self::DoesNotFit { device, layers, of, context, source } => {
                if let Some(source) = source {
                    write!(f, "{source}. ")?;
                }
                write!(f, "{device} has no room for all of this at a context of {context}: ")?;
                match layers {
                    0 => f.write_str("no layer of the model fits; use a smaller context, or the CPU"),
                    _ => write!(
                        f,
                        "{layers} of {of} layers fit; ask for so many, and the others are computed on the CPU \
                         (--gpu-layers {layers})"
                    ),
                }
            }
            Self::Option { name, wanted } => write!(f, "option {name} must be {wanted}"),
            Self::Tensor(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for FolderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => f.write_str("holds no model: neither a config.json nor a GGUF file"),
            Self::Several { files } => {
                write!(f, "holds several GGUF files, name one of them: {}", files.join(", "))
            }
            Self::Lacks { name } => write!(f, "has no {name}; fetch it into the folder"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source.as_ref()),
            Self::Format(error) => Some(error),
            Self::Tensor(error) => Some(error),
            Self::Device(error) | Self::DoesNotFit { source: Some(error), .. } => Some(error),
            _ => None,
        }
    }
}
