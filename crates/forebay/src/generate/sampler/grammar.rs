//! Texts that follow a grammar: a link of the chain that leaves out every token that no text of the grammar goes on with.
//!
//! What may follow is found by llguidance, from the bytes of all tokens at once. The grammar begins where the link is asked for the
//! first time; after a way back to before that it begins anew.

use std::sync::Arc;

use llguidance::{
    Matcher, ParserFactory,
    api::TopLevelGrammar,
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};

use super::{Candidates, LogitsProcessor, Step, gbnf};
use crate::{
    error::{Error, Result},
    generate::tokenizer::Tokenizer,
};

/// Leaves out what no text of a grammar goes on with; when such a text is whole, only what ends it is left.
///
/// ```no_run
/// use forebay::{Engine, generate::{sampler::{Chain, Grammar}, stop::StopRule}};
///
/// let engine = Engine::open("model.gguf")?;
/// let schema = r#"{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}"#;
/// let chain = Chain::new(1).with(Grammar::json_schema(engine.tokenizer(), schema)?);
/// let prompt = engine.tokenizer().encode("The capital of France as JSON: ", true)?;
/// for piece in engine.generate_from(&prompt, StopRule::after(64), Box::new(chain))? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct Grammar {
    matcher: Matcher,
    /// Length of the text where the grammar begins, and how far it has been followed.
    followed: Option<[usize; 2]>,
}

impl Grammar {
    /// The grammar of all JSON that fits a JSON schema.
    ///
    /// # Errors
    /// [`Error::Grammar`] where the schema cannot be read or uses what is not known.
    pub fn json_schema(tokenizer: &Tokenizer, schema: &str) -> Result<Self> {
        let schema = serde_json::from_str(schema).map_err(|error| failed(&error))?;
        Self::new(tokenizer, TopLevelGrammar::from_json_schema(schema))
    }

    /// A grammar in the notation of Lark, as llguidance has it: rules and terminals, the first of which is `start`.
    ///
    /// ```no_run
    /// # fn example(engine: &forebay::Engine) -> forebay::Result<()> {
    /// use forebay::generate::sampler::Grammar;
    ///
    /// let grammar = Grammar::lark(engine.tokenizer(), r#"start: "yes" | "no" | /[0-9]{1,3}/ " times""#)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Grammar`] where it cannot be read.
    pub fn lark(tokenizer: &Tokenizer, grammar: &str) -> Result<Self> {
        Self::new(tokenizer, TopLevelGrammar::from_lark(grammar.to_owned()))
    }

    /// A grammar in the notation of GBNF, as llama.cpp has it: rules, of which `root` is the whole text.
    ///
    /// What is drawn is always a text of the grammar. Rules that lead back to themselves are followed terminal by terminal, the longest
    /// each time: where they leave open which terminal it is that characters belong to, some texts are never drawn.
    ///
    /// ```no_run
    /// # fn example(engine: &forebay::Engine) -> forebay::Result<()> {
    /// use forebay::generate::sampler::Grammar;
    ///
    /// let grammar = Grammar::gbnf(engine.tokenizer(), r#"root ::= "yes" | "no" | [0-9]{1,3} " times""#)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Grammar`] with line and column where it cannot be read.
    pub fn gbnf(tokenizer: &Tokenizer, grammar: &str) -> Result<Self> {
        Self::lark(tokenizer, &gbnf::to_lark(grammar)?)
    }

    /// Whether a text is meant to be a grammar in the notation of GBNF and not of Lark: its first rule is written with `::=`.
    pub fn is_gbnf(grammar: &str) -> bool {
        gbnf::is_meant(grammar)
    }

    fn new(tokenizer: &Tokenizer, grammar: TopLevelGrammar) -> Result<Self> {
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie(tokenizer)?));
        let mut factory = ParserFactory::new_simple(&tokens).map_err(|error| failed(&*error))?;
        let parser = factory.quiet().create_parser(grammar).map_err(|error| failed(&*error))?;
        Ok(Self { matcher: Matcher::new(Ok(parser)), followed: None })
    }
}

