//! The list of element and block types: name, elements and bytes of a block, number in a GGUF file.
//!
//! A plain type is a block of one element. A type of GGUF keeps all of a block in one run of bytes. A type of
//! MLX spreads a block over planes; its bytes here are those of the packed codes alone (see `quant::mlx`).
//! What the bytes mean is in `quant/`, one file a format.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// Makes the enum, its list and its table out of one list: name, block elements, block bytes, GGUF number.
macro_rules! types {
    (
        $(#[$enum_doc:meta])*
        pub enum DType {
            $($(#[$doc:meta])* $type:ident = $name:literal, $elements:literal, $bytes:literal, $gguf:expr;)*
        }
    ) => {
        $(#[$enum_doc])*
        pub enum DType {
            $($(#[$doc])* $type,)*
            /// MLX's integer codes with a scale and a bias for each group.
            Affine(Affine),
        }

        const ALL_BUT_AFFINE: &[DType] = &[$(DType::$type),*];

        const fn row(dtype: DType) -> Row {
            match dtype {
                $(DType::$type => Row { name: $name, elements: $elements, bytes: $bytes, gguf: $gguf },)*
                DType::Affine(affine) => affine.row(),
            }
        }
    };
}

types! {
    /// The type of a tensor's elements, or of its blocks.
    ///
    /// ```
    /// use forebay_tensor::DType;
    ///
    /// let dtype: DType = "Q4_K".parse()?;
    /// assert_eq!(dtype, DType::from_gguf(12)?);
    /// assert_eq!((dtype.block_elements(), dtype.block_bytes()), (256, 144));
    /// assert_eq!(dtype.row_bytes(1024)?, 576);
    /// assert_eq!(
    ///     dtype.row_bytes(100).unwrap_err().to_string(),
    ///     "a row of 100 elements is no whole number of q4_k blocks of 256"
    /// );
    /// # Ok::<(), forebay_tensor::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    #[allow(non_camel_case_types, reason = "the names that model files and their users have for these types")]
    pub enum DType {
        /// 32-bit float.
        F32 = "f32", 1, 4, Some(0);
        /// 16-bit IEEE float.
        F16 = "f16", 1, 2, Some(1);
        /// The upper half of a 32-bit float.
        BF16 = "bf16", 1, 2, Some(30);
        /// 64-bit float.
        F64 = "f64", 1, 8, Some(28);
        /// 8-bit signed integer.
        I8 = "i8", 1, 1, Some(24);
        /// 16-bit signed integer.
        I16 = "i16", 1, 2, Some(25);
        /// 32-bit signed integer.
        I32 = "i32", 1, 4, Some(26);
        /// 64-bit signed integer.
        I64 = "i64", 1, 8, Some(27);
        /// 8-bit unsigned integer.
        U8 = "u8", 1, 1, None;
        /// 32-bit unsigned integer.
        U32 = "u32", 1, 4, None;
        /// 4-bit codes around zero, one scale for 32.
        Q4_0 = "q4_0", 32, 18, Some(2);
        /// 4-bit codes, scale and minimum for 32.
        Q4_1 = "q4_1", 32, 20, Some(3);
        /// 5-bit codes around zero, one scale for 32.
        Q5_0 = "q5_0", 32, 22, Some(6);
        /// 5-bit codes, scale and minimum for 32.
        Q5_1 = "q5_1", 32, 24, Some(7);
        /// 8-bit codes, one scale for 32.
        Q8_0 = "q8_0", 32, 34, Some(8);
        /// 8-bit codes, scale and scaled sum for 32; activations only.
        Q8_1 = "q8_1", 32, 36, Some(9);
        /// 2-bit codes, 4-bit scales and minimums for 16.
        Q2_K = "q2_k", 256, 84, Some(10);
        /// 3-bit codes around zero, 6-bit scales for 16.
        Q3_K = "q3_k", 256, 110, Some(11);
        /// 4-bit codes, 6-bit scales and minimums for 32.
        Q4_K = "q4_k", 256, 144, Some(12);
        /// 5-bit codes, 6-bit scales and minimums for 32.
        Q5_K = "q5_k", 256, 176, Some(13);
        /// 6-bit codes around zero, 8-bit scales for 16.
        Q6_K = "q6_k", 256, 210, Some(14);
        /// 8-bit codes, one 32-bit scale for 256 and sums of 16; activations only.
        Q8_K = "q8_k", 256, 292, Some(15);
        /// Ternary grid of 8, 1.56 bits an element.
        IQ1_S = "iq1_s", 256, 50, Some(19);
        /// Ternary grid of 8, 1.75 bits an element.
        IQ1_M = "iq1_m", 256, 56, Some(29);
        /// Grid of 8 with even signs, 2.06 bits an element.
        IQ2_XXS = "iq2_xxs", 256, 66, Some(16);
        /// Grid of 8 with even signs, 2.31 bits an element.
        IQ2_XS = "iq2_xs", 256, 74, Some(17);
        /// Grid of 8 with free signs, 2.56 bits an element.
        IQ2_S = "iq2_s", 256, 82, Some(22);
        /// Grid of 4 with even signs, 3.06 bits an element.
        IQ3_XXS = "iq3_xxs", 256, 98, Some(18);
        /// Grid of 4 with free signs, 3.44 bits an element.
        IQ3_S = "iq3_s", 256, 110, Some(21);
        /// 4-bit codes of a curved table, one scale for 32.
        IQ4_NL = "iq4_nl", 32, 18, Some(20);
        /// 4-bit codes of a curved table, 6-bit scales for 32.
        IQ4_XS = "iq4_xs", 256, 136, Some(23);
        /// Ternary, five to a byte.
        TQ1_0 = "tq1_0", 256, 54, Some(34);
        /// Ternary, four to a byte.
        TQ2_0 = "tq2_0", 256, 66, Some(35);
        /// Signs, one scale for 128.
        Q1_0 = "q1_0", 128, 18, Some(41);
        /// 2-bit codes around zero, one scale for 64.
        Q2_0 = "q2_0", 64, 18, Some(42);
        /// 4-bit floats, a power of two for 32.
        MXFP4 = "mxfp4", 32, 17, Some(39);
        /// 4-bit floats, 8-bit float scales for 16.
        NVFP4 = "nvfp4", 64, 36, Some(40);
        /// Activations as the integer kernels read them, 8-bit codes and sums of 32; no file holds them.
        Rounded = "rounded", 32, 64, None;
        /// MLX's 4-bit floats, a power of two for 32.
        MlxMxfp4 = "mlx_mxfp4", 32, 16, None;
        /// MLX's 8-bit floats, a power of two for 32.
        MlxMxfp8 = "mlx_mxfp8", 32, 32, None;
        /// MLX's 4-bit floats, an 8-bit float scale for 16.
        MlxNvfp4 = "mlx_nvfp4", 16, 8, None;
    }
}

/// Bits and group size of an MLX affine type.
///
/// ```
/// use forebay_tensor::{Affine, DType};
///
/// let affine = Affine::new(4, 64)?;
/// assert_eq!((affine.bits(), affine.group()), (4, 64));
/// assert_eq!(DType::Affine(affine).to_string(), "mlx_4g64");
/// assert!(Affine::new(7, 64).is_err());
/// # Ok::<(), forebay_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    bits: u8,
    group: u8,
}

impl Affine {
    /// The type with `bits` bits a code and `group` elements a group.
    ///
    /// # Errors
    /// [`Error::UnknownAffine`] unless bits are 2, 3, 4, 5, 6 or 8 and the group is 32, 64 or 128.
    pub fn new(bits: u32, group: u32) -> Result<Self> {
        match (bits, group) {
            (2..=6 | 8, 32 | 64 | 128) => Ok(Self { bits: bits as u8, group: group as u8 }),
            _ => Err(Error::UnknownAffine { bits, group }),
        }
    }

    /// Bits of one code.
    pub fn bits(self) -> usize {
        self.bits.into()
    }

    /// Elements that share a scale and a bias.
    pub fn group(self) -> usize {
        self.group.into()
    }

    const fn row(self) -> Row {
        let name = match (self.bits, self.group) {
            (2, 32) => "mlx_2g32",
            (2, 64) => "mlx_2g64",
            (2, 128) => "mlx_2g128",
            (3, 32) => "mlx_3g32",
            (3, 64) => "mlx_3g64",
            (3, 128) => "mlx_3g128",
            (4, 32) => "mlx_4g32",
            (4, 64) => "mlx_4g64",
            (4, 128) => "mlx_4g128",
            (5, 32) => "mlx_5g32",
            (5, 64) => "mlx_5g64",
            (5, 128) => "mlx_5g128",
            (6, 32) => "mlx_6g32",
            (6, 64) => "mlx_6g64",
            (6, 128) => "mlx_6g128",
            (_, 32) => "mlx_8g32",
            (_, 64) => "mlx_8g64",
            _ => "mlx_8g128",
        };
        let elements = self.group as usize;
        Row { name, elements, bytes: elements * self.bits as usize / 8, gguf: None }
    }
}

/// One line of the list of types.
struct Row {
    name: &'static str,
    elements: usize,
    bytes: usize,
    gguf: Option<u32>,
}

impl DType {
    /// Every type, in the order of the list.
    pub fn all() -> impl Iterator<Item = DType> {
        let affine = [2, 3, 4, 5, 6, 8]
            .into_iter()
            .flat_map(|bits| [32, 64, 128].map(|group| DType::Affine(Affine { bits, group })));
        ALL_BUT_AFFINE.iter().copied().chain(affine)
    }

    /// The type that GGUF files number so.
    ///
    /// # Errors
    /// [`Error::UnknownGgufType`] for a number that no type has.
    pub fn from_gguf(number: u32) -> Result<Self> {
        Self::all().find(|dtype| dtype.gguf() == Some(number)).ok_or(Error::UnknownGgufType { number })
    }

    /// The number in GGUF files; none for types that cannot be in one.
    pub fn gguf(self) -> Option<u32> {
        row(self).gguf
    }

    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        row(self).name
    }

    /// Elements of one block; 1 for a plain type.
    pub fn block_elements(self) -> usize {
        row(self).elements
    }

    /// Bytes of one block; for a type of MLX those of the packed codes.
    pub fn block_bytes(self) -> usize {
        row(self).bytes
    }

    /// True if every element has bytes of its own.
    pub fn is_plain(self) -> bool {
        self.block_elements() == 1
    }

    /// Bytes of a row of `elements`.
    ///
    /// # Errors
    /// [`Error::PartialBlock`] if the row is no whole number of blocks, [`Error::TooLarge`] if the bytes
    /// cannot be counted.
    pub fn row_bytes(self, elements: usize) -> Result<usize> {
        let block = self.block_elements();
        if !elements.is_multiple_of(block) {
            return Err(Error::PartialBlock { dtype: self.name(), elements, block });
        }
        let bytes = (elements / block).checked_mul(self.block_bytes());
        bytes.ok_or(Error::TooLarge { dtype: self.name(), elements })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    /// The type of this name, in upper or lower case.
    fn from_str(name: &str) -> Result<Self> {
        let found = Self::all().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| Error::UnknownType { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_their_type() {
        for dtype in DType::all() {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert_eq!(dtype.to_string().to_uppercase().parse(), Ok(dtype));
            if let Some(number) = dtype.gguf() {
                assert_eq!(DType::from_gguf(number), Ok(dtype));
            }
        }
        assert_eq!(DType::all().count(), 59);
        assert_eq!("q9_0".parse::<DType>(), Err(Error::UnknownType { name: "q9_0".into() }));
        assert_eq!(DType::from_gguf(4), Err(Error::UnknownGgufType { number: 4 }));
    }

    #[test]
    fn affine_names_state_bits_and_group() {
        for bits in 0..10 {
            for group in [0, 16, 32, 64, 96, 128, 288] {
                match Affine::new(bits, group) {
                    Ok(affine) => {
                        let dtype = DType::Affine(affine);
                        assert_eq!(dtype.name(), format!("mlx_{bits}g{group}"));
                        assert_eq!(dtype.block_bytes() * 8, (bits * group) as usize);
                    }
                    Err(error) => assert_eq!(error, Error::UnknownAffine { bits, group }),
                }
            }
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(DType::Q6_K.row_bytes(512), Ok(420));
        assert_eq!(DType::F32.row_bytes(0), Ok(0));
        let partial = Error::PartialBlock { dtype: "q8_0", elements: 33, block: 32 };
        assert_eq!(DType::Q8_0.row_bytes(33), Err(partial));
        let most = usize::MAX;
        assert_eq!(DType::F64.row_bytes(most), Err(Error::TooLarge { dtype: "f64", elements: most }));
    }
}
