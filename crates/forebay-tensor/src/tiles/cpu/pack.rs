#![allow(clippy::needless_range_loop, reason = "one index walks several arrays side by side")]
//! Packing: takes 16 rows of blocks apart and fills a panel with them, as `quant::panel` draws it.
//!
//! Blocks are turned first, so that four bytes of each row lie side by side; then codes are moved to their places for all
//! rows at once. All of it is loops without closures: a closure is a function of its own, which is not compiled for the
//! level.

use super::lanes::{Lanes, turn};
use crate::quant::panel::{COLUMNS, Codes, PanelLayout, ROWS};

/// Words of the largest block that is turned.
const WORDS: usize = 48;
/// How far ahead of its use a line that is written is fetched: stores wait for lines that are not in cache.
const AHEAD: usize = 4096;
/// Quads of 32 columns.
const QUADS: usize = COLUMNS / 4;

/// Fills a panel with rows, which are at most 16 and lie in a row in each plane; a piece has so many columns.
///
/// Lengths are the caller's business: `panel` is as long as [`PanelLayout::panel_bytes`] says, each plane holds `rows` rows
/// of `width` elements, and a piece has whole blocks.
#[inline(always)]
pub(crate) fn pack<V: Lanes>(
    v: V,
    layout: &PanelLayout,
    planes: [&[u8]; 3],
    rows: usize,
    [width, piece]: [usize; 2],
    panel: &mut [u8],
) {
    let blocks = width / layout.span;
    let (side_bytes, bytes) = (ROWS * layout.side_bytes(), layout.bytes[0]);
    let line_bytes = layout.line_bytes() * layout.span / COLUMNS;
    let mut turned = [[0; 64]; WORDS];
    let row_bytes = blocks * bytes;
    // In place of rows that are missing, others do: what has no scale is nothing.
    let mut from = [&planes[0][..row_bytes]; ROWS];
    for r in 1..rows {
        from[r] = &planes[0][r * row_bytes..][..row_bytes];
    }
    let mut block = 0;
    for both in panel.chunks_mut((piece / layout.span).max(1) * (side_bytes + line_bytes)) {
        let (sides, lines) = both.split_at_mut(both.len() / (side_bytes + line_bytes) * side_bytes);
        if rows < ROWS {
            sides.fill(0);
        }
        for (sides, lines) in sides.chunks_exact_mut(side_bytes).zip(lines.chunks_exact_mut(line_bytes)) {
            let start = block * bytes;
            spread_sides(layout, planes, rows, blocks, block, sides);
            for line in (0..line_bytes + side_bytes).step_by(64) {
                v.fetch(lines, AHEAD + line);
            }
            // The lines of the next panel's rows that begin beside this block; where there are none, nothing happens.
            for line in (start.next_multiple_of(64)..start + bytes).step_by(64) {
                for r in 0..ROWS {
                    v.fetch(from[r], ROWS * row_bytes + line);
                }
            }
            move_codes(v, layout, &from, start, &mut turned, lines);
            block += 1;
        }
    }
}

/// Moves the codes of a block, which begins `start` bytes into each row, to their places.
#[inline(always)]
fn move_codes<V: Lanes>(
    v: V,
    layout: &PanelLayout,
    from: &[&[u8]; ROWS],
    start: usize,
    turned: &mut [[u8; 64]; WORDS],
    lines: &mut [u8],
) {
    let (at, words) = turned_words(layout);
    let at = start + at;
    match layout.codes {
        // These lie in words as they lie in lines.
        Codes::Halves { span: 32, .. } | Codes::Stream { bits: 8, .. } => {
            turn_words(from, at, words, lines.as_chunks_mut().0);
            return;
        }
        _ => turn_words(from, at, words, turned),
    }
    match layout.codes {
        Codes::Halves { span: 16, .. } => groups(v, Codes::Halves { at: 0, span: 16 }, 4, turned, lines),
        Codes::Halves { .. } => groups(v, Codes::Halves { at: 0, span: 64 }, 4, turned, lines),
        Codes::Fifths { .. } => groups(v, Codes::Fifths { at: 0 }, 5, turned, lines),
        Codes::Quarters { .. } => groups(v, Codes::Quarters { at: 0 }, 2, turned, lines),
        Codes::Signed { .. } => groups(v, Codes::Signed { at: 0 }, 8, turned, lines),
        Codes::Stream { bits: 1, .. } => groups(v, Codes::Stream { at: 0, bits: 1 }, 1, turned, lines),
        Codes::Stream { bits: 2, .. } => groups(v, Codes::Stream { at: 0, bits: 2 }, 2, turned, lines),
        Codes::Stream { bits: 3, .. } => groups(v, Codes::Stream { at: 0, bits: 3 }, 3, turned, lines),
        Codes::Stream { bits: 4, .. } => groups(v, Codes::Stream { at: 0, bits: 4 }, 4, turned, lines),
        Codes::Stream { bits: 5, .. } => groups(v, Codes::Stream { at: 0, bits: 5 }, 5, turned, lines),
        Codes::Stream { .. } => groups(v, Codes::Stream { at: 0, bits: 6 }, 6, turned, lines),
        Codes::Q3K => groups(v, Codes::Q3K, 3, turned, lines),
        Codes::Q5K => groups(v, Codes::Q5K, 5, turned, lines),
        Codes::Q6K => groups(v, Codes::Q6K, 6, turned, lines),
    }
}

