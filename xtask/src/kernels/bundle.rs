//! The file that holds the images of one source: a table, and each image compressed by itself.
//!
//! Its layout is drawn where it is read, in `backend/cuda/bundle.rs` of the device layer.

/// One compiled image.
pub(super) struct Image {
    pub(super) format: u32,
    /// Such as 90 for sm_90.
    pub(super) architecture: u32,
    pub(super) bytes: Vec<u8>,
}

/// What stands for PTX and for a cubin.
pub(super) const PTX: u32 = 1;
pub(super) const CUBIN: u32 = 2;

const MAGIC: &[u8; 4] = b"FBKB";
const VERSION: u32 = 1;
/// As small as it gets: packing is rare, and the files stay in the repository for ever.
const EFFORT: u8 = 10;

/// Packs images, with the hash of what they were made of.
pub(super) fn pack(hash: &[u8; 32], images: &[Image]) -> Vec<u8> {
    let packed: Vec<_> =
        images.iter().map(|image| miniz_oxide::deflate::compress_to_vec(&image.bytes, EFFORT)).collect();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(hash);
    bytes.extend((images.len() as u32).to_le_bytes());
    let mut offset = bytes.len() + images.len() * 20;
    for (image, packed) in images.iter().zip(&packed) {
        let sizes = [offset, packed.len(), image.bytes.len()].map(|size| size as u32);
        for field in [image.format, image.architecture].into_iter().chain(sizes) {
            bytes.extend(field.to_le_bytes());
        }
        offset += packed.len();
    }
    packed.into_iter().for_each(|packed| bytes.extend(packed));
    bytes
}

/// The hash in a bundle.
pub(super) fn hash(bundle: &[u8]) -> Option<&[u8; 32]> {
    bundle.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?.first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_points_at_each_image() {
        let images = [(PTX, 80, vec![3; 1000]), (CUBIN, 90, (0..=255).collect())];
        let images = images.map(|(format, architecture, bytes)| Image { format, architecture, bytes });
        let packed = pack(&[9; 32], &images);
        assert_eq!(hash(&packed), Some(&[9; 32]));
        assert_eq!(hash(&packed[1..]), None);
        let number = |at: usize| u32::from_le_bytes(packed[at..at + 4].try_into().unwrap());
        assert_eq!(number(40), 2);
        for (line, image) in images.iter().enumerate() {
            let [format, architecture, offset, len, whole] =
                [0, 4, 8, 12, 16].map(|field| number(44 + line * 20 + field));
            assert_eq!((format, architecture), (image.format, image.architecture));
            let body = &packed[offset as usize..(offset + len) as usize];
            assert_eq!(miniz_oxide::inflate::decompress_to_vec(body).unwrap(), image.bytes);
            assert_eq!(whole as usize, image.bytes.len());
        }
    }
}
