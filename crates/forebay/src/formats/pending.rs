//! A file that appears whole or not at all: it is written beside its place and moved there at the end.
//!
//! What is at the place already and is no regular file, such as a pipe or a device, is never replaced, but written to as it is.
//! Next rooms: `write` and `gguf::writer`, which say what is in the files.

use std::{
    fs::{self, File},
    io::{BufWriter, Error as IoError, IntoInnerError, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{Error, Result};

/// Bytes that are written at a time.
const PIECE: usize = 1 << 20;

/// A file that is not whole yet.
#[derive(Debug)]
pub(super) struct Pending {
    path: Arc<Path>,
    /// Where it is until it is whole; none where it is at its place from the beginning.
    beside: Option<PathBuf>,
    /// None once it is finished.
    out: Option<BufWriter<File>>,
}

impl Pending {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Io`], as everywhere here.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let beside = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let beside = (!beside).then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".part");
            PathBuf::from(name)
        });
        let file = File::create(beside.as_deref().unwrap_or(path)).map_err(|source| failed(path, source))?;
        Ok(Self { path: path.into(), beside, out: Some(BufWriter::with_capacity(PIECE, file)) })
    }

    /// The next bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.write_all(bytes).map_err(|source| failed(&self.path, source))
    }

    /// Ends the file and puts it at its place.
    pub(super) fn finish(mut self) -> Result<()> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let done = out.into_inner().map_err(IntoInnerError::into_error).and_then(|file| match &self.beside {
            // Only files can be brought to a disk.
            None => Ok(()),
            Some(beside) => file.sync_all().and_then(|()| fs::rename(beside, &self.path)),
        });
        done.map_err(|source| {
            self.remove();
            failed(&self.path, source)
        })
    }

    /// What matters is the error that led here, or none.
    fn remove(&self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // What is still held would otherwise be written to a file that goes.
            drop(out.into_parts().0);
            self.remove();
        }
    }
}

fn failed(path: &Path, source: IoError) -> Error {
    Error::Io { file: path.into(), action: "write", source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_file_leaves_what_was_there() {
        let dir = std::env::temp_dir().join(format!("forebay-pending-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("out");
        fs::write(&path, "before").unwrap();
        let mut half = Pending::create(&path).unwrap();
        half.put(b"after").unwrap();
        drop(half);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        let mut whole = Pending::create(&path).unwrap();
        whole.put(b"af").unwrap();
        whole.put(b"ter").unwrap();
        whole.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_device_stays_one_and_may_be_full() {
        use std::os::unix::fs::FileTypeExt;

        let write = |path: &str| {
            let mut file = Pending::create(Path::new(path))?;
            file.put(b"bytes")?;
            file.finish()
        };
        write("/dev/null").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        if cfg!(target_os = "linux") {
            let error = write("/dev/full").unwrap_err().to_string();
            assert!(error.contains("cannot write /dev/full"), "{error}");
        }
        let folder = std::env::temp_dir();
        assert!(Pending::create(&folder).is_err() && folder.is_dir());
    }
}
