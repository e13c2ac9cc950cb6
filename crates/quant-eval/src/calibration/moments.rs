//! Which of a calibration's inputs does the layer with this weight read?

use quant::Error;
use quant::feedback::Moments;
use quant_core::dense::Dense;
use quant_core::error_feedback::{self, Feedback};

use super::Calibration;
use crate::layer::Input;
use crate::weights::LINEARS;

impl Moments for Calibration {
    fn moment(&self, tensor: &str) -> Result<Option<Dense>, Error> {
        match place(tensor) {
            Some((layer, input)) if layer < self.description.layer_count => {
                Ok(Some(self.input(layer, input)?.moment()))
            }
            _ => Ok(None),
        }
    }

    fn feedback(&self, moment: &Dense, damping: f64, activation_order: bool) -> Result<Feedback, Error> {
        Feedback::new(moment, damping, activation_order).map_err(|error| crate::refused(error.to_string()))
    }

    fn output_error(&self, errors: &Dense, moment: &Dense) -> f64 {
        error_feedback::output_error(errors, moment)
    }

    fn fingerprint(&self) -> String {
        let tokens: Vec<u8> = self.description.tokens().iter().flat_map(|t| t.to_le_bytes()).collect();
        let Self { description, .. } = self;
        // FNV-1a (Fowler, Noll and Vo): enough to tell one list of tokens from another.
        let hash =
            tokens.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        format!(
            "{} tokens {hash:016x} in windows of {} on {}",
            description.tokens().len(),
            description.context(),
            description.model
        )
    }
}

/// Layer and input of a linear layer, by the name that its weight has in a Hugging Face folder or a GGUF file.
fn place(tensor: &str) -> Option<(usize, Input)> {
    let rest = tensor.strip_prefix("model.layers.").or_else(|| tensor.strip_prefix("blk."))?;
    let (layer, linear) = rest.strip_suffix(".weight")?.split_once('.')?;
    let which = LINEARS.iter().position(|(_, hugging_face, gguf)| [*hugging_face, *gguf].contains(&linear))?;
    let input = match which {
        0..=2 => Input::Attention,
        3 => Input::Output,
        4 | 5 => Input::FeedForward,
        _ => Input::Down,
    };
    Some((layer.parse().ok()?, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_lead_to_the_input_they_read() {
        assert_eq!(place("model.layers.12.self_attn.k_proj.weight"), Some((12, Input::Attention)));
        assert_eq!(place("blk.3.attn_output.weight"), Some((3, Input::Output)));
        assert_eq!(place("model.layers.0.mlp.up_proj.weight"), Some((0, Input::FeedForward)));
        assert_eq!(place("blk.29.ffn_down.weight"), Some((29, Input::Down)));
        for other in
            ["lm_head.weight", "blk.1.attn_norm.weight", "model.layers.x.mlp.up_proj.weight", "blk.1.ffn_up.bias"]
        {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
