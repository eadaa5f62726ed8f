//! MSL text as data: its kernels and their parameters, and the C++ that does the same on the CPU.
//!
//! Kernels are found by reading, not by parsing all of C++: `kernel void name(parameters)`, each parameter with one
//! attribute. What looks otherwise is refused with its line.

use std::fmt::Write as _;

/// A kernel's name and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) params: Vec<Param>,
    /// No thread of it waits for another, so that each can be run to its end.
    pub(crate) alone: bool,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    /// As written, without the name: `device const float *`.
    pub(crate) kind: String,
    pub(crate) role: Role,
}

impl Param {
    /// What the address of a buffer has to be a multiple of; 1 where the type is not one of the language's own.
    pub(crate) fn alignment(&self) -> usize {
        let is_type =
            |word: &&str| !matches!(*word, "device" | "constant" | "threadgroup" | "const" | "volatile");
        let Some(name) = words(&self.kind).map(|(_, word)| word).find(is_type) else { return 1 };
        let packed = name.strip_prefix("packed_");
        let scalar = packed.unwrap_or(name).trim_end_matches(['2', '3', '4']);
        let bytes = match scalar {
            "short" | "ushort" | "half" | "bfloat" => 2,
            "int" | "uint" | "float" | "atomic_uint" => 4,
            "long" | "ulong" => 8,
            "char" | "uchar" | "bool" => 1,
            _ => return 1,
        };
        match name.as_bytes().last() {
            Some(b'2') if packed.is_none() => 2 * bytes,
            Some(b'3' | b'4') if packed.is_none() => 4 * bytes,
            _ => bytes,
        }
    }
}

/// What a parameter is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Buffer(usize),
    Shared(usize),
    /// A field of the thread's place.
    Place(&'static str),
}

/// What a thread can ask about its place, and the field that has it.
const PLACES: &[(&str, &str)] = &[
    ("thread_position_in_grid", "in_grid"),
    ("thread_position_in_threadgroup", "in_group"),
    ("threadgroup_position_in_grid", "group"),
    ("threads_per_threadgroup", "threads"),
    ("threadgroups_per_grid", "groups"),
    ("threads_per_grid", "all"),
    ("thread_index_in_threadgroup", "index"),
    ("thread_index_in_simdgroup", "lane"),
    ("simdgroup_index_in_threadgroup", "simdgroup"),
    ("simdgroups_per_threadgroup", "simdgroups"),
    ("threads_per_simdgroup", "lanes"),
];

/// Words of what Metal does not have, or not as our kernels may use it.
const BANNED: &[&str] = &["double", "new", "delete", "try", "catch", "throw", "virtual", "goto", "host_name"];

/// The kernels of a text.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let plain = without_comments(text);
    if let Some((line, word)) =
        words(&plain).find(|(_, word)| BANNED.contains(word)).map(|(at, word)| (line_of(&plain, at), word))
    {
        return Err(format!("line {line}: {word:?} is no part of the MSL that our kernels keep to"));
    }
    let mut entries = Vec::new();
    let mut outside = plain.clone();
    for (at, _) in words(&plain).filter(|(_, word)| *word == "kernel") {
        let fail = |what: &str| Err(format!("line {}: {what}", line_of(&plain, at)));
        let rest = &plain[at..];
        let Some(open) = rest.find('(') else { return fail("a kernel without parameters") };
        let head: Vec<_> = rest[..open].split_whitespace().collect();
        let ["kernel", "void", name] = head[..] else { return fail("a kernel is `kernel void NAME(...)`") };
        let Some(close) = closing(rest, open) else { return fail("its parameters do not end") };
        let mut params = Vec::new();
        for text in split(&rest[open + 1..close]) {
            params.push(param(text).map_err(|what| format!("line {}: {name}: {what}", line_of(&plain, at)))?);
        }
        let Some(body) = rest[close..].find('{').map(|step| close + step) else {
            return fail("it has no body");
        };
        let Some(end) = closing(rest, body) else { return fail("its body does not end") };
        let alone = !meets(&rest[body..end]);
        outside.replace_range(at + body..at + end, &" ".repeat(end - body));
        entries.push(Entry { name: name.to_owned(), params, alone });
    }
    if meets(&outside) {
        // A function that any of them may call.
        entries.iter_mut().for_each(|entry| entry.alone = false);
    }
    Ok(entries)
}

