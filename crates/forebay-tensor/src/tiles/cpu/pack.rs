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
/// Quads of 32 columns.
const QUADS: usize = COLUMNS / 4;

/// Fills a panel with rows, which are at most 16 and lie in a row in each plane.
///
/// Lengths are the caller's business: `panel` is as long as [`PanelLayout::panel_bytes`] says, each plane holds `rows` rows
/// of `width` elements.
#[inline(always)]
pub(crate) fn pack<V: Lanes>(
    v: V,
    layout: &PanelLayout,
    planes: [&[u8]; 3],
    rows: usize,
    width: usize,
    panel: &mut [u8],
) {
    let blocks = width / layout.span;
    let (sides, lines) = panel.split_at_mut(layout.sides_of_panel(width));
    if rows < ROWS {
        sides.fill(0);
    }
    let (side_bytes, bytes) = (ROWS * layout.side_bytes(), layout.bytes[0]);
    let line_bytes = layout.line_bytes() * layout.span / COLUMNS;
    let (at, words) = turned_words(layout);
    let mut turned = [[0; 64]; WORDS];
    let row_bytes = blocks * bytes;
    // In place of rows that are missing, others do: what has no scale is nothing.
    let mut from = [&planes[0][..row_bytes]; ROWS];
    for r in 1..rows {
        from[r] = &planes[0][r * row_bytes..][..row_bytes];
    }
    for block in 0..blocks {
        let start = block * bytes;
        spread_sides(layout, planes, rows, blocks, block, &mut sides[block * side_bytes..][..side_bytes]);
        // The lines of the next panel's rows that begin beside this block; where there are none, nothing happens.
        for line in (start.next_multiple_of(64)..start + bytes).step_by(64) {
            for r in 0..ROWS {
                v.fetch(from[r], ROWS * row_bytes + line);
            }
        }
        let lines = &mut lines[block * line_bytes..][..line_bytes];
        for word in (0..words).step_by(4) {
            turn(&from, start + at + 4 * word, &mut turned[word..word + 4]);
        }
        match layout.codes {
            Codes::Halves { span: 16, .. } => groups(v, Codes::Halves { at: 0, span: 16 }, 4, &turned, lines),
            Codes::Halves { span: 32, .. } => groups(v, Codes::Halves { at: 0, span: 32 }, 4, &turned, lines),
            Codes::Halves { .. } => groups(v, Codes::Halves { at: 0, span: 64 }, 4, &turned, lines),
            Codes::Quarters { .. } => groups(v, Codes::Quarters { at: 0 }, 2, &turned, lines),
            Codes::Signed { .. } => groups(v, Codes::Signed { at: 0 }, 8, &turned, lines),
            Codes::Stream { bits: 4, .. } => groups(v, Codes::Stream { at: 0, bits: 4 }, 4, &turned, lines),
            Codes::Stream { bits: 8, .. } => groups(v, Codes::Stream { at: 0, bits: 8 }, 8, &turned, lines),
            Codes::Stream { at, bits: 1 } => odd_groups::<V, 1>(v, &from, start + at, false, lines),
            Codes::Stream { at, bits: 2 } => odd_groups::<V, 2>(v, &from, start + at, false, lines),
            Codes::Stream { at, bits: 3 } => odd_groups::<V, 3>(v, &from, start + at, false, lines),
            Codes::Stream { at, bits: 5 } => odd_groups::<V, 5>(v, &from, start + at, false, lines),
            Codes::Stream { at, .. } => odd_groups::<V, 6>(v, &from, start + at, false, lines),
            Codes::Fifths { at } => odd_groups::<V, 1>(v, &from, start + at, true, lines),
            Codes::Q3K => groups(v, Codes::Q3K, 3, &turned, lines),
            Codes::Q5K => groups(v, Codes::Q5K, 5, &turned, lines),
            Codes::Q6K => groups(v, Codes::Q6K, 6, &turned, lines),
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
        match side.unit {
            1 => spread::<1>(from, step, rows, side.count, sides),
            2 => spread::<2>(from, step, rows, side.count, sides),
            _ => spread::<4>(from, step, rows, side.count, sides),
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

/// Where the codes of a block begin, and how many words they are; none if they begin in the middle of bytes.
#[inline(always)]
fn turned_words(layout: &PanelLayout) -> (usize, usize) {
    match layout.codes {
        Codes::Halves { at, .. } => (at, layout.span / 8),
        Codes::Quarters { at } => (at, layout.span / 16),
        Codes::Signed { at } | Codes::Stream { at, bits: 8 } => (at, layout.span / 4),
        Codes::Stream { at, bits: 4 } => (at, layout.span / 8),
        Codes::Q3K => (0, 24),
        Codes::Q5K => (16, 40),
        Codes::Q6K => (0, 48),
        Codes::Fifths { .. } | Codes::Stream { .. } => (0, 0),
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
        Codes::Halves { span: 32, .. } => bits(v, word(v, turned, part, 4 * group + q % 4), q / 4 * 4, 15),
        Codes::Halves { .. } => bits(v, word(v, turned, part, group / 2 * 8 + q), 4 * half, 15),
        Codes::Quarters { .. } => bits(v, word(v, turned, part, group / 4 * 8 + q), 2 * quarter, 3),
        Codes::Signed { .. } => v.flip(word(v, turned, part, 8 * group + q), 0x80),
        Codes::Stream { bits: 8, .. } => word(v, turned, part, 8 * group + q),
        Codes::Stream { .. } => v.apart(word(v, turned, part, 4 * group + q / 2), q % 2),
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
        Codes::Fifths { .. } => v.integer(0),
    }
}

/// A word of some rows.
#[inline(always)]
fn word<V: Lanes>(v: V, turned: &[[u8; 64]], part: usize, word: usize) -> V::Words {
    v.words(&turned[word][part * 4 * V::N..])
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

/// Moves codes that begin in the middle of bytes: `BITS` bits each, in a stream that begins `at` bytes into a block. Where
/// halves come behind them, these are the low bits and the codes their fifth.
#[inline(always)]
fn odd_groups<V: Lanes, const BITS: usize>(
    v: V,
    from: &[&[u8]; ROWS],
    at: usize,
    halves: bool,
    lines: &mut [u8],
) {
    let bits = if halves { 5 } else { BITS };
    for (group, lines) in lines.chunks_exact_mut(64 * bits).enumerate() {
        let words = words_of::<8>(from, at + group * BITS * 4, if halves { 5 } else { BITS });
        let mut quads = [[0u32; ROWS]; QUADS];
        for q in 0..QUADS {
            let (word, shift) = (4 * BITS * q / 32, 4 * BITS * q % 32);
            for r in 0..ROWS {
                let mut four = words[word][r] >> shift;
                if shift + 4 * BITS > 32 {
                    four |= words[word + 1][r] << (32 - shift);
                }
                quads[q][r] = apart::<BITS>(four);
                if halves {
                    quads[q][r] = quads[q][r] << 4 | words[1 + q % 4][r] >> (q / 4 * 4) & 0x0f0f_0f0f;
                }
            }
        }
        for part in 0..ROWS / V::N {
            let mut words = [v.integer(0); QUADS];
            for q in 0..QUADS {
                words[q] = v.words(&bytemuck::bytes_of(&quads[q])[part * 4 * V::N..]);
            }
            planes_of(v, bits, &words, part, lines);
        }
    }
}

/// Some words of each row.
#[inline(always)]
fn words_of<const MOST: usize>(from: &[&[u8]; ROWS], at: usize, count: usize) -> [[u32; ROWS]; MOST] {
    let mut words = [[0; ROWS]; MOST];
    for r in 0..ROWS {
        let bytes = from[r][at..at + 4 * count].as_chunks::<4>().0;
        for i in 0..count {
            words[i][r] = u32::from_le_bytes(bytes[i]);
        }
    }
    words
}

/// Four codes side by side as bytes.
#[inline(always)]
fn apart<const BITS: usize>(four: u32) -> u32 {
    let mask = (1 << BITS) - 1;
    let mut bytes = four & mask;
    for i in 1..4 {
        bytes |= (four >> (i * BITS) & mask) << (8 * i);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Level,
        tiles::{cpu::lanes::Job, in_panels},
    };

    struct Packed<'a> {
        layout: PanelLayout,
        planes: [&'a [u8]; 3],
        rows: usize,
        panel: &'a mut [u8],
    }

    impl Job for Packed<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Lanes>(self, v: V) {
            pack(v, &self.layout, self.planes, self.rows, 2 * self.layout.span, self.panel);
        }
    }

    #[test]
    fn every_level_packs_the_same_panels() {
        for (dtype, _, layout) in in_panels() {
            for rows in [ROWS, 5] {
                let planes: [Vec<u8>; 3] = std::array::from_fn(|plane| {
                    let bytes = rows * 2 * layout.bytes[plane];
                    (0..bytes).map(|i| (i * i * 31 + i / 7 + plane * 91) as u8).collect()
                });
                let mut first: Option<Vec<u8>> = None;
                for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
                    let mut panel = vec![0xee; layout.panel_bytes(2 * layout.span)];
                    let planes = [&planes[0][..], &planes[1], &planes[2]];
                    level.run(Packed { layout, planes, rows, panel: &mut panel });
                    assert_eq!(&panel, first.get_or_insert(panel.clone()), "{dtype} on {level}");
                }
            }
        }
    }
}
