//! The name that a buffer, a stage or a recording goes by in errors, traces and profilers.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// A name. Names known at compile time cost nothing.
#[derive(Clone)]
pub struct Label(Text);

// Two words: every lease has one.
const _: () = assert!(size_of::<Label>() == 16);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    /// One word, so that a label is as long as a name known at compile time.
    Shared(Arc<Arc<str>>),
}

impl Label {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

// The same text is the same name, wherever it lies.
impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Default for Label {
    fn default() -> Self {
        Self(Text::Static(""))
    }
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Self {
        Self(Text::Static(text))
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self::from(Arc::<str>::from(text))
    }
}

impl From<Arc<str>> for Label {
    fn from(text: Arc<str>) -> Self {
        Self(Text::Shared(Arc::new(text)))
    }
}

impl From<&Label> for Arc<str> {
    fn from(label: &Label) -> Self {
        match &label.0 {
            Text::Static(text) => (*text).into(),
            Text::Shared(text) => Arc::clone(text),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_the_same_name_wherever_it_lies() {
        assert_eq!(Label::from("kv"), Label::from("kv".to_owned()));
        assert_ne!(Label::from("kv"), Label::from("k".to_owned()));
    }
}
