//! Values as JSON, spaced and ordered as Python's `json.dumps` does it by default.

use std::fmt::Write;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, ValueKind},
};

/// Values in values at most, so that none can exhaust the stack.
const MOST_DEPTH: usize = 200;

/// How a value is written.
struct Style {
    /// What one level is indented by; on one line without it.
    indent: Option<String>,
    between: String,
    after_key: String,
    sorted: bool,
    ascii: bool,
}

/// The filter `tojson`, with the arguments that it has in Python.
pub(super) fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(value) if value.is_none() || value.is_undefined() => None,
        Some(value) => match value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => Some(" ".repeat(usize::try_from(value).unwrap_or(0).min(64))),
        },
    };
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?.unwrap_or_default();
    let between = separators.first().cloned();
    let style = Style {
        between: between.unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.to_owned()),
        after_key: separators.get(1).cloned().unwrap_or_else(|| ": ".to_owned()),
        sorted: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        indent,
    };
    kwargs.assert_all_used()?;
    let mut json = String::new();
    write_value(value, &style, 0, &mut json)?;
    Ok(Value::from_safe_string(json))
}

fn write_value(value: &Value, style: &Style, depth: usize, json: &mut String) -> Result<(), Error> {
    if depth > MOST_DEPTH {
        return Err(Error::new(ErrorKind::BadSerialization, "values are nested too deep for JSON"));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => json.push_str("null"),
        ValueKind::Bool => json.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(value, json),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_items('[', ']', items.len(), style, depth, json, |i, json| {
                write_value(&items[i], style, depth + 1, json)
            })?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sorted {
                keys.sort();
            }
            write_items('{', '}', keys.len(), style, depth, json, |i, json| {
                write_text(&key_text(&keys[i]), style, json);
                json.push_str(&style.after_key);
                write_value(&value.get_item(&keys[i])?, style, depth + 1, json)
            })?;
        }
        _ => write_text(&value.to_string(), style, json),
    }
    Ok(())
}

/// Writes what lies between brackets.
fn write_items(
    open: char,
    close: char,
    count: usize,
    style: &Style,
    depth: usize,
    json: &mut String,
    mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |depth: usize, json: &mut String| {
        if let Some(indent) = &style.indent {
            json.push('\n');
            json.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    };
    json.push(open);
    for i in 0..count {
        if i > 0 {
            json.push_str(&style.between);
        }
        line(depth + 1, json);
        item(i, json)?;
    }
    if count > 0 {
        line(depth, json);
    }
    json.push(close);
    Ok(())
}

/// Keys are texts; other values that can be keys are written as JSON has them.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => key.is_true().to_string(),
        _ => key.to_string(),
    }
}

fn write_number(value: &Value, json: &mut String) {
    match f64::try_from(value.clone()) {
        Ok(n) if !value.is_integer() && n.is_nan() => json.push_str("NaN"),
        Ok(n) if !value.is_integer() && n.is_infinite() => {
            json.push_str(if n < 0.0 { "-Infinity" } else { "Infinity" });
        }
        _ => json.push_str(&value.to_string()),
    }
}

fn write_text(text: &str, style: &Style, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            c if c < ' ' || c == '\u{7f}' && style.ascii || !c.is_ascii() && style.ascii => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
            c => json.push(c),
        }
    }
    json.push('"');
}