/// Turns so many words of each row, from `at` on.
#[inline(always)]
fn turn_words(from: &[&[u8]; ROWS], at: usize, words: usize, lines: &mut [[u8; 64]]) {
    let fours = words / 4 * 4;
    for word in (0..fours).step_by(4) {
        turn(from, at + 4 * word, &mut lines[word..word + 4]);
    }
    for word in fours..words {
        let line = lines[word].as_chunks_mut::<4>().0;
        for r in 0..ROWS {
            line[r] = from[r][at + 4 * word..][..4].as_chunks().0[0];
        }
    }
}

/// Moves the codes of a turned block to their places. Each kind of codes gets a copy of this that knows no other.
#[inline(always)]
fn groups<V: Lanes>(v: V, codes: Codes, bits: usize, turned: &[[u8; 64]; WORDS], lines: &mut [u8]) {
    for (group, lines) in lines.chunks_exact_mut(64 * bits).enumerate() {
        for part in 0..ROWS / V::N {
            let mut quads = [v.integer(0); QUADS];
            for q in 0..QUADS {
                quads[q] = quad(v, codes, turned, part, group, q);
            }
            planes_of(v, bits, &quads, part, lines);
        }
    }
}

/// Writes what a block has beside its codes.
#[inline(always)]
fn spread_sides(
    layout: &PanelLayout,
    planes: [&[u8]; 3],
    rows: usize,
    blocks: usize,
    block: usize,
    sides: &mut [u8],
) {
    let mut at = 0;
    for side in layout.sides {
        let bytes = layout.bytes[side.plane];
        let (from, step) = (&planes[side.plane][block * bytes + side.at..], blocks * bytes);
        let sides = &mut sides[at..];
        match (side.unit, side.count) {
            (2, 2) if rows == ROWS => spread_words::<2, 1>(from, step, sides),
            (1, 4) if rows == ROWS => spread_words::<1, 1>(from, step, sides),
            (1, 12) if rows == ROWS => spread_words::<1, 3>(from, step, sides),
            (1, 16) if rows == ROWS => spread_words::<1, 4>(from, step, sides),
            (1, 1) => spread::<1>(from, step, rows, 1, sides),
            (1, 2) => spread::<1>(from, step, rows, 2, sides),
            (1, count) => spread::<1>(from, step, rows, count, sides),
            (2, 1) => spread::<2>(from, step, rows, 1, sides),
            (2, count) => spread::<2>(from, step, rows, count, sides),
            (_, count) => spread::<4>(from, step, rows, count, sides),
        }
        at += ROWS * side.unit * side.count;
    }
}

/// Writes `count` numbers of `UNIT` bytes of each row to their places between those of other rows; rows lie `step` bytes
/// apart.
#[inline(always)]
fn spread<const UNIT: usize>(from: &[u8], step: usize, rows: usize, count: usize, sides: &mut [u8]) {
    let lines = &mut sides.as_chunks_mut::<UNIT>().0.as_chunks_mut::<ROWS>().0[..count];
    for r in 0..rows {
        let numbers = &from[r * step..][..UNIT * count];
        for (line, number) in lines.iter_mut().zip(numbers.as_chunks::<UNIT>().0) {
            line[r] = *number;
        }
    }
}

