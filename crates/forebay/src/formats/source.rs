//! Where the bytes of the files of a model come from: their pages, reads, or memory that holds them already.
//!
//! It knows ranges of bytes and no tensor. Next room: `stored`, which says which ranges belong to one.

use std::{borrow::Cow, fs::File, ops::Range, os::unix::fs::FileExt, path::Path, sync::Arc, sync::OnceLock};

use forebay_device::{Buffer, Device, MappedFile};

use super::weights::Access;
use crate::error::{Error, Result};

/// The bytes of one file.
#[derive(Debug)]
pub(super) enum Source {
    /// Pages of the file.
    Mapped(MappedFile),
    /// The file, read where it is asked for.
    File { file: File, path: Arc<Path> },
    /// All of it, in memory.
    Held(Cow<'static, [u8]>),
}

impl Source {
    /// Opens a file and lets `parse` see all of it.
    pub(super) fn open<T>(
        path: &Path,
        access: Access,
        parse: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<(T, Self)> {
        let mapped = MappedFile::open(path)?;
        let parsed = parse(mapped.bytes())?;
        let source = match access {
            Access::Mapped => Self::Mapped(mapped),
            Access::Read => {
                let failed =
                    |source| Error::Io { file: path.into(), action: "open", source: Arc::new(source) };
                Self::File { file: File::open(path).map_err(failed)?, path: path.into() }
            }
        };
        Ok((parsed, source))
    }

    /// Bytes for the host.
    pub(super) fn bytes(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Mapped(file) => Ok(Cow::Borrowed(&file.bytes()[range.start as usize..range.end as usize])),
            Self::Held(bytes) => Ok(Cow::Borrowed(&bytes[range.start as usize..range.end as usize])),
            Self::File { .. } => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                self.read(&mut bytes, range.start)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Fills bytes with those from an offset on.
    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        match self {
            Self::Mapped(file) => {
                bytes.copy_from_slice(&file.bytes()[at as usize..at as usize + bytes.len()]);
                Ok(())
            }
            Self::Held(held) => {
                bytes.copy_from_slice(&held[at as usize..at as usize + bytes.len()]);
                Ok(())
            }
            Self::File { file, path } => {
                let failed =
                    |source| Error::Io { file: path.clone(), action: "read", source: Arc::new(source) };
                file.read_exact_at(bytes, at).map_err(failed)
            }
        }
    }

    /// The pages themselves as memory of a device; none where there are none. `whole` keeps those of all of the file, for each
    /// device once.
    pub(super) fn pages(
        &self,
        device: &Device,
        whole: &OnceLock<Buffer>,
        range: Range<u64>,
    ) -> Result<Option<Buffer>> {
        let Self::Mapped(file) = self else { return Ok(None) };
        let whole = match whole.get() {
            Some(whole) => whole,
            None => {
                let adopted = device.adopt_file(file)?;
                whole.get_or_init(|| adopted)
            }
        };
        Ok(Some(whole.slice(range)?))
    }

    /// Lets the pages behind some bytes go.
    pub(super) fn forget(&self, range: Range<u64>) {
        if let Self::Mapped(file) = self {
            file.forget(range.start as usize..range.end as usize);
        }
    }
}
