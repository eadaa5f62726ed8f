#![allow(unsafe_code, reason = "is the runtime that objc2 calls")]
//! As much of an Objective-C runtime as objc2 uses: classes, messages, counts, autorelease pools.
//!
//! All classes are known here at compile time and are listed with their methods, each with the encoding of its types.
//! Nothing is ever freed, so that whoever uses something too late is told so.

use std::{
    any::{Any, type_name},
    cell::{RefCell, UnsafeCell},
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_void},
    ptr,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicIsize, Ordering},
    },
};

use crate::{control, fault::fault};

/// A class, or the one class of all classes.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Class {
    isa: *const Class,
    name: &'static CStr,
    parent: *const Class,
    methods: &'static [Method],
    /// The version of macOS that brought it.
    since: u32,
}

// SAFETY: S1: classes never change.
unsafe impl Sync for Class {}

/// A method: its selector, its function and the types of that.
#[derive(Debug)]
pub(crate) struct Method {
    selector: &'static CStr,
    types: &'static CStr,
    function: *const (),
    since: u32,
}

// SAFETY: as above.
unsafe impl Sync for Method {}

/// An object.
#[repr(C)]
pub(crate) struct Object {
    isa: *const Class,
    count: AtomicIsize,
    contents: UnsafeCell<Option<Box<dyn Any + Send + Sync>>>,
}

pub(crate) type Id = *mut Object;
pub(crate) type Selector = *const c_char;

/// The class of all classes.
static META: Class = Class {
    isa: ptr::null(),
    name: c"Meta",
    parent: ptr::null(),
    methods: &[
        Method::new(c"alloc", c"@@:", alloc as *const ()),
        Method::new(c"new", c"@@:", new as *const ()),
    ],
    since: 0,
};

impl Class {
    pub(crate) const fn new(
        name: &'static CStr,
        parent: Option<&'static Class>,
        methods: &'static [Method],
    ) -> Self {
        let parent: *const Class = match parent {
            Some(parent) => parent,
            None => ptr::null(),
        };
        Self { isa: &META, name, parent, methods, since: 0 }
    }

    pub(crate) const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }

    fn find(&self, selector: Selector) -> Option<&'static Method> {
        // SAFETY: S1: selectors are names that stay.
        let selector = unsafe { CStr::from_ptr(selector) };
        let is = |method: &&'static Method| method.selector == selector && method.since <= control::macos();
        let own = self.methods.iter().find(is);
        // SAFETY: S1: a class's parent is a class.
        own.or_else(|| unsafe { self.parent.as_ref() }?.find(selector.as_ptr()))
    }

    fn is_meta(&self) -> bool {
        ptr::eq(self, &META)
    }
}

impl Method {
    pub(crate) const fn new(selector: &'static CStr, types: &'static CStr, function: *const ()) -> Self {
        Self { selector, types, function, since: 0 }
    }

    pub(crate) const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }
}

/// Makes an object with a count of one.
pub(crate) fn make(class: &'static Class, contents: impl Any + Send + Sync) -> Id {
    control::count(class.name, 1);
    let contents: Box<dyn Any + Send + Sync> = Box::new(contents);
    let contents = UnsafeCell::new(Some(contents));
    Box::into_raw(Box::new(Object { isa: class, count: AtomicIsize::new(1), contents }))
}

/// The contents of an object that has to be of a kind.
pub(crate) fn contents<'a, T: Any>(object: Id) -> &'a T {
    // SAFETY: S1 and S3: contents change only before anybody else knows the object, and when nobody does any more.
    let held = unsafe { object.as_ref().and_then(|object| (*object.contents.get()).as_ref()) };
    match held.and_then(|held| held.downcast_ref()) {
        Some(contents) => contents,
        None => fault(&format!("{} where a {} is wanted", name_of(object), type_name::<T>())),
    }
}

/// Fills an object that was just allocated.
pub(crate) fn fill(object: Id, contents: impl Any + Send + Sync) {
    // SAFETY: S1 and S3: nobody but its maker knows it yet.
    unsafe { *(*object).contents.get() = Some(Box::new(contents)) };
}

/// Whether anybody counts on an object.
pub(crate) fn is_alive(object: Id) -> bool {
    // SAFETY: S1.
    unsafe { object.as_ref() }.is_some_and(|object| object.count.load(Ordering::SeqCst) > 0)
}

/// What an object is, in words.
pub(crate) fn name_of(object: Id) -> String {
    // SAFETY: S1.
    match unsafe { object.as_ref() } {
        // SAFETY: S1.
        Some(object) => unsafe { (*object.isa).name }.to_string_lossy().into_owned(),
        None => "nil".to_owned(),
    }
}

/// Whether an object knows a message.
pub(crate) fn responds(object: Id, selector: Selector) -> bool {
    // SAFETY: S1.
    unsafe { (*(*object).isa).find(selector) }.is_some()
}

pub(crate) fn class_by_name(name: &CStr) -> Option<&'static Class> {
    let all = crate::foundation::CLASSES.iter().chain(crate::library::CLASSES).chain(crate::memory::CLASSES);
    all.copied().find(|class| class.name == name && class.since <= control::macos())
}

extern "C-unwind" fn alloc(class: &'static Class, _: Selector) -> Id {
    make(class, ())
}

