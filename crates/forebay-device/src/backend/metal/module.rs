#![allow(unsafe_code, reason = "arguments are handed to encoders by place and by address")]
//! Kernels on Metal: MSL text compiled by the system, and the launches of what comes out.
//!
//! Argument n of a signature is the kernel's `[[buffer(n)]]`: a buffer as the bytes of its slice, a scalar as a `constant`
//! reference. The shared bytes of a grid are `[[threadgroup(0)]]`. Maths is compiled safe: a kernel that wants it fast says so in
//! its own text. Rules for the unsafe code:
//! - K1 What is bound lies in its buffer (backend contract) and was declared by the kernel's signature; that the text
//!   agrees with the signature is its author's word.
//! - K2 The framework copies the bytes of a scalar before the call returns.

use std::{ffi::c_void, ptr::NonNull, sync::Arc};

use objc2::{
    runtime::{NSObjectProtocol, ProtocolObject},
    sel,
};
use objc2_foundation::NSString;
use objc2_metal::{
    MTLBarrierScope, MTLCompileOptions, MTLComputeCommandEncoder, MTLComputePipelineState, MTLDevice,
    MTLLanguageVersion, MTLLibrary, MTLMathMode, MTLSize,
};

use super::{Object, memory::Held, words};
use crate::{
    error::{Error, Result},
    kernel::{Code, ImageFormat, KernelDef},
    label::Label,
    launch::{ArgumentValue, Command, CommandList, Grid, KernelId, Place},
    sync::{Mutex, lock},
};

/// What forebay itself runs.
pub(super) const OWN: &str = include_str!("kernels.metal");
/// Bytes that a copy or fill moves at once where it can.
const WORD: u64 = 16;
/// Threads of a group that copies or fills, and the most groups of them.
const COPIERS: usize = 256;
const MOST_COPIERS: u64 = 4096;
/// What the length of a group's shared memory is a multiple of.
const SHARED_UNIT: usize = 16;

/// A kernel that was loaded.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: Arc<str>,
    pipeline: Object<dyn MTLComputePipelineState>,
}

impl Function {
    /// What is wrong with a grid; launched all the same, it would end the process.
    fn refusal(&self, grid: &Grid, most_shared: usize) -> Option<String> {
        let threads = grid.threads.iter().fold(1usize, |product, &n| product.saturating_mul(n as usize));
        let most = self.pipeline.maxTotalThreadsPerThreadgroup();
        if threads > most {
            return Some(format!("{threads} threads a group, and this kernel can have {most}"));
        }
        let shared = self.pipeline.staticThreadgroupMemoryLength() + shared_len(grid);
        (shared > most_shared)
            .then(|| format!("{shared} shared bytes a group, and the device has {most_shared}"))
    }
}

/// The kernels of a device, and what they were compiled from.
#[derive(Debug)]
pub(super) struct Kernels {
    device: Object<dyn MTLDevice>,
    functions: Mutex<Vec<Function>>,
    libraries: Mutex<Vec<Library>>,
    own: Own,
    most_shared: usize,
}

// SAFETY: O2.
unsafe impl Send for Kernels {}
// SAFETY: O2.
unsafe impl Sync for Kernels {}

/// A text and what it was compiled to.
type Library = (Arc<[u8]>, Object<dyn MTLLibrary>);

/// Copies and fills.
#[derive(Debug)]
struct Own {
    copy_words: Function,
    copy_bytes: Function,
    fill_words: Function,
    fill_bytes: Function,
}

impl Kernels {
    pub(super) fn new(device: &Object<dyn MTLDevice>) -> Result<Self> {
        let source: Arc<[u8]> = OWN.as_bytes().into();
        let refused = |detail: String| Error::Module { name: "forebay's own kernels".into(), detail };
        let library = compile(device, OWN).map_err(refused)?;
        let function = |name: &str| function(device, &library, name, name.into()).map_err(refused);
        let own = Own {
            copy_words: function("copy_words")?,
            copy_bytes: function("copy_bytes")?,
            fill_words: function("fill_words")?,
            fill_bytes: function("fill_bytes")?,
        };
        let most_shared = device.maxThreadgroupMemoryLength();
        let libraries = Mutex::new(vec![(source, library)]);
        Ok(Self { device: device.clone(), functions: Mutex::default(), libraries, own, most_shared })
    }

