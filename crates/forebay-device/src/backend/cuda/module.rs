#![allow(unsafe_code, reason = "code of kernels is loaded by the driver")]
//! Kernels on a card: which of their images suits it, and the functions in them.
//!
//! A buffer reaches a kernel as the address of its first byte, a scalar as itself, in the order of the signature and
//! with nothing else in between, so that kernels written for any other host program can be used as they are.
//! Modules stay loaded as long as the device, and so do their functions.

use std::{
    ffi::{CString, c_void},
    sync::Arc,
};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUfunction_attribute as Property};

use super::{
    bundle,
    driver::{Context, call, words},
};
use crate::{
    error::{Error, Result},
    kernel::{Image, ImageFormat, KernelDef},
    launch::KernelId,
    sync::{AtomicBool, Ordering},
};

/// Bytes of the driver's words about PTX that are kept.
const LOG: usize = 4096;
/// The first cards that start a kernel while the one before it ends.
const FIRST_EARLY: u32 = 90;

/// A kernel that was loaded.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: Arc<str>,
    raw: sys::CUfunction,
    /// Whether it may start while the launch before it ends.
    early: bool,
    /// Whether multiprocessors set aside all they can for what its groups share.
    wide: AtomicBool,
}

impl Function {
    pub(crate) fn raw(&self) -> sys::CUfunction {
        self.raw
    }

    pub(crate) fn starts_early(&self) -> bool {
        self.early
    }

    /// Has multiprocessors set aside all they can for what groups share, if they share anything: between kernels that want different
    /// parts of that memory multiprocessors run empty, and where nothing is shared it caches what is read.
    pub(crate) fn widen(&self, shared_bytes: u32) -> Result<()> {
        if shared_bytes == 0 || self.wide.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let property = Property::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
        // SAFETY: C3 and C4.
        call("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(self.raw, property, 100) })
    }
}

/// All kernels of a device, and the modules they are in.
#[derive(Debug)]
pub(crate) struct Kernels {
    context: Arc<Context>,
    /// What the card is, such as 90 for 9.0.
    architecture: u32,
    /// The most memory that the threads of a group may share.
    shared: u32,
    functions: Vec<Function>,
    modules: Vec<Module>,
}

#[derive(Debug)]
struct Module {
    /// The image it was made of; kept, so that no other one gets its address.
    image: Image,
    raw: sys::CUmodule,
}

// SAFETY: C3.
unsafe impl Send for Kernels {}
// SAFETY: C3.
unsafe impl Sync for Kernels {}

impl Kernels {
    pub(crate) fn new(context: &Arc<Context>, architecture: u32) -> Result<Self> {
        let shared = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let context = context.clone();
        Ok(Self { context, architecture, shared, functions: Vec::new(), modules: Vec::new() })
    }

    pub(crate) fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Loads a kernel from the image that suits the card best.
    pub(crate) fn load(&mut self, def: &KernelDef) -> Result<KernelId> {
        self.context.bind()?;
        let refused = |detail: String| Error::Module { name: def.name().to_owned(), detail };
        let mut reasons = Vec::new();
        let mut images = def.images.clone();
        for bundle in &def.bundles {
            images.extend(bundle::images(bundle).map_err(refused)?);
        }
        for image in suitable(&images, self.architecture) {
            let entry = CString::new(image.entry.as_str())
                .map_err(|_| refused(format!("the entry {:?} has a zero in it", image.entry)))?;
            let loaded = self.module(image).map_err(|detail| (image, detail)).and_then(|module| {
                let mut raw = std::ptr::null_mut();
                // SAFETY: C2, C3 and C4.
                match unsafe { sys::cuModuleGetFunction(&mut raw, module, entry.as_ptr()) } {
                    sys::CUresult::CUDA_SUCCESS => Ok(raw),
                    code => Err((image, format!("it has no function {:?}: {}", image.entry, words(code)))),
                }
            });
            match loaded {
                Ok(raw) => {
                    self.allow_shared(raw)?;
                    let early = def.waits && self.architecture >= FIRST_EARLY;
                    self.functions.push(Function {
                        name: def.name.clone(),
                        raw,
                        early,
                        wide: AtomicBool::new(false),
                    });
                    return Ok((self.functions.len() - 1) as KernelId);
                }
                Err((image, detail)) => reasons.push(format!("{}: {detail}", called(image))),
            }
        }
        let card = format!("this card is sm_{}", self.architecture);
        let there: Vec<_> = images.iter().map(called).collect();
        Err(refused(match (there.is_empty(), reasons.is_empty()) {
            (true, _) => format!("it has no image for a card; {card}: add PTX or a cubin"),
            (false, true) => format!("{card}, and none of its images suits: {}", there.join(", ")),
            (false, false) => format!("{card}; {}", reasons.join("; ")),
        }))
    }