/// The same for all 16 rows and numbers that fill words, which are cut for all rows at once.
#[inline(always)]
fn spread_words<const UNIT: usize, const COUNT: usize>(from: &[u8], step: usize, sides: &mut [u8]) {
    let mut words = [[0u32; ROWS]; COUNT];
    for r in 0..ROWS {
        let bytes = from[r * step..][..4 * COUNT].as_chunks::<4>().0;
        for i in 0..COUNT {
            words[i][r] = u32::from_le_bytes(bytes[i]);
        }
    }
    for (words, lines) in words.iter().zip(sides.chunks_exact_mut(4 * ROWS)) {
        for (i, line) in lines.chunks_exact_mut(UNIT * ROWS).enumerate() {
            for (word, number) in words.iter().zip(line.as_chunks_mut::<UNIT>().0) {
                number.copy_from_slice(&(word >> (8 * UNIT * i)).to_le_bytes()[..UNIT]);
            }
        }
    }
}

/// Where the codes of a block begin, and how many words they are.
#[inline(always)]
fn turned_words(layout: &PanelLayout) -> (usize, usize) {
    match layout.codes {
        Codes::Halves { at, .. } => (at, layout.span / 8),
        Codes::Quarters { at } => (at, layout.span / 16),
        Codes::Signed { at } => (at, layout.span / 4),
        Codes::Stream { at, bits } => (at, layout.span * bits / 32),
        Codes::Fifths { at } => (at, 5),
        Codes::Q3K => (0, 24),
        Codes::Q5K => (16, 40),
        Codes::Q6K => (0, 48),
    }
}

/// Quad `q` of 32 columns of some rows.
#[inline(always)]
fn quad<V: Lanes>(v: V, codes: Codes, turned: &[[u8; 64]], part: usize, group: usize, q: usize) -> V::Words {
    let (half, quarter) = (group % 2, group % 4);
    match codes {
        Codes::Halves { span: 16, .. } => {
            bits(v, word(v, turned, part, 4 * group + q / 4 * 2 + q % 2), q / 2 % 2 * 4, 15)
        }
        Codes::Halves { .. } => bits(v, word(v, turned, part, group / 2 * 8 + q), 4 * half, 15),
        Codes::Quarters { .. } => bits(v, word(v, turned, part, group / 4 * 8 + q), 2 * quarter, 3),
        Codes::Signed { .. } => v.flip(word(v, turned, part, 8 * group + q), 0x80),
        Codes::Stream { bits: 4, .. } => v.apart(word(v, turned, part, 4 * group + q / 2), q % 2),
        Codes::Stream { bits, .. } => four(v, turned, part, group * bits, q, bits),
        Codes::Q3K => v.or(
            bits(v, word(v, turned, part, 8 + group / 4 * 8 + q), 2 * quarter, 3),
            v.up(bits(v, word(v, turned, part, q), group, 1), 2),
        ),
        Codes::Q5K => v.or(
            bits(v, word(v, turned, part, 8 + group / 2 * 8 + q), 4 * half, 15),
            v.up(bits(v, word(v, turned, part, q), group, 1), 4),
        ),
        Codes::Q6K => v.or(
            bits(v, word(v, turned, part, group / 4 * 16 + 8 * half + q), quarter / 2 * 4, 15),
            v.up(bits(v, word(v, turned, part, 32 + group / 4 * 8 + q), 2 * quarter, 3), 4),
        ),
        Codes::Fifths { .. } => v.or(
            bits(v, word(v, turned, part, 1 + q % 4), q / 4 * 4, 15),
            v.up(four(v, turned, part, 0, q, 1), 4),
        ),
    }
}

/// A word of some rows.
#[inline(always)]
fn word<V: Lanes>(v: V, turned: &[[u8; 64]], part: usize, word: usize) -> V::Words {
    v.words(&turned[word][part * 4 * V::N..])
}

/// Quad `q` of codes that lie in a stream of bits from a word on, as bytes.
#[inline(always)]
fn four<V: Lanes>(v: V, turned: &[[u8; 64]], part: usize, at: usize, q: usize, bits: usize) -> V::Words {
    let (at, shift) = (at + 4 * bits * q / 32, 4 * bits * q % 32);
    let mut codes = v.down_words(word(v, turned, part, at), shift as u32);
    if shift + 4 * bits > 32 {
        codes = v.or(codes, v.up_words(word(v, turned, part, at + 1), 32 - shift as u32));
    }
    let mask = (1 << bits) - 1;
    let mut bytes = v.mask_words(codes, mask);
    for i in 1..4 {
        bytes = v.or(bytes, v.mask_words(v.up_words(codes, (i * (8 - bits)) as u32), mask << (8 * i)));
    }
    bytes
}

/// The bits of each byte from `shift` on.
#[inline(always)]
fn bits<V: Lanes>(v: V, words: V::Words, shift: usize, mask: u8) -> V::Words {
    v.mask(if shift == 0 { words } else { v.down(words, shift as u32) }, mask)
}

