//! What does a model compute, and what does quantization change in it?
//!
//! A forward pass of Llama-family decoders on the processor, layer by layer, so that one layer's weights are in memory at
//! a time. Every linear input can be tapped: [`calibration`] accumulates second moments there, [`mod@analyze`] explains and
//! predicts the error of each linear layer, [`perplexity`] measures what is left of the model, and [`mod@fold`] writes a
//! checkpoint with transforms folded in.
//!
//! ```no_run
//! use quant_eval::{model::Model, perplexity, text};
//! # fn main() -> Result<(), quant::Error> {
//! let model = Model::open("model".as_ref())?;
//! let tokens = text::Tokenizer::of(&model, None)?.encode_file("text.txt".as_ref())?;
//! let windows = text::Windows::new(&tokens, 512, 512, None)?;
//! let plan = perplexity::Plan::full_precision();
//! let score = perplexity::evaluate(&model, &windows, &plan, &mut |_, _| ())?;
//! println!("perplexity {:.3}", score.perplexity());
//! # Ok(()) }
//! ```

pub mod analyze;
pub mod calibration;
pub mod config;
mod fingerprint;
pub mod fold;
pub mod layer;
pub mod method;
pub mod model;
pub mod online;
mod ops;
pub mod perplexity;
pub mod place;
mod rope;
mod tensors;
pub mod text;
mod unfinished;
mod weights;

use std::path::Path;

/// Refuses input with a message that says why.
fn refused(message: impl Into<String>) -> quant::Error {
    quant::Error::Refused(message.into())
}

/// For `map_err`: an I/O failure of `action` on `path`.
fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> quant::Error {
    let path = path.to_owned();
    move |source| quant::Error::Io { action, path, source }
}
