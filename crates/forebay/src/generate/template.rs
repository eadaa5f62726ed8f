//! Chat templates: from messages to the prompt that a model was trained on.
//!
//! A template is a small program in Jinja that comes with the model. It runs here with what the Python tools
//! give it, for a limited number of steps, and without access to anything outside. Its prompt is limited in size;
//! what it builds on the way is not, so that a template made to harm can exhaust memory.
//! Next rooms: `calendar` for dates, `json` for tools written as Python writes them.

mod calendar;
mod json;

use std::{fmt, io, path::Path, sync::Arc, time::SystemTime};

use minijinja::{Environment, ErrorKind, Value, syntax::SyntaxConfig, value::Serde};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, TemplateFault};

/// Steps that a template may take before it counts as endless: some, more for each message, never beyond.
const STEPS: usize = 100_000;
const STEPS_FOR_MESSAGE: usize = 2_000;
const MOST_STEPS: usize = 1_000_000;
/// Stack that one step can use up. A step can put a value into another; values nested without end are printed,
/// compared and dropped by recursion.
const STACK_FOR_STEP: usize = 2048;
/// Bytes that a template may have.
const MOST_SOURCE: usize = 1 << 20;
/// Bytes that a prompt may have.
const MOST_TEXT: usize = 1 << 26;
/// Name of the only template there is.
const NAME: &str = "chat_template";

/// A chat template, ready to use.
///
/// ```
/// use forebay::generate::template::{Message, Prompt, Template};
///
/// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}\
///     {% if add_generation_prompt %}<assistant>{% endif %}";
/// let template = Template::new("model.gguf", source)?;
/// let messages = [Message::new("system", "Be brief."), Message::new("user", " Hello ")];
/// let prompt = template.render(&Prompt::new(&messages))?;
/// assert_eq!(prompt, "<system>Be brief.\n<user>Hello\n<assistant>");
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct Template {
    environment: Environment<'static>,
    file: Arc<Path>,
}

/// One message of a conversation.
///
/// ```
/// use forebay::generate::template::Message;
///
/// let message = Message::new("user", "Hello");
/// assert_eq!((message.role.as_str(), message.more.len()), ("user", 0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: mostly `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said: a text, or what else the template understands.
    #[serde(default)]
    pub content: serde_json::Value,
    /// What else the template may look for, such as `tool_calls` and `reasoning_content`.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// What a template makes a prompt of.
///
/// ```
/// use forebay::generate::template::{Message, Prompt};
///
/// let messages = [Message::new("user", "Hello")];
/// let mut prompt = Prompt::new(&messages);
/// prompt.variables.insert("enable_thinking".to_owned(), false.into());
/// assert!(prompt.reply);
/// ```
#[derive(Clone, Debug)]
pub struct Prompt<'a> {
    /// The conversation so far.
    pub messages: &'a [Message],
    /// Whether the prompt ends where the model's reply begins.
    pub reply: bool,
    /// The text of the token that begins a text; templates write it themselves.
    pub bos: &'a str,
    /// The text of the token that ends a text.
    pub eos: &'a str,
    /// The time that a template may ask for, taken as UTC.
    pub now: SystemTime,
    /// What else the template may look for, such as `tools` and `enable_thinking`.
    pub variables: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into().into(), more: serde_json::Map::new() }
    }
}

impl<'a> Prompt<'a> {
    /// A prompt that the model is to reply to, at this time, without anything else.
    pub fn new(messages: &'a [Message]) -> Self {
        let now = SystemTime::now();
        Self { messages, reply: true, bos: "", eos: "", now, variables: serde_json::Map::new() }
    }
}

