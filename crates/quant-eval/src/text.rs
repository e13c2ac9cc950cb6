//! Which tokens does a text become, and in which windows are they read?

use std::path::{Path, PathBuf};

use quant::Error;

use crate::model::Model;
use crate::{io, refused};

/// A tokenizer of the `tokenizers` library.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
}

impl Tokenizer {
    /// The `tokenizer.json` at `path`, or the one beside the model.
    pub fn of(model: &Model, path: Option<&Path>) -> Result<Self, Error> {
        let place = model.checkpoint().checkpoint().path();
        let folder = if place.is_dir() { place } else { place.parent().unwrap_or(Path::new(".")) };
        let path = path.map_or_else(|| folder.join("tokenizer.json"), Path::to_owned);
        if !path.is_file() {
            let path = path.display();
            return Err(refused(format!("{path}: no such file; name the model's tokenizer.json with --tokenizer")));
        }
        let refuse = |error: tokenizers::Error| refused(format!("{}: not a tokenizer: {error}", path.display()));
        let mut inner = tokenizers::Tokenizer::from_file(&path).map_err(refuse)?;
        // Saved with a model that was tuned on short texts, it would cut ours short without a word.
        inner.with_truncation(None).map_err(refuse)?;
        inner.with_padding(None);
        Ok(Self { inner, path })
    }

    /// The tokens of a text, no special token added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let refuse = |error: tokenizers::Error| refused(format!("{}: {error}", self.path.display()));
        Ok(self.inner.encode(text, false).map_err(refuse)?.get_ids().to_vec())
    }

    /// The tokens of a UTF-8 file.
    pub fn encode_file(&self, path: &Path) -> Result<Vec<u32>, Error> {
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            refused(format!("{}: byte {at} is not UTF-8; a plain text file is needed", path.display()))
        })?;
        self.encode(&text)
    }
}

/// Windows of equal length over a run of tokens, each `stride` tokens after the one before. Tokens that do not fill a
/// window are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    context: usize,
    stride: usize,
    tokens: Vec<u32>,
    count: usize,
}

impl Windows {
    /// Windows of `context` tokens; at most `most` of them.
    pub fn new(tokens: &[u32], context: usize, stride: usize, most: Option<usize>) -> Result<Self, Error> {
        if context < 2 {
            return Err(refused(format!("a context of {context} tokens; at least 2 are needed to predict one")));
        }
        if !(1..=context).contains(&stride) {
            return Err(refused(format!("a stride of {stride} tokens; 1 to the context of {context} expected")));
        }
        let fitting = if tokens.len() < context { 0 } else { (tokens.len() - context) / stride + 1 };
        let count = most.map_or(fitting, |most| most.min(fitting));
        if count == 0 {
            let found = tokens.len();
            return Err(refused(format!("the text has {found} tokens; a window of {context} does not fit")));
        }
        let used = (count - 1) * stride + context;
        Ok(Self { context, stride, tokens: tokens[..used].to_vec(), count })
    }

    /// Tokens of a window.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens between the starts of two windows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of windows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The windows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.count).map(|i| &self.tokens[i * self.stride..][..self.context])
    }

    /// All windows one after the other, overlaps repeated.
    pub fn concat(&self) -> Vec<u32> {
        self.iter().flatten().copied().collect()
    }

    /// Whether the token at `place` (1 or more) of window `index` is scored: all of the first window, and of a later one
    /// what the window before did not predict.
    pub fn is_scored(&self, index: usize, place: usize) -> bool {
        place >= 1 && (index == 0 || self.stride == self.context || place >= self.context - self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_scored_once_with_overlaps_and_first_ones_never() {
        let tokens: Vec<u32> = (0..23).collect();
        for (context, stride) in [(8, 8), (8, 4), (8, 1), (8, 7)] {
            let windows = Windows::new(&tokens, context, stride, None).unwrap();
            let mut scored = Vec::new();
            for (index, window) in windows.iter().enumerate() {
                scored.extend((1..context).filter(|p| windows.is_scored(index, *p)).map(|p| window[p]));
            }
            let mut once = scored.clone();
            once.dedup();
            assert_eq!(once, scored, "context {context}, stride {stride}");
            if stride < context {
                let last = (windows.count() - 1) * stride + context;
                assert_eq!(scored, (1..last as u32).collect::<Vec<_>>(), "context {context}, stride {stride}");
            }
        }
        assert_eq!(Windows::new(&tokens, 8, 8, Some(1)).unwrap().concat(), tokens[..8]);
        assert!(Windows::new(&tokens, 24, 24, None).is_err() && Windows::new(&tokens, 8, 9, None).is_err());
    }
}
