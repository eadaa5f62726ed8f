//! The trace: what happened to memory and submissions, in order, as 32 bytes an event.
//!
//! Recording never waits for a reader and takes no lock: each pool, and the access table for submissions, has a lane of
//! its own, written under the lock that is held anyway. Rooms: `event` (what is told), `record` (how it lies in bytes),
//! `lane` and `labels` (where it is put), `recorder` (numbers, clock, file), `writer` (the thread of a file), `pool` and `device` (who tells it), `file`
//! and `reader` (the file).
//!
//! # The file
//!
//! All numbers are little-endian. A header:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `FOREBAYT` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | backend: 0 null, 1 cpu, 2 cuda, 3 metal |
//! | 16 | 8 | number of the first event; 0 if none is left out |
//! | 24 | 8 | when the device was opened: nanoseconds since 1970 |
//! | 32 | 8 | unit of mapping, or 0 |
//! | 40 | 8 | memory of the device |
//! | 48 | 8 | limit over all pools |
//! | 56 | 4 | length of the device's name |
//! | 60 | 4 | bytes of a record: 32 |
//! | 64 | | the name |
//!
//! Then sections, each with a name of 4 bytes and its length in 4 bytes:
//! - `LABL`: labels, each with its length in 2 bytes; numbered from 1 on over all such sections. 0 is the empty label.
//! - `RECS`: records. The labels they name are in sections before.
//!
//! A record is four words `w a b c` of 8 bytes. `w`: number of the event (48 bits, each one more than the last), kind
//! (8), flags (8). `n:m` stands for a low part of n bits and the rest above; flags are named by their bit, a tag is
//! their low 4 bits. `spot` and offsets of allocations count in granules of 256 bytes.
//!
//! | kind | event | flags | a | b | c |
//! |---|---|---|---|---|---|
//! | 1 | clock | | nanoseconds since opened | | |
//! | 2 | pool opened | | 48: 0, pool | limit | |
//! | 3 | pool closed | | 48: reserved, pool | | |
//! | 4 | level | | 48: live, pool | reserved | in use |
//! | 5 to 9 | allocated: from the pool, dedicated, outside, nothing, carved | tag; 4 miss, 5 early, 6 split | 48: bytes, pool | 32: offset, lease | 24: label, 24: region, 16: granules of waste |
//! | 10 | free requested | tag; 4 waits | 48: bytes, pool | lease | 48: tick, queue |
//! | 11 | free completed | tag | 48: bytes, pool | lease | |
//! | 12 | region reserved | 0 mapped | bytes | address | 32: region, pool |
//! | 13, 14 | region mapped, unmapped | | 48: bytes, pool | offset | region |
//! | 15 | region released | | 48: bytes, pool | | region |
//! | 16 | driver refused | | 48: bytes, pool | | |
//! | 17 | trimmed | | 48: gone, pool | keep | |
//! | 18 | out of memory | tag | asked | limit | 24: label, 16: pool, why: 0 limit, 1 driver, 2 budget |
//! | 19 | arena epoch | | 48: epoch, pool | capacity | arena |
//! | 20 | arena reset | | 48: recycled, pool | bytes held | 32: arena, held |
//! | 21 | submitted | 0 fenced, 1 replayed | 48: tick, queue | nanoseconds | 24: label, 8: waits, bound |
//! | 22 | waits | 0 cascade | 48: tick, queue | 48: tick, queue waited for | |
//! | 23 | submission refused | | 48: tick, queue | | |
//! | 24 | completed | 0 failed | 48: tick, queue | nanoseconds | |
//! | 25 | residency told | | changes | | |

pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod file;
mod labels;
mod lane;
pub(crate) mod options;
mod pool;
pub(crate) mod reader;
mod record;
mod recorder;
#[cfg(all(test, not(loom)))]
mod tests;
mod writer;

pub(crate) use device::{DeviceTrace, Tracing};
pub(in crate::memory) use pool::PoolTrace;
