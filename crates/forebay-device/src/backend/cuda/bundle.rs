//! Packed images: those of one source for several architectures, each compressed by itself, behind a table.
//!
//! `cargo xtask kernels` writes them. All numbers are little-endian `u32`:
//!
//! ```text
//! "FBKB"  version 1  hash of source and flags, 32 bytes  count
//! count times: format (1 PTX, 2 cubin)  architecture  offset  packed bytes  bytes
//! the images, compressed by DEFLATE
//! ```
//!
//! An image is unpacked when a card wants just it. Next room: `module`.

use std::sync::Arc;

use crate::kernel::{Bundle, Code, Image, ImageFormat};

const MAGIC: &[u8] = b"FBKB";
const VERSION: u32 = 1;
/// Bytes before the count.
const HASHED: usize = 4 + 4 + 32;
/// Bytes of one line of the table.
const LINE: usize = 20;
/// No image is larger when unpacked.
const LARGEST: u32 = 64 << 20;

/// The images of a bundle, still packed.
pub(crate) fn images(bundle: &Bundle) -> Result<Vec<Image>, String> {
    let bytes = bundle.bytes;
    let damaged = |what: &str| format!("its packed images are damaged: {what}; run `cargo xtask kernels`");
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    if !bytes.starts_with(MAGIC) || number(4) != Some(VERSION) {
        return Err(damaged("they do not begin as such"));
    }
    let count = number(HASHED).ok_or_else(|| damaged("they end before the table"))?;
    let mut images = Vec::new();
    for line in 0..count as usize {
        let fields = [0, 4, 8, 12, 16].map(|field| number(HASHED + 4 + line * LINE + field));
        let [Some(format), Some(architecture), Some(offset), Some(packed), Some(len)] = fields else {
            return Err(damaged("they end inside the table"));
        };
        let format = match format {
            1 => ImageFormat::Ptx,
            2 => ImageFormat::Cubin,
            _ => return Err(damaged("the table names an unknown format")),
        };
        let end = (offset as usize).saturating_add(packed as usize);
        let code = bytes.get(offset as usize..end).filter(|_| len <= LARGEST);
        let code = code.ok_or_else(|| damaged("the table points past their end"))?;
        let code = Code::Packed(code, len as usize);
        images.push(Image { format, architecture, entry: bundle.entry.to_owned(), code });
    }
    Ok(images)
}

/// The bytes of an image as they were before packing.
pub(crate) fn unpack(image: &Image) -> Result<Vec<u8>, String> {
    match &image.code {
        Code::Plain(bytes) => Ok(bytes.to_vec()),
        Code::Packed(packed, len) => {
            let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(packed, *len)
                .map_err(|error| format!("it does not unpack: {error}"))?;
            let whole = unpacked.len() == *len;
            whole.then_some(unpacked).ok_or_else(|| "it unpacks to less than it was".to_owned())
        }
    }
}

/// Whether two images are the same code in the same place, whatever function is meant.
pub(crate) fn is_same(a: &Image, b: &Image) -> bool {
    match (&a.code, &b.code) {
        (Code::Plain(a), Code::Plain(b)) => Arc::ptr_eq(a, b),
        (Code::Packed(a, _), Code::Packed(b, _)) => std::ptr::eq(*a, *b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bundle of one cubin for sm_90.
    fn packed(code: &[u8]) -> Vec<u8> {
        let body = miniz_oxide::deflate::compress_to_vec(code, 10);
        let mut bytes = [MAGIC, &VERSION.to_le_bytes(), &[7; 32], &1u32.to_le_bytes()].concat();
        let offset = (bytes.len() + LINE) as u32;
        for field in [2, 90, offset, body.len() as u32, code.len() as u32] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(body);
        bytes
    }

    fn open(bytes: Vec<u8>) -> Result<Vec<Image>, String> {
        images(&Bundle { bytes: bytes.leak(), entry: "k" })
    }

    #[test]
    fn what_was_packed_is_unpacked_to_the_byte() {
        let code: Vec<u8> = (0..5000u32).map(|i| (i * i % 251) as u8).collect();
        let images = open(packed(&code)).unwrap();
        assert_eq!((images.len(), images[0].architecture, &*images[0].entry), (1, 90, "k"));
        assert_eq!(unpack(&images[0]).unwrap(), code);
        assert!(is_same(&images[0], &images[0].clone()));
    }

    #[test]
    fn damage_anywhere_is_an_error_and_never_a_panic() {
        let whole = packed(&[5; 300]);
        for end in 0..whole.len() {
            let outcome = open(whole[..end].to_vec()).and_then(|images| unpack(&images[0]));
            assert!(outcome.is_err(), "cut at {end}");
        }
        for at in (0..whole.len()).filter(|at| !(8..HASHED).contains(at)) {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            // Another architecture is no damage; everything else is found, or unpacks to something.
            let _ = open(bent).map(|images| images.iter().map(unpack).collect::<Vec<_>>());
        }
    }
}
