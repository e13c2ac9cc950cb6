//! Which tensors are quantized: patterns over names.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use crate::error::Error;

/// Tensors left dense unless `--skip` says otherwise: embeddings, norms, heads, routers, biases, convolutions and the
/// state matrices of state-space models. Their errors cost more than their bits save, or they are no matrices at all.
pub const SKIP_DEFAULTS: [&str; 21] = [
    "*embed*",
    "*embd*",
    "*wte*",
    "*wpe*",
    "*shared.weight",
    "*position*",
    "*rotary*",
    "lm_head*",
    "*.lm_head*",
    "output.weight",
    "score.*",
    "classifier.*",
    "*norm*",
    "*.ln_*",
    "ln_*",
    "*router*",
    "*.gate.weight",
    "*ffn_gate_inp*",
    "*bias",
    "*conv1d*",
    "*A_log",
];

/// One pattern: a glob over the whole name in which `*` also crosses dots, a module name that stands for everything
/// below it, or `re:` and a regular expression that may match anywhere.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Glob(GlobMatcher),
    Module(String),
    Regex(Regex),
}

impl Pattern {
    /// Parses a pattern.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refused = |why: String| Error::refused(format!("pattern \"{text}\": {why}"));
        let matcher = if let Some(expression) = text.strip_prefix("re:") {
            Matcher::Regex(Regex::new(expression).map_err(|e| refused(one_line(&e.to_string())))?)
        } else if text.contains(['*', '?', '[', '{']) {
            let glob = GlobBuilder::new(text).literal_separator(false).build();
            Matcher::Glob(glob.map_err(|e| refused(e.kind().to_string()))?.compile_matcher())
        } else if text.is_empty() {
            return Err(refused("it is empty".into()));
        } else {
            Matcher::Module(text.to_owned())
        };
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// The pattern as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the tensor called `name` is meant.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Glob(glob) => glob.is_match(name),
            Matcher::Regex(regex) => regex.is_match(name),
            Matcher::Module(module) => {
                name.strip_prefix(module.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        }
    }
}

/// The last line of a message, which says what is wrong; the ones before draw an arrow.
fn one_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

/// The patterns of a run.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only these; all when empty.
    pub include: Vec<Pattern>,
    /// Never these.
    pub exclude: Vec<Pattern>,
    /// Left dense: [`SKIP_DEFAULTS`] or the caller's own.
    pub skip: Vec<Pattern>,
    /// Whether `skip` is the caller's own, so that a pattern that matches nothing is an error.
    pub skip_is_explicit: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self::new(&[], &[], None).expect("the default patterns are valid")
    }
}

impl Selection {
    /// Parses patterns; `skip` replaces the defaults, and the single word `none` leaves nothing to skip.
    pub fn new(include: &[String], exclude: &[String], skip: Option<&[String]>) -> Result<Self, Error> {
        let parse = |texts: &[String]| texts.iter().map(|t| Pattern::new(t)).collect::<Result<Vec<_>, _>>();
        let skipped = match skip {
            None => SKIP_DEFAULTS.iter().map(|t| Pattern::new(t)).collect::<Result<_, _>>()?,
            Some([only]) if only == "none" => Vec::new(),
            Some(texts) => parse(texts)?,
        };
        Ok(Self { include: parse(include)?, exclude: parse(exclude)?, skip: skipped, skip_is_explicit: skip.is_some() })
    }

    /// Why the tensor called `name` is left dense, or `None` when it is selected.
    pub fn reason_to_skip(&self, name: &str) -> Option<String> {
        if !self.include.is_empty() && !self.include.iter().any(|p| p.matches(name)) {
            return Some("not included".into());
        }
        let found = |patterns: &[Pattern], word: &str| {
            patterns.iter().find(|p| p.matches(name)).map(|p| format!("{word} {}", p.text()))
        };
        found(&self.exclude, "excluded by").or_else(|| found(&self.skip, "skipped by"))
    }

    /// Refuses patterns that the caller gave and that match none of `names`: most likely a slip of the pen.
    pub fn check_used<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), Error> {
        let skip = if self.skip_is_explicit { self.skip.as_slice() } else { &[] };
        for (flag, patterns) in [("--include", &self.include[..]), ("--exclude", &self.exclude), ("--skip", skip)] {
            for pattern in patterns {
                if !names.clone().any(|name| pattern.matches(name)) {
                    let example = names.clone().next().unwrap_or("none at all");
                    return Err(Error::refused(format!(
                        "{flag} \"{}\" matches no tensor; names look like \"{example}\"",
                        pattern.text()
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn globs_cross_dots_and_plain_names_are_modules() {
        assert!(matches("*q_proj*", "model.layers.0.self_attn.q_proj.weight"));
        assert!(matches("model.layers.1", "model.layers.1.mlp.up_proj.weight"));
        assert!(!matches("model.layers.1", "model.layers.11.mlp.up_proj.weight"));
        assert!(matches("re:layers\\.[0-3]\\.", "model.layers.2.mlp.up_proj.weight"));
        assert!(Pattern::new("re:(").is_err() && Pattern::new("[").is_err() && Pattern::new("").is_err());
    }

    #[test]
    fn defaults_leave_linears_and_skip_the_rest() {
        let selection = Selection::default();
        let kept = ["model.layers.0.mlp.gate_proj.weight", "blk.3.ffn_gate.weight", "h.0.attn.c_attn.weight", "w"];
        for name in kept {
            assert_eq!(selection.reason_to_skip(name), None, "{name}");
        }
        let skipped = [
            "model.embed_tokens.weight",
            "token_embd.weight",
            "lm_head.weight",
            "output.weight",
            "model.layers.0.input_layernorm.weight",
            "h.0.ln_1.weight",
            "transformer.wte.weight",
            "model.layers.0.mlp.gate.weight",
            "blk.0.ffn_gate_inp.weight",
            "blk.0.attn_norm.weight",
        ];
        for name in skipped {
            assert!(selection.reason_to_skip(name).is_some(), "{name}");
        }
    }

    #[test]
    fn an_unused_pattern_is_refused() {
        let selection = Selection::new(&["*q_porj*".into()], &[], None).unwrap();
        let error = selection.check_used(["a.q_proj.weight"].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "--include \"*q_porj*\" matches no tensor; names look like \"a.q_proj.weight\"");
    }
}
