//! Columns of numbers, packed for a page: a line of JSON that names them, the columns behind it, all compressed, as
//! text.
//!
//! Every column starts at a multiple of 8 bytes, so that the browser reads them where they lie.

use std::fmt::Write as _;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Effort of the compressor: columns shrink well already at little of it.
const LEVEL: u8 = 6;

/// Columns by name.
#[derive(Debug, Default)]
pub(super) struct Columns {
    bytes: Vec<u8>,
    /// Name, type, where it starts, how many numbers it has: as JSON.
    names: String,
}

impl Columns {
    pub(super) fn u32(&mut self, name: &str, numbers: impl Iterator<Item = u32>) {
        self.column(name, "Uint32Array", numbers.map(u32::to_le_bytes));
    }

    pub(super) fn u8(&mut self, name: &str, numbers: impl Iterator<Item = u8>) {
        self.column(name, "Uint8Array", numbers.map(u8::to_le_bytes));
    }

    pub(super) fn f64(&mut self, name: &str, numbers: impl Iterator<Item = f64>) {
        self.column(name, "Float64Array", numbers.map(f64::to_le_bytes));
    }

    fn column<const N: usize>(&mut self, name: &str, kind: &str, numbers: impl Iterator<Item = [u8; N]>) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let start = self.bytes.len();
        numbers.for_each(|number| self.bytes.extend(number));
        let count = (self.bytes.len() - start) / N;
        let comma = if self.names.is_empty() { "" } else { "," };
        let _ = write!(self.names, r#"{comma}["{name}","{kind}",{start},{count}]"#);
    }
}

/// Everything as the page has it.
pub(super) fn packed(meta: &str, columns: Columns) -> String {
    let mut head = format!(r#"{{"meta":{meta},"columns":[{}]}}"#, columns.names).into_bytes();
    let room = (head.len() + 8).next_multiple_of(8) - 8;
    head.resize(room, b' ');
    let mut whole = (head.len() as u64).to_le_bytes().to_vec();
    whole.append(&mut head);
    whole.extend(columns.bytes);
    base64(&miniz_oxide::deflate::compress_to_vec_zlib(&whole, LEVEL))
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i > chunk.len() { '=' } else { letter as char });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_its_standard() {
        let wanted = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, text) in wanted.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..len]), *text);
        }
        assert_eq!(base64(&[0xFF, 0xEF, 0xBE]), "/+++");
    }

    #[test]
    fn columns_start_at_words() {
        let mut columns = Columns::default();
        columns.u8("a", [1, 2, 3].into_iter());
        columns.u32("b", [7].into_iter());
        columns.f64("c", [0.5].into_iter());
        let names = r#"["a","Uint8Array",0,3],["b","Uint32Array",8,1],["c","Float64Array",16,1]"#;
        assert_eq!(columns.names, names);
        assert_eq!(columns.bytes.len(), 24);
    }
}