impl LogitsProcessor for Grammar {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step<'_>) -> Result<()> {
        let len = step.past.len();
        let [begin, to] = match self.followed {
            Some([begin, to]) if to <= len => [begin, to],
            // The text was rolled back: what is left of it is followed again.
            Some([begin, _]) => {
                self.matcher.reset().map_err(|error| failed(&*error))?;
                [begin.min(len); 2]
            }
            None => [len; 2],
        };
        for &id in &step.past[to..] {
            if !self.matcher.is_stopped() {
                self.matcher.consume_token(id).map_err(|error| failed(&*error))?;
            }
        }
        self.followed = Some([begin, len]);
        let allowed = self.matcher.compute_mask_or_eos().map_err(|error| failed(&*error))?;
        // Logits may have more rows than the vocabulary has tokens.
        candidates
            .retain(|candidate| (candidate.id as usize) < allowed.len() && allowed.is_allowed(candidate.id));
        Ok(())
    }
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").field("followed", &self.followed).finish_non_exhaustive()
    }
}

/// All tokens by their bytes. Control tokens are marked, so that no text is mistaken for one.
fn trie(tokenizer: &Tokenizer) -> Result<TokTrie> {
    let mut words = Vec::with_capacity(tokenizer.size());
    for id in 0..tokenizer.size() as u32 {
        let mut word = Vec::new();
        if tokenizer.is_control(id) {
            word.push(TokTrie::SPECIAL_TOKEN_MARKER);
            word.extend_from_slice(tokenizer.text(id)?);
        } else {
            word = tokenizer.bytes(id)?;
        }
        words.push(word);
    }
    let specials = tokenizer.specials();
    let known = |id: &u32| (*id as usize) < words.len();
    let mut ends: Vec<u32> = specials.eos.iter().chain(&specials.ends).copied().filter(known).collect();
    ends.dedup();
    let Some(&end) = ends.first() else {
        let detail = "the vocabulary has no token that ends a text".to_owned();
        return Err(Error::Grammar { detail });
    };
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
    Ok(trie.with_eos_tokens(&ends))
}

