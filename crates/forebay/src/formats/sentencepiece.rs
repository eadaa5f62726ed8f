//! `tokenizer.model` files: the pieces of a SentencePiece vocabulary, with their scores and what they are for.
//!
//! Such a file is a message of Protocol Buffers, of which the fields that are needed are read and all others are skipped.
//! Next room: `tokens`, which makes metadata of them.

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct SentencePieces {
    pub(super) pieces: Vec<Piece>,
    /// Whether a text begins with a space that is not in it.
    pub(super) adds_space: bool,
}

/// One piece.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) text: Vec<u8>,
    pub(super) score: f32,
    /// As GGUF files number it: 1 is normal, 2 unknown, 3 control, 4 of the user, 5 unused, 6 a byte.
    pub(super) kind: i32,
}

impl SentencePieces {
    /// Reads a file; none where it is no such message.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut read = Self { pieces: Vec::new(), adds_space: true };
        let mut message = Message { bytes };
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => read.pieces.push(Piece::read(bytes)?),
                (3, Field::Bytes(bytes)) => {
                    let mut normalizer = Message { bytes };
                    while let Some((number, field)) = normalizer.next()? {
                        if let (3, Field::Number(adds)) = (number, field) {
                            read.adds_space = adds != 0;
                        }
                    }
                }
                _ => {}
            }
        }
        (!read.pieces.is_empty()).then_some(read)
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut piece = Self { text: Vec::new(), score: 0.0, kind: 1 };
        let mut message = Message { bytes };
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (1, Field::Bytes(text)) => piece.text = text.to_vec(),
                (2, Field::Word(word)) => piece.score = f32::from_bits(word),
                (3, Field::Number(kind)) => {
                    piece.kind = i32::try_from(kind).ok().filter(|kind| (1..=6).contains(kind))?
                }
                _ => {}
            }
        }
        Some(piece)
    }
}

/// The fields of a message that are left.
struct Message<'a> {
    bytes: &'a [u8],
}

enum Field<'a> {
    Number(u64),
    Word(u32),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Message<'a> {
    /// The next field and its number, or that there is no more; none where it is damaged.
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.bytes.is_empty() {
            return Some(None);
        }
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let len = usize::try_from(self.number()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Word(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some(Some((key >> 3, field)))
    }

    /// A number of seven bits a byte.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of two pieces, between fields that nobody asks for, whose texts begin with no space.
    fn file() -> Vec<u8> {
        let long = [&[0x0a, 0x80, 0x02][..], &[b'x'; 256]].concat();
        let first = [&[0x0a, 3][..], "\u{2581}".as_bytes(), &[0x15], &(-2.5f32).to_le_bytes()].concat();
        let second = [&long[..], &[0x18, 6, 0x21], &[7; 8]].concat();
        let part = |key: u8, bytes: &[u8]| {
            [&[key, (bytes.len() & 0x7f) as u8 | 0x80, (bytes.len() >> 7) as u8], bytes].concat()
        };
        [part(0x0a, &first), part(0x12, b"trainer"), part(0x0a, &second), part(0x1a, &[0x18, 0])].concat()
    }

    #[test]
    fn pieces_are_read_and_other_fields_skipped() {
        let read = SentencePieces::read(&file()).unwrap();
        let found: Vec<_> = read.pieces.iter().map(|p| (p.text.len(), p.score, p.kind)).collect();
        assert_eq!((&found[..], read.adds_space), (&[(3, -2.5, 1), (256, 0.0, 6)][..], false));
    }

    #[test]
    fn damaged_files_are_none() {
        let whole = file();
        for len in [0, 1, 2, 7, whole.len() - 1] {
            assert!(SentencePieces::read(&whole[..len]).is_none(), "{len}");
        }
        assert!(SentencePieces::read(&[0xff; 20]).is_none());
        assert!(SentencePieces::read(b"{\"version\": 1}").is_none());
    }
}