extern "C-unwind" fn new(class: &'static Class, selector: Selector) -> Id {
    let object = make(class, ());
    let Some(init) = class.find(c"init".as_ptr()) else { return object };
    // SAFETY: S2: every `init` has this type.
    let init = unsafe {
        std::mem::transmute::<*const (), unsafe extern "C-unwind" fn(Id, Selector) -> Id>(init.function)
    };
    // SAFETY: as above.
    unsafe { init(object, selector) }
}

thread_local! {
    static POOLS: RefCell<Vec<Vec<Id>>> = const { RefCell::new(Vec::new()) };
}

/// Leaves a count to the innermost pool. Without one it would never be given back.
pub(crate) fn autorelease(object: Id) -> Id {
    let left = POOLS.with_borrow_mut(|pools| pools.last_mut().map(|pool| pool.push(object)).is_some());
    if !left {
        control::note_without_pool();
        fault(&format!("{} is autoreleased where there is no pool", name_of(object)));
    }
    object
}

pub(crate) fn retain(object: Id) {
    // SAFETY: S1.
    if let Some(shell) = unsafe { object.as_ref() }
        && shell.count.fetch_add(1, Ordering::SeqCst) <= 0
    {
        fault(&format!("{} is retained after its end", name_of(object)));
    }
}

pub(crate) fn release(object: Id) {
    // SAFETY: S1.
    let Some(shell) = (unsafe { object.as_ref() }) else { return };
    match shell.count.fetch_sub(1, Ordering::SeqCst) {
        1 => {
            // SAFETY: S1.
            control::count(unsafe { (*shell.isa).name }, -1);
            // SAFETY: S1 and S3: the last count is gone.
            drop(unsafe { (*shell.contents.get()).take() });
        }
        2.. => {}
        _ => fault(&format!("{} is released once too often", name_of(object))),
    }
}

/// Classes are objects, too, but nobody counts them.
fn is_counted(object: Id) -> bool {
    // SAFETY: S1.
    unsafe { object.as_ref() }.is_some_and(|object| !ptr::eq(object.isa, &META))
}

/// Gives functions the names that objc2 links to.
macro_rules! exported {
    ($($function:item)*) => {$(
        // SAFETY: S4.
        #[unsafe(no_mangle)]
        $function
    )*};
}

exported! {
    extern "C-unwind" fn sel_registerName(name: *const c_char) -> Selector {
        static NAMES: OnceLock<Mutex<HashMap<CString, usize>>> = OnceLock::new();
        // SAFETY: objc2 hands over names that end in a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_owned();
        let mut names = NAMES.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *names.entry(name.clone()).or_insert_with(|| name.into_raw().expose_provenance()) as Selector
    }

    extern "C-unwind" fn sel_getName(selector: Selector) -> *const c_char {
        selector
    }

    extern "C-unwind" fn sel_isEqual(one: Selector, other: Selector) -> bool {
        one == other
    }

    extern "C-unwind" fn object_getClass(object: Id) -> *const Class {
        // SAFETY: S1.
        unsafe { object.as_ref() }.map_or(ptr::null(), |object| object.isa)
    }

    extern "C-unwind" fn class_getName(class: &Class) -> *const c_char {
        class.name.as_ptr()
    }

    extern "C-unwind" fn class_isMetaClass(class: &Class) -> bool {
        class.is_meta()
    }

    extern "C-unwind" fn class_getInstanceMethod(class: &Class, selector: Selector) -> *const Method {
        class.find(selector).map_or(ptr::null(), ptr::from_ref)
    }

    extern "C-unwind" fn method_getName(method: &Method) -> Selector {
        sel_registerName(method.selector.as_ptr())
    }

    extern "C-unwind" fn method_getTypeEncoding(method: &Method) -> *const c_char {
        method.types.as_ptr()
    }

    extern "C-unwind" fn objc_getClass(name: *const c_char) -> *const Class {
        // SAFETY: objc2 hands over names that end in a zero.
        class_by_name(unsafe { CStr::from_ptr(name) }).map_or(ptr::null(), ptr::from_ref)
    }

    extern "C-unwind" fn objc_msg_lookup(object: Id, selector: Selector) -> *const () {
        // SAFETY: S1: selectors are names that stay.
        let name = unsafe { CStr::from_ptr(selector) }.to_string_lossy();
        if is_counted(object) && !is_alive(object) {
            fault(&format!("message {name:?} to a {} that is gone", name_of(object)));
        }
        // SAFETY: S1.
        match unsafe { (*(*object).isa).find(selector) } {
            Some(method) => method.function,
            None => fault(&format!("unrecognized selector: {} knows no {name:?}", name_of(object))),
        }
    }

    extern "C-unwind" fn objc_retain(object: Id) -> Id {
        if is_counted(object) {
            retain(object);
        }
        object
    }

    extern "C-unwind" fn objc_release(object: Id) {
        if is_counted(object) {
            release(object);
        }
    }

    extern "C-unwind" fn objc_retainAutoreleasedReturnValue(object: Id) -> Id {
        objc_retain(object)
    }

    extern "C-unwind" fn objc_autoreleasePoolPush() -> *mut c_void {
        POOLS.with_borrow_mut(|pools| {
            pools.push(Vec::new());
            ptr::without_provenance_mut(pools.len())
        })
    }

    extern "C-unwind" fn objc_autoreleasePoolPop(pool: *mut c_void) {
        // What is released may leave something to an outer pool, so none is borrowed meanwhile.
        while let Some(left) =
            POOLS.with_borrow_mut(|pools| if pools.len() >= pool.addr() { pools.pop() } else { None })
        {
            left.into_iter().for_each(release);
        }
    }
}
