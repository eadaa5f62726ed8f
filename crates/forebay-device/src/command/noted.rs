//! What a stage recorded, told to whoever asked before: each command, and the bytes that it reads and writes.
//!
//! Nothing is kept unless somebody asked, so that recording costs no more. How long commands take is `profile`.

use super::stage::Arg;
use crate::{
    label::Label,
    launch::{Access, ArgumentValue, Param, Place},
    memory::{buffer::Buffer, stats::Tag},
    sync::Arc,
};

/// One command of a stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NotedLaunch {
    /// The kernel; `copy or fill` where there is none.
    pub kernel: Arc<str>,
    /// What it touches, each place once.
    pub touched: Vec<Touched>,
}

/// Bytes that a command touches.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Touched {
    place: Place,
    /// The label that the allocation was made with.
    pub label: Label,
    /// What the allocation is for.
    pub tag: Tag,
    /// How it is used.
    pub access: Access,
}

impl Touched {
    /// How many bytes there are to touch.
    pub fn len(&self) -> u64 {
        self.place.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.place.len == 0
    }

    /// Whether these are just the bytes of a buffer.
    pub fn is(&self, buffer: &Buffer) -> bool {
        self.place == buffer.place()
    }
}

/// Commands of a stage, if somebody wants them.
#[derive(Debug, Default)]
pub(super) struct Notes(Option<Vec<NotedLaunch>>);

impl Notes {
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_default();
    }

    pub(super) fn take(&mut self) -> Vec<NotedLaunch> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes a launch of arguments that were checked.
    pub(super) fn launch(&mut self, kernel: &Arc<str>, params: &[Param], args: &[Arg<'_>]) {
        let Some(notes) = &mut self.0 else { return };
        let uses = args.iter().zip(params).filter_map(|(arg, param)| match param {
            Param::Buffer { access, .. } => Some((arg, *access)),
            Param::Scalar(_) => None,
        });
        notes.push(NotedLaunch { kernel: kernel.clone(), touched: touched(uses) });
    }

    /// Notes a copy or a fill.
    pub(super) fn command<'a>(&mut self, uses: impl Iterator<Item = (Arg<'a>, Access)>) {
        let Some(notes) = &mut self.0 else { return };
        let uses: Vec<_> = uses.collect();
        let touched = touched(uses.iter().map(|(arg, access)| (arg, *access)));
        notes.push(NotedLaunch { kernel: "copy or fill".into(), touched });
    }
}

fn touched<'a, 'b: 'a>(uses: impl Iterator<Item = (&'a Arg<'b>, Access)>) -> Vec<Touched> {
    let mut found: Vec<Touched> = Vec::new();
    for (arg, access) in uses {
        let (ArgumentValue::Buffer(place), Some(handle)) = arg.parts() else { continue };
        if place.len == 0 || found.iter().any(|other| other.place == place) {
            continue;
        }
        let facts = handle.facts();
        found.push(Touched { place, label: facts.label.clone(), tag: facts.tag, access });
    }
    found
}
