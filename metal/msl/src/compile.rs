#![allow(unsafe_code, reason = "what clang made is loaded and called")]
//! Clang: texts become libraries of this process, and libraries that were made before are used again.

use std::{
    ffi::c_void,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    group::{self, HOOKS, Hooks, Order},
    source::{self, Entry, Role},
};

/// The headers that stand in for Apple's.
pub(crate) const HEADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
const HEADER: &str = include_str!("../include/metal_stdlib");
/// The compiler. Older ones lack 16-bit floats on this processor.
const CLANG: &str = "clang++-19";
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-Wall",
    "-Werror",
    "-Wno-unused-function",
    "-x",
    "c++",
];
const PLAIN: &[&str] = &["-O2"];
/// The sanitizers' runtime comes from whoever starts the program.
const SANITIZED: &[&str] =
    &["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-shared-libsan"];

/// Compiles texts, and keeps what comes out in a folder.
#[derive(Clone, Debug)]
pub struct Compiler {
    folder: PathBuf,
    flags: &'static [&'static str],
}

/// A compiled text.
#[derive(Debug)]
pub struct Library {
    loaded: Arc<libloading::Library>,
    entries: Vec<Entry>,
}

/// A kernel of a library.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Keeps the function in place (L1).
    _loaded: Arc<libloading::Library>,
    function: group::Entry,
    entry: Entry,
}

impl Compiler {
    /// A compiler that keeps its libraries in a folder of its own.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned(), flags: PLAIN }
    }

    /// As [`new`](Self::new), with AddressSanitizer and UBSan in the kernels. The program has to run with their runtime loaded.
    pub fn sanitized(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned(), flags: SANITIZED }
    }

    /// Compiles a text, or finds what it was compiled to before.
    ///
    /// # Errors
    /// What the reader of kernels or clang says.
    pub fn compile(&self, text: &str) -> Result<Library, String> {
        let entries = source::entries(text)?;
        let cpp = source::to_cpp(text, &entries);
        let mut hash = DefaultHasher::new();
        (&cpp, HEADER, FLAGS, self.flags).hash(&mut hash);
        let path = self.folder.join(format!("{:016x}.so", hash.finish()));
        if !path.exists() {
            self.build(&cpp, &path)?;
        }
        // SAFETY: L1: a library without initialisers, made from a text of ours.
        let loaded = unsafe { libloading::Library::new(&path) }.map_err(|error| error.to_string())?;
        // SAFETY: L1: every text has this function.
        let connect = unsafe { loaded.get::<unsafe extern "C" fn(&Hooks)>(b"msl_connect\0") };
        // SAFETY: as above.
        unsafe { connect.map_err(|error| error.to_string())?(&HOOKS) };
        Ok(Library { loaded: Arc::new(loaded), entries })
    }

    fn build(&self, cpp: &str, path: &Path) -> Result<(), String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let failed = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let stem = format!("{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (from, to) = (self.folder.join(format!("{stem}.cpp")), self.folder.join(format!("{stem}.so")));
        fs::write(&from, cpp).map_err(failed)?;
        let mut command = Command::new(CLANG);
        command.args(self.flags).args(FLAGS).args(["-I", HEADERS]).arg(&from).arg("-o").arg(&to);
        let output = command.output().map_err(|error| format!("{CLANG}: {error}"));
        let _ = fs::remove_file(&from);
        let output = output?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        // Another process may have made the same meanwhile; both are good.
        fs::rename(to, path).map_err(failed)
    }
}

impl Library {
    /// The names of its kernels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// A kernel by its name.
    pub fn kernel(&self, name: &str) -> Option<Kernel> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        let symbol = format!("msl_entry_{name}\0");
        // SAFETY: L1: `source` wrote one such function for each entry.
        let function = unsafe { self.loaded.get::<group::Entry>(symbol.as_bytes()) }.ok()?;
        Some(Kernel { _loaded: self.loaded.clone(), function: *function, entry: entry.clone() })
    }
}

impl Kernel {
    /// The indices of its buffers.
    pub fn buffers(&self) -> impl Iterator<Item = usize> {
        self.entry.params.iter().filter_map(|param| match param.role {
            Role::Buffer(index) => Some(index),
            _ => None,
        })
    }

    /// The indices of its shared memory.
    pub fn shared(&self) -> impl Iterator<Item = usize> {
        self.entry.params.iter().filter_map(|param| match param.role {
            Role::Shared(index) => Some(index),
            _ => None,
        })
    }

    /// Runs it over a grid.
    ///
    /// # Safety
    /// `buffers` has an address for each index in [`buffers`](Self::buffers), behind which is what the kernel reads and
    /// writes there; `shared` has the bytes for each index in [`shared`](Self::shared).
    ///
    /// # Errors
    /// What the threads did wrong together.
    pub unsafe fn run(
        &self,
        buffers: &[*mut c_void],
        shared: &[usize],
        groups: [u32; 3],
        threads: [u32; 3],
        order: Order,
    ) -> Result<(), String> {
        if let Some(index) =
            self.buffers().find(|&index| buffers.get(index).is_none_or(|start| start.is_null()))
        {
            return Err(format!("{}: nothing is bound as buffer {index}", self.entry.name));
        }
        // This processor forgives what a GPU reads wrongly.
        for param in &self.entry.params {
            let (Role::Buffer(index), alignment) = (&param.role, param.alignment()) else { continue };
            if !buffers[*index].addr().is_multiple_of(alignment) {
                let name = &self.entry.name;
                return Err(format!(
                    "{name}: what is bound as buffer {index} is not aligned to {alignment} bytes"
                ));
            }
        }
        if let Some(index) = self.shared().find(|&index| shared.get(index).is_none_or(|&bytes| bytes == 0)) {
            return Err(format!("{}: shared memory {index} has no length", self.entry.name));
        }
        // SAFETY: L1; the caller promises the rest.
        unsafe { group::run(self.function, self.entry.alone, buffers, shared, groups, threads, order) }
            .map_err(|fault| format!("{}: {fault}", self.entry.name))
    }
}
