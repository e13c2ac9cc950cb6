//! At which input of which layer is a transform built, and which of its channels must share a factor?

use crate::config::Config;
use crate::layer::{Input, Layer, Linear};

/// One input of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Of the model.
    pub config: &'a Config,
    /// The layer's weights, not transformed yet.
    pub layer: &'a Layer,
    /// Its number.
    pub index: usize,
    /// Which of its inputs.
    pub input: Input,
}

impl<'a> Place<'a> {
    /// The linear layers that read here.
    pub fn linears(&self) -> Vec<&'a Linear> {
        self.layer.linears(self.input)
    }

    /// Channels.
    pub fn width(&self) -> usize {
        self.input.width(self.config)
    }

    /// Tells all inputs of a model apart.
    pub(crate) fn number(&self) -> u64 {
        (self.index * Input::ALL.len() + self.input as usize) as u64
    }

    /// Joins the values of channels that must share a factor. With grouped queries, the heads of a group read the same
    /// rows of v, into which the factor of `o`'s input goes; at other inputs every channel stands alone.
    pub(crate) fn joined(&self, values: &[f64], join: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut joined: Vec<Option<f64>> = vec![None; values.len() / self.sharers()];
        for (channel, &value) in values.iter().enumerate() {
            let all = &mut joined[self.shared(channel)];
            *all = Some(all.map_or(value, |one| join(one, value)));
        }
        joined.into_iter().map(|all| all.expect("every group has as many channels")).collect()
    }

    /// Gives each channel the factor of those that it shares it with.
    pub(crate) fn spread(&self, factors: &[f64]) -> Vec<f64> {
        (0..self.width()).map(|channel| factors[self.shared(channel)]).collect()
    }

    /// Channels that share a factor.
    fn sharers(&self) -> usize {
        if self.input == Input::Output { self.config.heads / self.config.key_heads } else { 1 }
    }

    /// The factor of a channel; at the input of `o`, the row of v that makes it.
    fn shared(&self, channel: usize) -> usize {
        let width = self.config.head_width;
        channel / (self.sharers() * width) * width + channel % width
    }
}