    /// Compiles a kernel from the first of its images that is MSL.
    pub(super) fn load(&self, def: &KernelDef) -> Result<KernelId> {
        let refused = |detail: String| Error::Module { name: def.name().to_owned(), detail };
        let image = def.images.iter().find(|image| image.format == ImageFormat::Msl);
        let image = image.ok_or_else(|| refused("it has no image for Metal: add MSL text".into()))?;
        #[allow(clippy::infallible_destructuring_match, reason = "other builds have packed code, too")]
        let source = match &image.code {
            Code::Plain(source) => source,
            #[cfg(feature = "cuda")]
            Code::Packed(..) => return Err(refused("MSL is never packed".into())),
        };
        let library = self.library(source).map_err(refused)?;
        let function = function(&self.device, &library, &image.entry, def.name.clone()).map_err(refused)?;
        let mut functions = lock(&self.functions);
        functions.push(function);
        Ok(functions.len() as KernelId - 1)
    }

    /// The library of a text, compiled when it was not yet. Nobody is kept waiting meanwhile.
    fn library(&self, source: &Arc<[u8]>) -> std::result::Result<Object<dyn MTLLibrary>, String> {
        if let Some((_, library)) = lock(&self.libraries).iter().find(|(text, _)| text == source) {
            return Ok(library.clone());
        }
        let text = std::str::from_utf8(source).map_err(|error| format!("MSL is text: {error}"))?;
        let library = compile(&self.device, text)?;
        lock(&self.libraries).push((source.clone(), library.clone()));
        Ok(library)
    }

    /// The name of a kernel.
    pub(super) fn name(&self, kernel: KernelId) -> Arc<str> {
        lock(&self.functions)[kernel as usize].name.clone()
    }

    /// Refuses a list with a launch that the device cannot do, before any of it is encoded.
    pub(super) fn check(&self, list: &CommandList, stage: &Label) -> Result<()> {
        let functions = lock(&self.functions);
        for command in &list.commands {
            let Command::Launch { kernel, grid, .. } = command else { continue };
            let function = &functions[*kernel as usize];
            if let Some(detail) = function.refusal(grid, self.most_shared) {
                let detail = format!("the launch was refused: {detail}").into();
                return Err(Error::KernelFault {
                    kernel: function.name.clone(),
                    stage: stage.into(),
                    detail,
                });
            }
        }
        Ok(())
    }

    /// Encodes commands of a checked list.
    pub(super) fn encode(
        &self,
        list: &CommandList,
        commands: &[Command],
        places: &Held<'_>,
        encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
    ) -> Result<()> {
        let functions = lock(&self.functions);
        for command in commands {
            match *command {
                Command::Launch { grid, .. } if grid.is_empty() => {}
                Command::Launch { kernel, grid, first, count } => {
                    encoder.setComputePipelineState(&functions[kernel as usize].pipeline);
                    for (index, value) in list.arguments_of(first, count).iter().enumerate() {
                        bind(encoder, index, value, places)?;
                    }
                    let shared = shared_len(&grid);
                    if shared > 0 {
                        // SAFETY: K1: `check` found room for it.
                        unsafe { encoder.setThreadgroupMemoryLength_atIndex(shared, 0) };
                    }
                    encoder.dispatchThreadgroups_threadsPerThreadgroup(size(grid.groups), size(grid.threads));
                }
                Command::Copy { from, to } => self.encode_copy(encoder, places, &from, &to)?,
                Command::Fill { to, byte } => self.encode_fill(encoder, places, &to, byte)?,
                Command::Barrier => encoder.memoryBarrierWithScope(MTLBarrierScope::Buffers),
            }
        }
        Ok(())
    }

    fn encode_copy(
        &self,
        encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
        places: &Held<'_>,
        from: &Place,
        to: &Place,
    ) -> Result<()> {
        let words = is_words(places, &[from, to])?;
        let function = if words { &self.own.copy_words } else { &self.own.copy_bytes };
        encoder.setComputePipelineState(&function.pipeline);
        bind(encoder, 0, &ArgumentValue::Buffer(*from), places)?;
        bind(encoder, 1, &ArgumentValue::Buffer(*to), places)?;
        spread(encoder, if words { to.len / WORD } else { to.len }, places)
    }