impl Template {
    /// Reads a template; `file` is where it came from, for messages only.
    ///
    /// # Errors
    /// [`Error::Template`] where it cannot be read.
    pub fn new(file: impl AsRef<Path>, source: &str) -> Result<Self> {
        let file: Arc<Path> = file.as_ref().into();
        let fault = |line, fault| Error::Template { file: file.clone(), line, fault };
        if source.len() > MOST_SOURCE {
            let most = MOST_SOURCE;
            return Err(fault(None, TemplateFault::TooLong { found: source.len(), most }));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| fault(None, syntax_fault(&error)))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("tojson", json::to_json);
        environment.remove_filter("pprint");
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
        });
        environment
            .add_template_owned(NAME, without_generation_marks(source))
            .map_err(|error| fault(error.line(), TemplateFault::Syntax { detail: in_short(&error) }))?;
        Ok(Self { environment, file })
    }

    /// The prompt for a conversation.
    ///
    /// # Errors
    /// [`Error::Template`] where the template refuses the conversation, fails, or does not come to an end.
    pub fn render(&self, prompt: &Prompt<'_>) -> Result<String> {
        let steps = prompt.messages.len().saturating_mul(STEPS_FOR_MESSAGE).saturating_add(STEPS);
        let steps = steps.min(MOST_STEPS);
        let stack = STACK_FOR_STEP * steps;
        let failed = |detail: &str| Error::Template {
            file: self.file.clone(),
            line: None,
            fault: TemplateFault::Failed { detail: detail.to_owned() },
        };
        std::thread::scope(|scope| {
            let run = || self.run(prompt, steps as u64);
            let thread = std::thread::Builder::new().name(NAME.to_owned()).stack_size(stack);
            let thread = thread.spawn_scoped(scope, run);
            let thread = thread.map_err(|_| failed("there is no memory for its stack"))?;
            thread.join().unwrap_or_else(|_| Err(failed("the interpreter panicked")))
        })
    }

    fn run(&self, prompt: &Prompt<'_>, steps: u64) -> Result<String> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(steps));
        let now = calendar::Moment::from(prompt.now);
        environment.add_function("strftime_now", move |format: &str| now.format(format));
        let mut variables = prompt.variables.clone();
        let mut set = |key: &str, value| {
            variables.entry(key).or_insert(value);
        };
        set("bos_token", prompt.bos.into());
        set("eos_token", prompt.eos.into());
        set("add_generation_prompt", prompt.reply.into());
        set("messages", serde_json::to_value(prompt.messages).unwrap_or_default());
        let mut text = Limited { bytes: Vec::new(), most: MOST_TEXT };
        let rendered = environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(Serde(&variables), &mut text).map(drop));
        match rendered {
            Ok(()) => Ok(String::from_utf8_lossy(&text.bytes).into_owned()),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn fault(&self, error: &minijinja::Error) -> Error {
        let mut source: Option<&dyn std::error::Error> = Some(error);
        let mut fault = TemplateFault::Failed { detail: in_short(error) };
        while let Some(inner) = source {
            if let Some(inner) = inner.downcast_ref::<minijinja::Error>() {
                let raised = std::error::Error::source(inner).is_some_and(|inner| inner.is::<Raised>());
                if raised {
                    let message = inner.detail().unwrap_or_default().to_owned();
                    fault = TemplateFault::Refused { message };
                } else if inner.kind() == ErrorKind::OutOfFuel {
                    fault = TemplateFault::Endless;
                }
            }
            source = inner.source();
        }
        Error::Template { file: self.file.clone(), line: error.line(), fault }
    }
}

/// The source of the template that a folder's `tokenizer_config.json` holds, if it holds one; of several, the
/// one called default.
///
/// ```
/// use forebay::generate::template::source_in_config;
///
/// let config = br#"{"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}"#;
/// assert_eq!(source_in_config(config).as_deref(), Some("b"));
/// assert_eq!(source_in_config(b"{}"), None);
/// ```
pub fn source_in_config(config: &[u8]) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let template = &config["chat_template"];
    let named = |template: &serde_json::Value| template["name"] == "default";
    let default = template.as_array().and_then(|templates| templates.iter().find(|t| named(t)));
    default.map_or(template, |template| &template["template"]).as_str().map(str::to_owned)
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Takes what a template writes, up to a limit.
struct Limited {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.bytes.len() {
            return Err(io::Error::other("the prompt is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks an error that the template itself raised.
#[derive(Debug)]
struct Raised;

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raised by the template")
    }
}

impl std::error::Error for Raised {}

fn syntax_fault(error: &minijinja::Error) -> TemplateFault {
    TemplateFault::Syntax { detail: in_short(error) }
}

/// What went wrong, in one line and without the source around it.
fn in_short(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Training tools mark what the model says by a tag of their own; here it stands for what it holds.
fn without_generation_marks(source: &str) -> String {
    let mut rest = source;
    let mut clean = String::with_capacity(source.len());
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        clean.push_str(before);
        rest = tag;
        let sign = tag.len() - tag.trim_start_matches(['-', '+']).len();
        let word = tag[sign..].trim_start();
        let start = tag.len() - word.len();
        let length = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        let stand_in = match &word[..length] {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        clean.push_str(&tag[..start]);
        clean.push_str(stand_in);
        rest = &word[length..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests;
