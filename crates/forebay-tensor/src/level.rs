//! What of the CPU kernels use, and whether this machine has it. `tiles::cpu::lanes` has the vectors of each level.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// What kernels on the CPU use of it. Numbers in results do not depend on it, to the bit.
///
/// ```
/// use forebay_tensor::Level;
///
/// let best = Level::best();
/// assert!(best.is_here() && Level::Plain.is_here());
/// assert_eq!(best.name().parse(), Ok(best));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// What any machine can do.
    Plain,
    /// AVX2 with F16C.
    Avx2,
    /// AVX-512 with VNNI.
    Avx512,
    /// NEON with products of bytes.
    Neon,
}

impl Level {
    /// All of them, the slowest first.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Avx2, Self::Avx512, Self::Neon];

    /// The quickest one that this machine has.
    pub fn best() -> Self {
        let here = Self::ALL.into_iter().rev().find(|level| level.is_here());
        here.unwrap_or(Self::Plain)
    }

    /// Whether this machine has it. That vector code is sound rests on this.
    #[inline]
    pub fn is_here(self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns, reason = "which levels are left depends on the machine's family")]
            _ => false,
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    /// The level of this name.
    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| Error::UnknownLevel { name: name.to_owned() })
    }
}
