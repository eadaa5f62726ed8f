//! The name that a buffer, a stage or a recording goes by in errors, traces and profilers.

use std::{fmt, sync::Arc};

/// A name. Names known at compile time cost nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Label(Text);

// Two words: every lease has one.
const _: () = assert!(size_of::<Label>() == 16);

#[derive(Clone, PartialEq, Eq, Hash)]
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