    /// The module of an image, loaded when it was not yet.
    fn module(&mut self, image: &Image) -> Result<sys::CUmodule, String> {
        if let Some(module) = self.modules.iter().find(|module| bundle::is_same(&module.image, image)) {
            return Ok(module.raw);
        }
        let mut code = bundle::unpack(image)?;
        // PTX is a text that ends in a zero; a cubin carries its length and does not mind.
        code.push(0);
        let mut log = vec![0u8; LOG];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(LOG)];
        let mut raw = std::ptr::null_mut();
        let count = options.len() as u32;
        let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
        // SAFETY: C1, C2 and C4; given up by `drop`.
        let answer =
            unsafe { sys::cuModuleLoadDataEx(&mut raw, code.as_ptr().cast(), count, options, values) };
        if answer != sys::CUresult::CUDA_SUCCESS {
            let said = log.iter().position(|&byte| byte == 0).map_or(&log[..], |end| &log[..end]);
            let said = String::from_utf8_lossy(said);
            return Err(format!("{} {}", words(answer), said.trim()).trim_end().to_owned());
        }
        self.modules.push(Module { image: image.clone(), raw });
        Ok(raw)
    }

    /// Lets the groups of a kernel share as much memory as the card has for one.
    fn allow_shared(&self, function: sys::CUfunction) -> Result<()> {
        let mut own = 0;
        let property = Property::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        // SAFETY: C2, C3 and C4.
        call("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut own, property, function) })?;
        let left = (self.shared as i32).saturating_sub(own).max(0);
        let property = Property::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: C3 and C4.
        call("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(function, property, left) })
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        let _ = self.context.bind();
        for module in &self.modules {
            // SAFETY: C3: loaded by `module`, given up exactly here.
            let _ = unsafe { sys::cuModuleUnload(module.raw) };
        }
    }
}

/// The images that may run on a card, best first: code for the nearest of its family, then what does not say what it is
/// for, then PTX, newest first.
fn suitable(images: &[Image], card: u32) -> Vec<&Image> {
    let rank = |image: &Image| {
        let (binary, made) = (image.format == ImageFormat::Cubin, image.architecture);
        match (image.format, made) {
            (ImageFormat::Msl, _) => None,
            (_, 0) => Some((binary, 0)),
            (ImageFormat::Cubin, made) => (made / 10 == card / 10 && made <= card).then_some((binary, made)),
            (ImageFormat::Ptx, made) => (made <= card).then_some((binary, made)),
        }
    };
    let mut ranked: Vec<_> = images.iter().filter_map(|image| Some((rank(image)?, image))).collect();
    ranked.sort_by_key(|&(rank, _)| std::cmp::Reverse(rank));
    ranked.into_iter().map(|(_, image)| image).collect()
}

/// The image of a kernel that suits a card best, in words.
pub(crate) fn image_on(def: &KernelDef, card: u32) -> Option<String> {
    let packed = def.bundles.iter().filter_map(|bundle| bundle::images(bundle).ok()).flatten();
    let images: Vec<Image> = def.images.iter().cloned().chain(packed).collect();
    suitable(&images, card).first().map(|image| called(image))
}

/// How an image is called.
fn called(image: &Image) -> String {
    let format = match image.format {
        ImageFormat::Ptx => "PTX",
        ImageFormat::Cubin => "cubin",
        ImageFormat::Msl => "MSL",
    };
    match image.architecture {
        0 => format!("{format} of unknown architecture"),
        made => format!("{format} for sm_{made}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Signature;

    fn images(all: &[(ImageFormat, u32)]) -> Vec<Image> {
        let def = KernelDef::new("k", Signature::new([]));
        let add = |def: KernelDef, &(format, made): &(ImageFormat, u32)| {
            def.image_for(format, made, vec![made as u8], "k")
        };
        all.iter().fold(def, add).images
    }

    fn order(all: &[(ImageFormat, u32)], card: u32) -> Vec<(ImageFormat, u32)> {
        suitable(&images(all), card).into_iter().map(|image| (image.format, image.architecture)).collect()
    }

    #[test]
    fn the_nearest_code_of_the_family_comes_first_and_ptx_last() {
        use ImageFormat::{Cubin, Msl, Ptx};
        let all = [
            (Ptx, 80),
            (Cubin, 80),
            (Msl, 0),
            (Cubin, 86),
            (Cubin, 89),
            (Cubin, 90),
            (Ptx, 90),
            (Cubin, 120),
        ];
        assert_eq!(order(&all, 90), [(Cubin, 90), (Ptx, 90), (Ptx, 80)]);
        assert_eq!(order(&all, 89), [(Cubin, 89), (Cubin, 86), (Cubin, 80), (Ptx, 80)]);
        assert_eq!(order(&all, 87), [(Cubin, 86), (Cubin, 80), (Ptx, 80)]);
        assert_eq!(order(&all, 121), [(Cubin, 120), (Ptx, 90), (Ptx, 80)]);
        assert_eq!(order(&all, 75), []);
    }

    #[test]
    fn the_image_that_is_taken_has_a_name() {
        use ImageFormat::{Cubin, Ptx};
        let def = KernelDef {
            images: images(&[(Ptx, 80), (Cubin, 90)]),
            ..KernelDef::new("k", Signature::new([]))
        };
        let names = [90, 120, 75].map(|card| image_on(&def, card));
        assert_eq!(names, [Some("cubin for sm_90".to_owned()), Some("PTX for sm_80".to_owned()), None]);
    }

    #[test]
    fn code_that_does_not_say_what_it_is_for_is_tried() {
        use ImageFormat::{Cubin, Ptx};
        assert_eq!(order(&[(Ptx, 0), (Cubin, 0), (Cubin, 80)], 90), [(Cubin, 0), (Ptx, 0)]);
    }
}
