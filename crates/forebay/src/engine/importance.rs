//! Which columns of a model's matrices count most: the model is run over a text, and the squares of what they meet are summed.
//!
//! It holds no text and writes no file. Next rooms: `generate::step` for how weights are watched, `quantize::Sums` for the file.

use std::ops::ControlFlow;

use super::Engine;
use crate::{
    error::{Error, Result},
    generate::step::{Sequence, SequenceOptions},
    quantize::Sums,
};

/// Tokens whose rows are held at a time.
const ROWS: usize = 64;

/// How [`Engine::importance`] goes through a text.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use forebay::{Engine, ImportanceOptions};
///
/// let engine = Engine::open("model.gguf")?;
/// let ids = engine.tokenizer().encode(&std::fs::read_to_string("text.txt")?, true)?;
/// let (sums, pieces) = engine.importance(&ids, &ImportanceOptions::default(), |_, _| ControlFlow::Continue(()))?;
/// sums.write("model.imatrix.gguf", "text.txt", [pieces as u32, 512])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ImportanceOptions {
    /// Tokens of a piece of the text; each is begun anew.
    pub piece: usize,
    /// The most pieces to look at.
    pub most: Option<usize>,
    /// Looks at the output too, which is better off when all of its columns count the same.
    pub output: bool,
}

impl Default for ImportanceOptions {
    fn default() -> Self {
        Self { piece: 512, most: None, output: false }
    }
}

impl Engine {
    /// Runs a text and sums up the squares of what each matrix of the model is multiplied with. The text is cut into pieces, and
    /// what is left behind the last whole one does not count. `watch` is told how many pieces of how many are done, and may break
    /// off; what was seen by then is given, and of how many pieces it is.
    ///
    /// # Errors
    /// [`Error::Option`] for pieces of no token, [`Error::EmptyPrompt`] where there is no whole piece, and those of running the model.
    pub fn importance(
        &self,
        ids: &[u32],
        options: &ImportanceOptions,
        mut watch: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(Sums, usize)> {
        if options.piece == 0 {
            return Err(Error::Option { name: "piece", wanted: "at least 1".to_owned() });
        }
        let pieces = (ids.len() / options.piece).min(options.most.unwrap_or(usize::MAX));
        if pieces == 0 {
            return Err(Error::EmptyPrompt);
        }
        let begin = self.tokenizer.encode("", true)?.first().copied();
        let mut sums = Sums::default();
        let mut sequence = self.watched(options)?;
        for (number, piece) in ids.chunks_exact(options.piece).take(pieces).enumerate() {
            if watch(number, pieces).is_break() {
                return Ok((sums, number));
            }
            let mut piece = piece.to_vec();
            // A piece begins as a text does, where the model has a token for that.
            piece[0] = begin.unwrap_or(piece[0]);
            sequence.roll_back(0)?;
            sequence.feed_witnessed(&piece, |seen| {
                let counts = seen.name.starts_with("blk.") || options.output;
                match counts {
                    true => sums.add(seen.name, seen.width, seen.rows, seen.experts, seen.ids),
                    false => Ok(()),
                }
            })?;
        }
        // There is nothing left to break off.
        let _ = watch(pieces, pieces);
        Ok((sums, pieces))
    }

    fn watched(&self, options: &ImportanceOptions) -> Result<Sequence> {
        let chunk = options.piece.min(ROWS);
        let (context, all_logits) = (options.piece, options.output);
        self.sequence_with(&SequenceOptions { context, chunk, all_logits, ..self.sequence_options() })
    }
}