    fn encode_fill(
        &self,
        encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
        places: &Held<'_>,
        to: &Place,
        byte: u8,
    ) -> Result<()> {
        let words = is_words(places, &[to])?;
        let function = if words { &self.own.fill_words } else { &self.own.fill_bytes };
        encoder.setComputePipelineState(&function.pipeline);
        bind(encoder, 0, &ArgumentValue::Buffer(*to), places)?;
        bind(encoder, 1, &ArgumentValue::U32(u32::from_ne_bytes([byte; 4])), places)?;
        spread(encoder, if words { to.len / WORD } else { to.len }, places)
    }
}

/// Whether places can be worked on in whole words.
fn is_words(places: &Held<'_>, all: &[&Place]) -> Result<bool> {
    for place in all {
        let (_, offset) = places.place(place)?;
        if !place.len.is_multiple_of(WORD) || !(offset as u64).is_multiple_of(WORD) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Encodes the count of a copy or fill as its last argument, and its groups.
fn spread(
    encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
    count: u64,
    places: &Held<'_>,
) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    bind(encoder, 2, &ArgumentValue::U64(count), places)?;
    let groups = count.div_ceil(COPIERS as u64).min(MOST_COPIERS) as usize;
    let (groups, threads) =
        (MTLSize { width: groups, height: 1, depth: 1 }, MTLSize { width: COPIERS, height: 1, depth: 1 });
    encoder.dispatchThreadgroups_threadsPerThreadgroup(groups, threads);
    Ok(())
}

fn bind(
    encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
    index: usize,
    value: &ArgumentValue,
    places: &Held<'_>,
) -> Result<()> {
    match value {
        ArgumentValue::Buffer(place) => {
            let (buffer, offset) = places.place(place)?;
            // SAFETY: K1.
            unsafe { encoder.setBuffer_offset_atIndex(Some(buffer), offset, index) };
        }
        ArgumentValue::U32(value) => scalar(encoder, index, value),
        ArgumentValue::I32(value) => scalar(encoder, index, value),
        ArgumentValue::U64(value) => scalar(encoder, index, value),
        ArgumentValue::F32(value) => scalar(encoder, index, value),
    }
    Ok(())
}

fn scalar<T>(encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>, index: usize, value: &T) {
    let bytes = NonNull::from(value).cast::<c_void>();
    // SAFETY: K1 and K2: so many bytes of a value that outlives the call.
    unsafe { encoder.setBytes_length_atIndex(bytes, size_of::<T>(), index) };
}

fn shared_len(grid: &Grid) -> usize {
    (grid.shared_bytes as usize).next_multiple_of(SHARED_UNIT)
}

fn size([width, height, depth]: [u32; 3]) -> MTLSize {
    MTLSize { width: width as usize, height: height as usize, depth: depth as usize }
}

fn compile(
    device: &ProtocolObject<dyn MTLDevice>,
    text: &str,
) -> std::result::Result<Object<dyn MTLLibrary>, String> {
    let options = MTLCompileOptions::new();
    options.setLanguageVersion(MTLLanguageVersion::Version3_0);
    // O4: macOS 15 brought the mode; before it there is one switch.
    if options.respondsToSelector(sel!(setMathMode:)) {
        options.setMathMode(MTLMathMode::Safe);
    } else {
        #[allow(deprecated, reason = "older systems know no other")]
        options.setFastMathEnabled(false);
    }
    let library = device.newLibraryWithSource_options_error(&NSString::from_str(text), Some(&options));
    library.map_err(|error| words(&error))
}

fn function(
    device: &ProtocolObject<dyn MTLDevice>,
    library: &ProtocolObject<dyn MTLLibrary>,
    entry: &str,
    name: Arc<str>,
) -> std::result::Result<Function, String> {
    let function = library.newFunctionWithName(&NSString::from_str(entry));
    let function = function.ok_or_else(|| format!("its text has no kernel {entry:?}"))?;
    let pipeline =
        device.newComputePipelineStateWithFunction_error(&function).map_err(|error| words(&error))?;
    Ok(Function { name, pipeline })
}
