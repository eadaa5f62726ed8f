//! A kernel that a device has loaded, and the measure by which names look alike.

use std::fmt;

use crate::{caps::BackendKind, kernel::KernelDef, launch::Signature, memory::home::Home, sync::Arc};

/// A kernel that a device has loaded.
#[derive(Clone)]
pub struct Kernel {
    inner: Arc<KernelInner>,
}

struct KernelInner {
    name: Arc<str>,
    signature: Arc<Signature>,
    id: u32,
    home: Arc<Home>,
}

impl Kernel {
    pub(super) fn new(def: &KernelDef, id: u32, home: Arc<Home>) -> Self {
        let (name, signature) = (def.name.clone(), def.signature.clone());
        Self { inner: Arc::new(KernelInner { name, signature, id, home }) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The family of devices that it was loaded for.
    pub fn backend(&self) -> BackendKind {
        self.inner.home.backend.caps().backend
    }

    /// What it takes.
    pub fn signature(&self) -> &Signature {
        &self.inner.signature
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.inner.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.inner.id
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernel").field(&self.inner.name).finish()
    }
}

/// Single-character edits between two names.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let edit = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], edit);
        }
    }
    row[b.len()]
}
