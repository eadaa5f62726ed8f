//! Conversations: messages put into the prompt that the model was trained on, by its own template.

use serde_json::{Map, Value};

use super::Engine;
use crate::{
    error::Result,
    generate::template::{Message, Prompt, Template},
};

/// The chat template of an engine's model, ready to use; made by [`Engine::chat`].
///
/// ```no_run
/// use forebay::{Engine, generate::{sampler::Greedy, stop::StopRule, template::Message}};
///
/// let engine = Engine::open("model.gguf")?;
/// let mut chat = engine.chat()?.ok_or("the model has no chat template")?;
/// chat.variables.insert("enable_thinking".to_owned(), false.into());
/// let prompt = chat.tokens(&[Message::new("user", "Hello!")])?;
/// for piece in engine.generate_from(&prompt, StopRule::after(200), Box::new(Greedy))? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Chat<'a> {
    engine: &'a Engine,
    template: Template,
    bos: String,
    eos: String,
    /// What else the template may look for, such as `tools` and `enable_thinking`.
    pub variables: Map<String, Value>,
}

impl<'a> Chat<'a> {
    pub(super) fn new(engine: &'a Engine, template: Template) -> Self {
        let specials = engine.tokenizer().specials();
        let text = |id: Option<u32>| {
            let text = id.and_then(|id| engine.tokenizer().text(id).ok());
            text.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        Self { engine, template, bos: text(specials.bos), eos: text(specials.eos), variables: Map::new() }
    }

    /// The conversation as text, up to where the reply begins.
    ///
    /// # Errors
    /// [`Error::Template`](crate::Error::Template) where the template refuses it or fails.
    pub fn text(&self, messages: &[Message]) -> Result<String> {
        let (bos, eos, variables) = (&*self.bos, &*self.eos, self.variables.clone());
        self.template.render(&Prompt { bos, eos, variables, ..Prompt::new(messages) })
    }

    /// The conversation as tokens, up to where the reply begins.
    ///
    /// # Errors
    /// As [`text`](Self::text), and those of the tokenizer.
    pub fn tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.engine.tokenizer().encode_prompt(&self.text(messages)?)
    }
}