fn meets(code: &str) -> bool {
    words(code).any(|(_, word)| word.contains("barrier") || word.starts_with("simd"))
}

fn param(text: &str) -> Result<Param, String> {
    let (Some(start), Some(end)) = (text.find("[["), text.rfind("]]")) else {
        return Err(format!("parameter {:?} has no attribute", text.trim()));
    };
    let declared = text[..start].trim();
    let name = words(declared).last().map_or("", |(_, word)| word);
    let kind = declared.strip_suffix(name).unwrap_or(declared).trim().to_owned();
    let attribute = text[start + 2..end].trim();
    let (what, index) = match attribute.split_once('(') {
        Some((what, index)) => (what, index.trim_end_matches(')').trim().parse().ok()),
        None => (attribute, None),
    };
    let role = match (what, index) {
        ("buffer", Some(index)) => Role::Buffer(index),
        ("threadgroup", Some(index)) => Role::Shared(index),
        _ => match PLACES.iter().find(|(place, _)| *place == what) {
            Some((_, field)) => Role::Place(field),
            None => return Err(format!("attribute {attribute:?} is not known")),
        },
    };
    Ok(Param { kind, role })
}

/// The text as C++, with one function for each kernel that takes everything by pointer.
pub(crate) fn to_cpp(text: &str, entries: &[Entry]) -> String {
    let mut cpp = format!("#line 1 \"kernel.metal\"\n{}\n#line 1 \"entries\"\n{PRELUDE}", rewritten(text));
    for Entry { name, params, .. } in entries {
        let values: Vec<_> = params.iter().map(value).collect();
        let values = values.join(", ");
        let _ = writeln!(
            cpp,
            "extern \"C\" void msl_entry_{name}(const MslPlace *p, void *const *b, void *const *s) {{ {name}({values}); }}"
        );
    }
    cpp
}

/// The text as C++ for OpenCL: all but what that language has no word for.
pub(crate) fn to_opencl(text: &str) -> String {
    format!("#line 1 \"kernel.metal\"\n{}\n", rewritten(text))
}

const PRELUDE: &str = "
struct Msl3 { uint x, y, z; };
struct MslPlace { Msl3 in_grid, in_group, group, threads, groups, all; uint index, lane, simdgroup, simdgroups, lanes; };
template <class T> struct MslAs {
    static T of(Msl3 v) { return T(v.x); }
    static T of(uint v) { return T(v); }
};
template <> struct MslAs<uint2> { static uint2 of(Msl3 v) { return uint2(v.x, v.y); } };
template <> struct MslAs<uint3> { static uint3 of(Msl3 v) { return uint3(v.x, v.y, v.z); } };
extern \"C\" void msl_connect(const MslHooks *hooks) { msl_hooks = *hooks; }
";

fn value(param: &Param) -> String {
    let kind = &param.kind;
    match &param.role {
        Role::Buffer(index) if kind.ends_with('*') => format!("({kind})b[{index}]"),
        Role::Buffer(index) => format!("*({}*)b[{index}]", kind.trim_end_matches('&')),
        Role::Shared(index) => format!("({kind})s[{index}]"),
        Role::Place(field) => format!("MslAs<{kind}>::of(p->{field})"),
    }
}

/// The text with declarations of shared variables as a macro, and without the attributes that macros would break.
fn rewritten(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or(line).trim();
        let shared = code.strip_prefix("threadgroup ").and_then(|rest| rest.strip_suffix(';'));
        match shared.filter(|rest| !rest.contains(['*', '(', '&'])).and_then(shared_variable) {
            Some((kind, name, dims)) => {
                let _ = writeln!(out, "MSL_SHARED({kind}, {name}, {dims});");
            }
            None => out.push_str(line),
        }
    }
    for index in 0..4 {
        out = out.replace(&format!("[[threadgroup({index})]]"), "");
    }
    out
}

