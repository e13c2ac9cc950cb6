//! One decoder layer: attention and a gated feed-forward block, with a tap at every linear input.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rayon::prelude::*;

use crate::config::Config;
use crate::ops;
use crate::rope::Angles;

/// The four places where linear layers read; layers that read at one place share its transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// After the first norm: q, k and v.
    Attention,
    /// After attention: o.
    Output,
    /// After the second norm: gate and up.
    FeedForward,
    /// Between: down.
    Down,
}

impl Input {
    /// All four, in the order of the computation.
    pub const ALL: [Self; 4] = [Self::Attention, Self::Output, Self::FeedForward, Self::Down];

    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Output => "output",
            Self::FeedForward => "feed_forward",
            Self::Down => "down",
        }
    }

    /// Its channels.
    pub fn width(self, config: &Config) -> usize {
        match self {
            Self::Attention | Self::FeedForward => config.hidden,
            Self::Output => config.heads * config.head_width,
            Self::Down => config.feed_forward,
        }
    }
}

/// One linear layer y = W x + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `q_proj`, `gate_proj`, …
    pub name: &'static str,
    /// W, row-major `outputs × inputs`.
    pub weight: Vec<f32>,
    /// Channels of x.
    pub inputs: usize,
    /// b, if any.
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    /// Channels of y.
    pub fn outputs(&self) -> usize {
        self.weight.len() / self.inputs
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut y = ops::product(x, &self.weight, self.inputs);
        if let Some(bias) = &self.bias {
            ops::add_bias(&mut y, bias);
        }
        y
    }
}

/// The weights of one layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Gain of the norm before attention.
    pub attention_norm: Vec<f32>,
    /// Gain of the norm before the feed-forward block.
    pub feed_forward_norm: Vec<f32>,
    /// q, k, v.
    pub attention: [Linear; 3],
    /// o.
    pub output: Linear,
    /// gate, up.
    pub feed_forward: [Linear; 2],
    /// down.
    pub down: Linear,
    /// Gains of the norms of each query and key head, if any (Qwen3).
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// Tokens that a token can look back at, itself included; none for all.
    pub sliding_window: Option<usize>,
}

impl Layer {
    /// The linear layers that read at `input`.
    pub fn linears(&self, input: Input) -> Vec<&Linear> {
        match input {
            Input::Attention => self.attention.iter().collect(),
            Input::Output => vec![&self.output],
            Input::FeedForward => self.feed_forward.iter().collect(),
            Input::Down => vec![&self.down],
        }
    }

    /// The same, to be changed.
    pub fn linears_mut(&mut self, input: Input) -> Vec<&mut Linear> {
        match input {
            Input::Attention => self.attention.iter_mut().collect(),
            Input::Output => vec![&mut self.output],
            Input::FeedForward => self.feed_forward.iter_mut().collect(),
            Input::Down => vec![&mut self.down],
        }
    }

    /// Replaces the residual stream of whole windows of `window` tokens. `tap` sees, and may change, what each group of
    /// linear layers reads.
    pub fn forward(
        &self,
        config: &Config,
        angles: &Angles,
        hidden: &mut [f32],
        window: usize,
        tap: &mut dyn FnMut(Input, &mut [f32]),
    ) {
        let mut x = hidden.to_vec();
        ops::rms_norm(&mut x, &self.attention_norm, config.norm_epsilon);
        tap(Input::Attention, &mut x);
        let [mut q, mut k, v] = [0, 1, 2].map(|i| self.attention[i].forward(&x));
        if let Some([q_norm, k_norm]) = &self.head_norms {
            ops::rms_norm(&mut q, q_norm, config.norm_epsilon);
            ops::rms_norm(&mut k, k_norm, config.norm_epsilon);
        }
        turn(&mut q, config.heads, config.head_width, window, angles);
        turn(&mut k, config.key_heads, config.head_width, window, angles);
        let mut x = attend(config, self.sliding_window, [&q, &k, &v], window);
        tap(Input::Output, &mut x);
        ops::add(hidden, &self.output.forward(&x));

        let mut x = hidden.to_vec();
        ops::rms_norm(&mut x, &self.feed_forward_norm, config.norm_epsilon);
        tap(Input::FeedForward, &mut x);
        let mut gate = self.feed_forward[0].forward(&x);
        ops::gate(&mut gate, &self.feed_forward[1].forward(&x));
        tap(Input::Down, &mut gate);
        ops::add(hidden, &self.down.forward(&gate));
    }
}

fn turn(rows: &mut [f32], heads: usize, head_width: usize, window: usize, angles: &Angles) {
    rows.par_chunks_exact_mut(heads * head_width).enumerate().for_each(|(token, row)| {
        row.chunks_exact_mut(head_width).for_each(|head| angles.turn(head, token % window));
    });
}

/// Causal attention within each window; query heads in groups share a key head.
fn attend(config: &Config, span: Option<usize>, [q, k, v]: [&[f32]; 3], window: usize) -> Vec<f32> {
    let (width, heads) = (config.head_width, config.heads);
    let (q_width, k_width) = (heads * width, config.key_heads * width);
    let mut out = vec![0.0; q.len()];
    out.par_chunks_mut(window * q_width).enumerate().for_each(|(index, out)| {
        let of = |row_width: usize| index * window * row_width..(index + 1) * window * row_width;
        let (q, k, v) = (&q[of(q_width)], &k[of(k_width)], &v[of(k_width)]);
        let head = |h: usize| attend_head(config, span, (q, q_width), (k, v, k_width), h, window);
        let mixed: Vec<Mat<f32>> = (0..heads).into_par_iter().map(head).collect();
        for (token, row) in out.chunks_exact_mut(q_width).enumerate() {
            for (h, mixed) in row.chunks_exact_mut(width).zip(&mixed) {
                h.iter_mut().enumerate().for_each(|(i, x)| *x = mixed[(token, i)]);
            }
        }
    });
    out
}

fn attend_head(
    config: &Config,
    span: Option<usize>,
    (q, q_width): (&[f32], usize),
    (k, v, k_width): (&[f32], &[f32], usize),
    head: usize,
    window: usize,
) -> Mat<f32> {
    let width = config.head_width;
    let key_head = head / (config.heads / config.key_heads);
    let queries = ops::columns(q, q_width, head * width, width);
    let keys = ops::columns(k, k_width, key_head * width, width);
    let values = ops::columns(v, k_width, key_head * width, width);
    // Transposed, so that the scores of one query lie side by side.
    let mut scores = Mat::<f32>::zeros(window, window);
    let scale = 1.0 / (width as f32).sqrt();
    matmul(scores.as_mut(), Accum::Replace, keys, queries.transpose(), scale, Par::Seq);
    for (token, column) in scores.col_iter_mut().enumerate() {
        let column = column.try_as_col_major_mut().expect("a new matrix is column-major").as_slice_mut();
        let first = span.map_or(0, |span| (token + 1).saturating_sub(span));
        column[..first].fill(0.0);
        column[token + 1..].fill(0.0);
        ops::softmax(&mut column[first..=token]);
    }
    let mut out = Mat::zeros(window, width);
    matmul(out.as_mut(), Accum::Replace, scores.transpose(), values, 1.0, Par::Seq);
    out
}