fn failed<E: std::fmt::Display + ?Sized>(error: &E) -> Error {
    let detail = error.to_string();
    Error::Grammar { detail: detail.lines().next().unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        formats::gguf::{Gguf, builder::Builder},
        generate::sampler::Chain,
    };

    /// What a keyboard has, and some words.
    fn tokenizer() -> Tokenizer {
        let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
        let keys = (0x21u8..0x7f).map(|key| char::from(key).to_string());
        let words = ["\u{2581}", "{\"", "\":", "name", "\",", "tru", "\n", "é"].map(str::to_owned);
        let texts: Vec<String> = special.into_iter().chain(keys).chain(words).collect();
        let kinds: Vec<i32> = (0..texts.len()).map(|id| [2, 3, 3].get(id).copied().unwrap_or(1)).collect();
        let file = Builder::new()
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &texts)
            .f32s("tokenizer.ggml.scores", &vec![-1.0; texts.len()])
            .i32s("tokenizer.ggml.token_type", &kinds)
            .bytes();
        Tokenizer::from_gguf(Gguf::parse("t.gguf", &file).unwrap().metadata()).unwrap()
    }

    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["cat", "dog"]},
            "owned": {"type": "boolean"}
        },
        "required": ["name", "age", "kind", "owned"],
        "additionalProperties": false
    }"#;

    #[test]
    fn whatever_is_drawn_fits_the_schema() {
        let tokenizer = tokenizer();
        for seed in 0..4 {
            let mut chain = Chain::new(seed).with(Grammar::json_schema(&tokenizer, SCHEMA).unwrap());
            // All tokens are as likely as each other, and there are more logits than tokens.
            let logits = vec![0.0; tokenizer.size() + 5];
            let mut ids = vec![1, 40];
            loop {
                let id = chain.choose(&logits, &ids).unwrap();
                if tokenizer.is_end(id) {
                    break;
                }
                ids.push(id);
                assert!(ids.len() < 2000);
            }
            let text = tokenizer.decode(&ids[2..], false).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 4, "{text}");
            assert!(value["name"].as_str().unwrap().chars().count() <= 8, "{text}");
            assert!(value["age"].as_u64().unwrap() <= 150 && value["owned"].is_boolean(), "{text}");
            assert!(value["kind"] == "cat" || value["kind"] == "dog", "{text}");
            // After a way back the grammar is followed from where it began.
            let back = chain.choose(&logits, &ids[..5]).unwrap();
            assert_eq!(back, ids[5], "{text}");
        }
    }

    #[test]
    fn whatever_is_drawn_is_a_text_of_the_grammar() {
        let tokenizer = tokenizer();
        let source = "start: \"{\" (word \",\")* word \"}\"\nword: /[a-c]{2,4}/ | \"true\"\n";
        let logits = vec![0.0; tokenizer.size()];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..8 {
            let mut chain = Chain::new(seed).with(Grammar::lark(&tokenizer, source).unwrap());
            let mut ids = vec![1];
            loop {
                let id = chain.choose(&logits, &ids).unwrap();
                if tokenizer.is_end(id) {
                    break;
                }
                ids.push(id);
                assert!(ids.len() < 2000);
            }
            let text = tokenizer.decode(&ids[1..], false).unwrap();
            let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap();
            for word in inner.split(',') {
                let letters =
                    (2..=4).contains(&word.len()) && word.bytes().all(|b| (b'a'..=b'c').contains(&b));
                assert!(letters || word == "true", "{text}");
            }
            seen.insert(text);
        }
        assert!(seen.len() > 4, "{seen:?}");
        for (source, named) in [("begin: \"a\"", "start"), ("start: missing", "missing"), ("start: [", "")] {
            let error = Grammar::lark(&tokenizer, source).unwrap_err().to_string();
            assert!(
                error.starts_with("the grammar cannot be followed: ") && error.contains(named),
                "{error}"
            );
            assert!(!error.contains('\n'));
        }
    }

    /// Whether a text is one of a grammar, followed byte by byte.
    fn accepts(tokenizer: &Tokenizer, source: &str, text: &str) -> bool {
        let mut matcher = Grammar::gbnf(tokenizer, source).unwrap().matcher;
        let ids: Vec<u32> =
            text.chars().map(|c| tokenizer.encode(&c.to_string(), false).unwrap()[1]).collect();
        let followed = ids.iter().all(|id| {
            let fits = matcher.compute_mask().unwrap().is_allowed(*id);
            fits && matcher.consume_token(*id).is_ok()
        });
        followed && matcher.is_accepting().unwrap()
    }

    #[test]
    fn a_text_is_of_a_gbnf_grammar_or_not() {
        let tokenizer = tokenizer();
        // The grammar of JSON as people have it, with rules that lead back to each other and space that leads back to itself.
        let json = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | "\n" | "\n" [ \t]{0,20}
"#;
        let words = "root ::= [a-z]+ \"abc\" end?\nend ::= \"!\" end | \"?\"";
        let sums = "root ::= sum\nsum ::= product ((\"+\" | \"-\") product)*\nproduct ::= \"(\" sum \")\" | [0-9]+ (\".\" [0-9]{2})?";
        for (source, text, wanted) in [
            (json, "{}", true),
            (json, r#"{"a":[1,-2.5e3,{"b":null}],"c\"d":"x\u00e9"}"#, true),
            (json, "{\n\"a\":true}", true),
            (json, "[1]", false),
            (json, r#"{"a":[1}"#, false),
            (json, r#"{"a":01}"#, false),
            (json, r#"{"a":1"#, false),
            (words, "abc", false),
            (words, "abababcabc", true),
            (words, "xabcabc!!?", true),
            (words, "xabcab", false),
            (words, "xabc!", false),
            (sums, "1+(2-30.25)-((4))", true),
            (sums, "1+(2-3", false),
            (sums, "1.5", false),
            (sums, "1+", false),
        ] {
            assert_eq!(accepts(&tokenizer, source, text), wanted, "{text}");
        }
        let error = Grammar::gbnf(&tokenizer, "root ::= \"a").unwrap_err().to_string();
        assert!(error.contains("cannot be followed: line 1, column 12: "), "{error}");
    }

    #[test]
    fn schemas_that_cannot_be_are_refused() {
        let tokenizer = tokenizer();
        for (schema, named) in [("{", "EOF"), (r#"{"type": "no such type"}"#, "type")] {
            let error = Grammar::json_schema(&tokenizer, schema).unwrap_err().to_string();
            assert!(
                error.starts_with("the grammar cannot be followed: ") && error.contains(named),
                "{error}"
            );
        }
    }
}
