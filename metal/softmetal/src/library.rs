#![allow(unsafe_code, reason = "methods are called by objc2")]
//! Libraries, functions and pipelines: MSL text compiled for the CPU by the crate `msl`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use msl::{Compiler, Kernel, Library, MOST_THREADS};

use crate::{
    control,
    fault::fault,
    foundation::{self, OBJECT},
    runtime::{Class, Id, Method, Selector, contents, make},
};

pub(crate) static CLASSES: &[&Class] = &[&OPTIONS];

// SAFETY: S4.
#[unsafe(export_name = "._OBJC_CLASS_MTLCompileOptions")]
static OPTIONS: Class = Class::new(
    c"MTLCompileOptions",
    Some(&OBJECT),
    &[
        Method::new(c"init", c"@@:", options_init as *const ()),
        Method::new(c"setLanguageVersion:", c"v@:Q", set_version as *const ()),
        Method::new(c"setMathMode:", c"v@:q", set_mode as *const ()).since(15),
        Method::new(c"setFastMathEnabled:", c"v@:C", set_quick as *const ()),
    ],
);

static LIBRARY: Class = Class::new(
    c"SoftLibrary",
    Some(&OBJECT),
    &[Method::new(c"newFunctionWithName:", c"@@:@", function as *const ())],
);

static FUNCTION: Class = Class::new(c"SoftFunction", Some(&OBJECT), &[]);

static PIPELINE: Class = Class::new(
    c"SoftPipeline",
    Some(&OBJECT),
    &[
        Method::new(c"maxTotalThreadsPerThreadgroup", c"Q@:", most_threads as *const ()),
        Method::new(c"staticThreadgroupMemoryLength", c"Q@:", static_shared as *const ()),
    ],
);

/// Whether maths was asked to be safe. Nobody asked is the framework's default, which is fast.
#[derive(Default)]
struct Options {
    safe: Mutex<bool>,
}

/// Compiles a text; every text once a process.
pub(crate) fn library(source: Id, options: Id, error: *mut Id) -> Id {
    static COMPILED: Mutex<Option<HashMap<String, Arc<Library>>>> = Mutex::new(None);
    let safe = !options.is_null()
        && *contents::<Options>(options).safe.lock().unwrap_or_else(|held| held.into_inner());
    if !safe {
        fault("a text is compiled without safe maths");
    }
    let text = foundation::text(source);
    let mut compiled = COMPILED.lock().unwrap_or_else(|held| held.into_inner());
    let compiled = compiled.get_or_insert_default();
    if !compiled.contains_key(&text) {
        let folder = concat!(env!("OUT_DIR"), "/kernels");
        match Compiler::new(folder).compile(&text) {
            Ok(library) => _ = compiled.insert(text.clone(), Arc::new(library)),
            Err(words) => {
                if !error.is_null() {
                    // SAFETY: the caller hands over room for an object.
                    unsafe { *error = foundation::error(3, &words) };
                }
                return std::ptr::null_mut();
            }
        }
    }
    make(&LIBRARY, compiled[&text].clone())
}

/// A pipeline of a function.
pub(crate) fn pipeline(function: Id) -> Id {
    make(&PIPELINE, contents::<Kernel>(function).clone())
}

extern "C-unwind" fn options_init(object: Id, _: Selector) -> Id {
    crate::runtime::fill(object, Options::default());
    object
}

extern "C-unwind" fn set_version(object: Id, _: Selector, version: usize) {
    contents::<Options>(object);
    let (major, needed) = (version >> 16, if version >> 16 >= 3 { 13 } else { 10 });
    if control::macos() < needed {
        fault(&format!("language version {major} is not known before macOS {needed}"));
    }
}

extern "C-unwind" fn set_mode(object: Id, _: Selector, mode: isize) {
    *contents::<Options>(object).safe.lock().unwrap_or_else(|held| held.into_inner()) = mode == 0;
}

extern "C-unwind" fn set_quick(object: Id, _: Selector, fast: bool) {
    *contents::<Options>(object).safe.lock().unwrap_or_else(|held| held.into_inner()) = !fast;
}

extern "C-unwind" fn function(object: Id, _: Selector, name: Id) -> Id {
    let kernel = contents::<Arc<Library>>(object).kernel(&foundation::text(name));
    kernel.map_or(std::ptr::null_mut(), |kernel| make(&FUNCTION, kernel))
}

extern "C-unwind" fn most_threads(object: Id, _: Selector) -> usize {
    contents::<Kernel>(object);
    MOST_THREADS
}

extern "C-unwind" fn static_shared(object: Id, _: Selector) -> usize {
    contents::<Kernel>(object);
    0
}