/// The type, name and dimensions of `uint parts[32]`.
fn shared_variable(declared: &str) -> Option<(&str, &str, &str)> {
    let (front, dims) = match declared.find('[') {
        Some(at) => declared.split_at(at),
        None => (declared, ""),
    };
    let (kind, name) = front.trim().rsplit_once(char::is_whitespace)?;
    Some((kind.trim(), name, dims.trim()))
}

/// The text with blanks for its comments, line for line.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        let long = rest[at..].starts_with("/*");
        let end = match long {
            true => rest[at + 2..].find("*/").map(|end| at + 2 + end + 2),
            false => rest[at..].find('\n').map(|end| at + end),
        };
        let end = end.unwrap_or(rest.len());
        out.push_str(&rest[..at]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The words of code, with where they start.
fn words(code: &str) -> impl DoubleEndedIterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c| !is_word(c)).filter(|word| !word.is_empty()).map(|word| {
        let at = word.as_ptr() as usize - code.as_ptr() as usize;
        (at, word)
    })
}

/// Where the bracket that opens at a place is closed.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Parameters between commas that stand in no brackets of their own.
fn split(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' | b'<' | b'[' => depth += 1,
            b')' | b'>' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_read_with_their_parameters() {
        let text = "// kernel void no(\nstatic uint f(uint x) { return x; }\n\
            kernel void a(device const float *x [[buffer(2)]], constant uint &n [[ buffer(0) ]],\n  \
            threadgroup uint *s [[threadgroup(1)]], uint3 at [[thread_position_in_grid]]) { }\n\
            kernel void b() { threadgroup_barrier(mem_flags::mem_none); }\n";
        let entries = entries(text).unwrap();
        assert_eq!(entries.len(), 2);
        let kinds: Vec<_> = entries[0].params.iter().map(|p| (p.kind.as_str(), p.role.clone())).collect();
        assert_eq!(
            kinds,
            [
                ("device const float *", Role::Buffer(2)),
                ("constant uint &", Role::Buffer(0)),
                ("threadgroup uint *", Role::Shared(1)),
                ("uint3", Role::Place("in_grid")),
            ]
        );
        assert_eq!(entries.iter().map(|entry| entry.alone).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn buffers_are_aligned_to_their_elements() {
        for (kind, wanted) in [
            ("device const uint4 *", 16),
            ("device float3 *", 16),
            ("device packed_float4 *", 4),
            ("device uchar *", 1),
            ("device half2 *", 4),
            ("constant ulong &", 8),
            ("device const atomic_uint *", 4),
            ("device const Block *", 1),
        ] {
            let param = Param { kind: kind.to_owned(), role: Role::Buffer(0) };
            assert_eq!(param.alignment(), wanted, "{kind}");
        }
    }

    #[test]
    fn a_function_that_meets_others_makes_every_kernel_meet_them() {
        let text = "static uint f(uint x) { return simd_sum(x); }\nkernel void a() {}\n";
        assert!(!entries(text).unwrap()[0].alone);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, wanted) in [
            ("\nkernel int a() {}", "line 2"),
            ("kernel void a(uint i) {}", "no attribute"),
            ("kernel void a(uint i [[sample_id]]) {}", "sample_id"),
            ("\n\nstatic double x;", "line 3"),
            ("kernel void a(", "line 1"),
        ] {
            let error = entries(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn shared_variables_are_rewritten_and_nothing_else() {
        let text =
            "    threadgroup uint parts[32];\n    threadgroup float x;\n  threadgroup uint *p = parts;\n";
        let wanted =
            "MSL_SHARED(uint, parts, [32]);\nMSL_SHARED(float, x, );\n  threadgroup uint *p = parts;\n";
        assert_eq!(rewritten(text), wanted);
    }
}
