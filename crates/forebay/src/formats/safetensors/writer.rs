//! Writes safetensors files a piece at a time, several tensors side by side: the parts of a packed weight come together.
//!
//! The list of tensors is given before the first byte of them. A file is whole when it is finished; who writes it lets it
//! appear. Next room: `quantize::mlx`, which does.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// A tensor that a file will hold.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// As such files call it.
    pub(crate) kind: &'static str,
    /// Slowest dimension first.
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: u64,
}

/// A safetensors file that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    path: Arc<Path>,
    file: File,
    /// Where the next bytes of each tensor go, and where they end.
    places: Vec<[u64; 2]>,
}

impl Writer {
    /// Begins a file with these tensors, and a text for each key beside them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn create(path: &Path, entries: &[Entry], texts: &[(&str, &str)]) -> Result<Self> {
        let (mut header, mut at) = (Map::new(), 0);
        let texts: Map<String, Value> =
            texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
        header.insert("__metadata__".to_owned(), texts.into());
        let mut places = Vec::with_capacity(entries.len());
        for Entry { name, kind, shape, bytes } in entries {
            let tensor = json!({ "dtype": kind, "shape": shape, "data_offsets": [at, at + bytes] });
            header.insert(name.clone(), tensor);
            places.push([at, at + bytes]);
            at += bytes;
        }
        let mut header = Value::Object(header).to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let begin = 8 + header.len() as u64;
        places.iter_mut().flatten().for_each(|place| *place += begin);
        let path: Arc<Path> = path.into();
        let begun = File::create(&path).and_then(|file| {
            file.write_all_at(&(header.len() as u64).to_le_bytes(), 0)?;
            file.write_all_at(header.as_bytes(), 8)?;
            Ok(file)
        });
        let file = begun.map_err(|source| failed(&path, source))?;
        Ok(Self { path, file, places })
    }

    /// The next bytes of the tensor of this number.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Option`] if they reach past its end.
    pub(crate) fn bytes(&mut self, tensor: usize, bytes: &[u8]) -> Result<()> {
        let Some([at, _]) = self.places.get_mut(tensor).filter(|[at, end]| bytes.len() as u64 <= end - at)
        else {
            return Err(Error::Option { name: "bytes", wanted: format!("no more than tensor {tensor} has") });
        };
        self.file.write_all_at(bytes, *at).map_err(|source| failed(&self.path, source))?;
        *at += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::Option`] if bytes are missing, [`Error::Io`].
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(tensor) = self.places.iter().position(|[at, end]| at != end) {
            return Err(Error::Option {
                name: "bytes",
                wanted: format!("all of them; tensor {tensor} is not whole"),
            });
        }
        self.file.sync_all().map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Arc<Path>, source: std::io::Error) -> Error {
    Error::Io { file: path.clone(), action: "write", source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::safetensors::Safetensors;

    #[test]
    fn tensors_may_be_written_side_by_side() {
        let path = std::env::temp_dir().join(format!("forebay-writer-{}.safetensors", std::process::id()));
        let entry = |name: &str, bytes| Entry {
            name: name.to_owned(),
            kind: "U8",
            shape: vec![bytes as usize],
            bytes,
        };
        let entries = [entry("b", 5), entry("a", 2)];
        let mut writer = Writer::create(&path, &entries, &[("format", "mlx")]).unwrap();
        for (tensor, bytes) in [(0, &[1u8, 2][..]), (1, &[6]), (0, &[3, 4, 5]), (1, &[7])] {
            writer.bytes(tensor, bytes).unwrap();
        }
        assert!(writer.bytes(1, &[8]).is_err() && writer.bytes(2, &[8]).is_err());
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = Safetensors::parse(&path, &bytes).unwrap();
        let of = |name: &str| {
            let range = file.tensor(name).unwrap().range();
            bytes[range.start as usize..range.end as usize].to_vec()
        };
        assert_eq!((of("b"), of("a")), (vec![1, 2, 3, 4, 5], vec![6, 7]));
        let half = Writer::create(&path, &entries, &[]).unwrap();
        assert!(half.finish().unwrap_err().to_string().contains("tensor 0 is not whole"));
        std::fs::remove_file(path).unwrap();
    }
}
