#![allow(unsafe_code, reason = "methods are called by objc2")]
//! The objects of Foundation that host code for Metal meets: strings and errors.

use std::ffi::{CString, c_char};

use crate::{
    fault::fault,
    runtime::{Class, Id, Method, Selector, autorelease, contents, fill, make, responds},
};

pub(crate) static CLASSES: &[&Class] = &[&OBJECT, &STRING, &ERROR];

// SAFETY: S4.
#[unsafe(export_name = "._OBJC_CLASS_NSObject")]
pub(crate) static OBJECT: Class = Class::new(
    c"NSObject",
    None,
    &[
        Method::new(c"init", c"@@:", init as *const ()),
        Method::new(c"respondsToSelector:", c"C@::", responds_to as *const ()),
        Method::new(c"setLabel:", c"v@:@", set_label as *const ()),
    ],
);

// SAFETY: S4.
#[unsafe(export_name = "._OBJC_CLASS_NSString")]
static STRING: Class = Class::new(
    c"NSString",
    Some(&OBJECT),
    &[
        Method::new(c"initWithBytes:length:encoding:", c"@@:^vQi", string_init as *const ()),
        Method::new(c"UTF8String", c"*@:", string_bytes as *const ()),
        Method::new(c"lengthOfBytesUsingEncoding:", c"Q@:i", string_len as *const ()),
    ],
);

// SAFETY: S4.
#[unsafe(export_name = "._OBJC_CLASS_NSError")]
static ERROR: Class = Class::new(
    c"NSError",
    Some(&OBJECT),
    &[
        Method::new(c"code", c"q@:", error_code as *const ()),
        Method::new(c"localizedDescription", c"@@:", error_words as *const ()),
    ],
);

struct Failure {
    code: isize,
    words: String,
}

/// An autoreleased error.
pub(crate) fn error(code: isize, words: &str) -> Id {
    autorelease(make(&ERROR, Failure { code, words: words.to_owned() }))
}

/// An autoreleased string.
pub(crate) fn string(text: &str) -> Id {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    autorelease(make(&STRING, text))
}

/// The text of a string.
pub(crate) fn text(string: Id) -> String {
    contents::<CString>(string).to_string_lossy().into_owned()
}

extern "C-unwind" fn init(object: Id, _: Selector) -> Id {
    object
}

extern "C-unwind" fn responds_to(object: Id, _: Selector, selector: Selector) -> bool {
    responds(object, selector)
}

/// Labels are for people; that one is a string is checked.
extern "C-unwind" fn set_label(_: Id, _: Selector, label: Id) {
    if !label.is_null() {
        text(label);
    }
}

extern "C-unwind" fn string_init(object: Id, _: Selector, bytes: *const u8, len: usize, _: i32) -> Id {
    // SAFETY: the caller hands over so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
    match CString::new(bytes) {
        Ok(text) => fill(object, text),
        Err(_) => fault("a string with a zero in it"),
    }
    object
}

extern "C-unwind" fn string_bytes(object: Id, _: Selector) -> *const c_char {
    contents::<CString>(object).as_ptr()
}

extern "C-unwind" fn string_len(object: Id, _: Selector, _: i32) -> usize {
    contents::<CString>(object).as_bytes().len()
}

extern "C-unwind" fn error_code(object: Id, _: Selector) -> isize {
    contents::<Failure>(object).code
}

extern "C-unwind" fn error_words(object: Id, _: Selector) -> Id {
    string(&contents::<Failure>(object).words)
}
