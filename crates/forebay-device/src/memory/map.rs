#![allow(unsafe_code, reason = "files are mapped by system calls")]
//! Files mapped for reading. `device::adopt` makes buffers of them.
//!
//! Rules for the unsafe code:
//! - M1 A mapping covers whole bytes of a file that were there when it was made, and the program has promised that nobody
//!   changes the file while it is mapped, as `MappedFile` says. A file that another process cuts short
//!   while it is mapped ends this process when the bytes are touched; sizes are checked before, and reading the file
//!   instead of mapping it avoids it.
//! - M2 The mapping goes with the last clone of its `MappedFile`; a buffer made of it holds one.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    ptr::NonNull,
    slice,
    sync::Arc,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::{Error, Result};

/// A file mapped for reading.
///
/// Nobody may change the file while it is mapped: what is read then is anything, and a file cut short ends the process when
/// its missing bytes are touched. Model files are written once; where that is not sure, read the file into a vector and use
/// [`Device::adopt`](crate::Device::adopt).
///
/// ```
/// use forebay_device::{Device, DeviceOptions, MappedFile};
///
/// # let dir = std::env::temp_dir().join(format!("forebay-doc-map-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("weights");
/// std::fs::write(&path, [1u8, 2, 3, 4]).unwrap();
/// let file = MappedFile::open(&path)?;
/// assert_eq!(file.bytes(), [1, 2, 3, 4]);
///
/// let device = Device::open(&DeviceOptions::cpu())?;
/// let weights = device.adopt_file(&file)?;
/// assert!(weights.write::<u8>().is_err(), "a mapped file is read-only");
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), forebay_device::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MappedFile {
    mapping: Arc<Mapping>,
}

struct Mapping {
    path: PathBuf,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is bytes that nobody writes, at an address that stays.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Drops pages now. The advice that POSIX has by nearly the same name does nothing on Linux.
#[cfg(target_os = "linux")]
const GONE: rustix::mm::Advice = rustix::mm::Advice::LinuxDontNeed;
#[cfg(not(target_os = "linux"))]
const GONE: rustix::mm::Advice = rustix::mm::Advice::DontNeed;

/// Bytes of the largest pages in which systems keep files.
const LARGE_PAGE: usize = 2 << 20;

impl MappedFile {
    /// Maps all of a file. The pages are read when they are first touched.
    ///
    /// # Errors
    /// `Io` if the file cannot be opened or mapped.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |action: &'static str| {
            move |source: std::io::Error| Error::Io {
                path: path.to_owned(),
                action,
                source: Arc::new(source),
            }
        };
        let file = File::open(path).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("look at"))?;
        if !metadata.is_file() {
            return Err(io("map")(std::io::Error::other("it is not a regular file")));
        }
        let len = usize::try_from(metadata.len())
            .map_err(|_| Error::TooLarge { asked: metadata.len(), most: usize::MAX as u64 })?;
        let start = if len == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: M1: a fresh private mapping, for reading, of bytes that are there.
            let start =
                unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &file, 0) };
            let start = start.map_err(|errno| io("map")(errno.into()))?;
            NonNull::new(start.cast()).ok_or(Error::Driver {
                call: "mmap",
                code: 0,
                detail: "no address".into(),
            })?
        };
        Ok(Self { mapping: Arc::new(Mapping { path: path.to_owned(), start, len }) })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.mapping.bytes()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.mapping.path
    }

    /// Tells the system that these bytes will not be needed soon: their pages leave this process's memory, and are read
    /// again if they are touched after all. So do those around them that share a large page with them, since a look at any
    /// byte of a large page may have brought all of it, also what was let go before.
    pub fn forget(&self, range: std::ops::Range<usize>) {
        let range = range.start..range.end.min(self.mapping.len);
        if !range.is_empty() {
            let start = range.start / LARGE_PAGE * LARGE_PAGE;
            self.advise(start..range.end.next_multiple_of(LARGE_PAGE), GONE);
        }
    }

    /// Tells the system that these bytes will be needed soon.
    pub fn will_need(&self, range: std::ops::Range<usize>) {
        self.advise(range, rustix::mm::Advice::WillNeed);
    }

    fn advise(&self, range: std::ops::Range<usize>, advice: rustix::mm::Advice) {
        let page = rustix::param::page_size();
        let end = range.end.min(self.mapping.len) / page * page;
        if let Some(start) = range.start.checked_next_multiple_of(page).filter(|&start| start < end) {
            let first = self.mapping.start.as_ptr().wrapping_add(start).cast();
            // SAFETY: M1: whole pages of our own mapping; neither advice changes what a read returns.
            let _ = unsafe { rustix::mm::madvise(first, end - start, advice) };
        }
    }
}

impl Mapping {
    fn bytes(&self) -> &[u8] {
        // SAFETY: M1: the mapping is there as long as `self`, and nobody writes it.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: M1 and M2: our own mapping, which nobody uses any more.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", not(loom)))]
mod tests {
    use std::fs;

    use super::*;

    /// Bytes of a mapped file that are in this process's memory.
    fn resident(path: &Path) -> u64 {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.split_once(&*path.to_string_lossy()).unwrap().1;
        let line = of_file.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }

    #[test]
    fn what_is_forgotten_leaves_memory_and_reads_the_same() {
        const LEN: usize = 8 << 20;
        let path = std::env::temp_dir().join(format!("forebay-forget-{}", std::process::id()));
        let bytes: Vec<u8> = (0..LEN).map(|i| (i / 4096 + i) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let map = MappedFile::open(&path).unwrap();
        assert!(map.bytes() == bytes && resident(&path) == LEN as u64);
        map.forget(100..100);
        assert_eq!(resident(&path), LEN as u64);
        // All of the large pages that it touches, and no other.
        map.forget(LARGE_PAGE + 100..2 * LARGE_PAGE + 100);
        assert_eq!(resident(&path), (LEN - 2 * LARGE_PAGE) as u64);
        map.forget(0..usize::MAX);
        assert_eq!(resident(&path), 0);
        assert!(map.bytes() == bytes);
        fs::remove_file(path).unwrap();
    }
}
