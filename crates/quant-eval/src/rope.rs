//! By which angles does a position turn its queries and keys?

use crate::config::{Rope, Scaling};

/// cos and sin of every position and frequency: `positions × head_width/2` each.
#[derive(Clone, Debug)]
pub struct Angles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// Angles of positions 0 … `positions` − 1.
    pub fn new(rope: &Rope, head_width: usize, positions: usize) -> Self {
        let half = head_width / 2;
        // f32 throughout as transformers does, so that far positions turn alike.
        let base = |i: usize| 1.0 / (rope.theta as f32).powf(2.0 * i as f32 / head_width as f32);
        let frequencies: Vec<f32> = (0..half).map(|i| scaled(base(i), i, &rope.scaling)).collect();
        let angle = |at: usize| (at / half) as f32 * frequencies[at % half];
        let cos = (0..positions * half).map(|at| angle(at).cos()).collect();
        let sin = (0..positions * half).map(|at| angle(at).sin()).collect();
        Self { half, cos, sin }
    }

    /// Turns one head at `position`: channels i and i + half are a pair, as Hugging Face lays them out.
    pub fn turn(&self, head: &mut [f32], position: usize) {
        let (low, high) = head.split_at_mut(self.half);
        let at = position * self.half;
        for (i, (a, b)) in low.iter_mut().zip(high).enumerate() {
            let (cos, sin) = (self.cos[at + i], self.sin[at + i]);
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

fn scaled(frequency: f32, index: usize, scaling: &Scaling) -> f32 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear(factor) => frequency / *factor as f32,
        Scaling::Divisors(divisors) => frequency / divisors[index],
        Scaling::Llama3 { factor, low, high, original_context } => {
            let wavelength = std::f64::consts::TAU / f64::from(frequency);
            let ramp = (original_context / wavelength - low) / (high - low);
            let kept = if wavelength < original_context / high {
                1.0
            } else if wavelength > original_context / low {
                0.0
            } else {
                ramp
            };
            (f64::from(frequency) * (kept + (1.0 - kept) / factor)) as f32
        }
    }
}