/// Writes the planes of some rows of 32 columns.
#[inline(always)]
fn planes_of<V: Lanes>(v: V, bits: usize, quads: &[V::Words; QUADS], part: usize, lines: &mut [u8]) {
    match bits {
        1 => plane::<V, 1>(v, quads, 0, part, lines),
        2 => plane::<V, 2>(v, quads, 0, part, lines),
        3 => {
            plane::<V, 2>(v, quads, 0, part, lines);
            plane::<V, 1>(v, quads, 2, part, &mut lines[2 * 64..]);
        }
        4 => plane::<V, 4>(v, quads, 0, part, lines),
        5 => {
            plane::<V, 4>(v, quads, 0, part, lines);
            plane::<V, 1>(v, quads, 4, part, &mut lines[4 * 64..]);
        }
        6 => {
            plane::<V, 4>(v, quads, 0, part, lines);
            plane::<V, 2>(v, quads, 4, part, &mut lines[4 * 64..]);
        }
        _ => plane::<V, 8>(v, quads, 0, part, lines),
    }
}

/// Writes the plane of `BITS` bits of the codes, from `from` on.
#[inline(always)]
fn plane<V: Lanes, const BITS: usize>(
    v: V,
    quads: &[V::Words; QUADS],
    from: usize,
    part: usize,
    lines: &mut [u8],
) {
    let mask = (255 >> (8 - BITS)) as u8;
    for j in 0..BITS {
        // A line of 1, 2, 4 or 8 bits has quads `j`, `j + BITS`, and so on.
        let mut line = bits(v, quads[j], from, mask);
        for i in 1..8 / BITS {
            line = v.or(line, v.up(bits(v, quads[j + i * BITS], from, mask), (i * BITS) as u32));
        }
        v.put_words(line, &mut lines[j * 64 + part * 4 * V::N..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Level,
        quant::panel::PIECE,
        tiles::{cpu::lanes::Job, in_panels},
    };

    struct Packed<'a> {
        layout: PanelLayout,
        planes: [&'a [u8]; 3],
        rows: usize,
        piece: usize,
        panel: &'a mut [u8],
    }

    impl Job for Packed<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Lanes>(self, v: V) {
            let width = [BLOCKS * self.layout.span, self.piece];
            pack(v, &self.layout, self.planes, self.rows, width, self.panel);
        }
    }

    const BLOCKS: usize = 11;

    fn noise(layout: &PanelLayout, rows: usize) -> [Vec<u8>; 3] {
        std::array::from_fn(|plane| {
            let bytes = rows * BLOCKS * layout.bytes[plane];
            (0..bytes).map(|i| (i * i * 31 + i / 7 + plane * 91) as u8).collect()
        })
    }

    fn packed(layout: PanelLayout, rows: usize, piece: usize, level: Level) -> Vec<u8> {
        let planes = noise(&layout, rows);
        let mut panel = vec![0xee; layout.panel_bytes(BLOCKS * layout.span)];
        let planes = [&planes[0][..], &planes[1], &planes[2]];
        level.run(Packed { layout, planes, rows, piece, panel: &mut panel });
        panel
    }

    #[test]
    fn every_level_packs_the_same_panels() {
        for (dtype, _, layout) in in_panels() {
            for rows in [ROWS, 5] {
                let first = packed(layout, rows, PIECE, Level::Plain);
                for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                    assert_eq!(packed(layout, rows, PIECE, level), first, "{dtype} on {level}");
                }
            }
        }
    }

    #[test]
    fn what_a_piece_has_does_not_depend_on_how_long_it_is() {
        for (dtype, _, layout) in in_panels() {
            let whole = packed(layout, 13, BLOCKS * layout.span, Level::Plain);
            let (sides, lines) = whole.split_at(BLOCKS * ROWS * layout.side_bytes());
            let (mut sides_of, mut lines_of) = (Vec::new(), Vec::new());
            let blocks = PIECE / layout.span;
            let block_bytes = layout.panel_bytes(layout.span);
            for piece in packed(layout, 13, PIECE, Level::Plain).chunks(blocks * block_bytes) {
                let (sides, lines) = piece.split_at(piece.len() / block_bytes * ROWS * layout.side_bytes());
                sides_of.extend(sides.to_vec());
                lines_of.extend(lines.to_vec());
            }
            assert!(sides == sides_of && lines == lines_of, "{dtype}");
        }
    }
}
