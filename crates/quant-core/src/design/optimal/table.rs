//! Layers between so few boundaries that the gain of every cell is computed once, for all of them.
//!
//! A layer needs n²/2 gains of n boundaries when nothing is known of its borders, and there are two layers per border:
//! with the quotients in a table each is one subtraction and one minimum, in a loop without a branch, which is less than
//! what the fewer quotients of [`super::layer`] take.

use super::layer::FillLayer;
use super::rounded::{LANES, Sums};
use super::scratch::Tools;

/// Tables of up to this many elements, 21 kB of which half is read, within a first-level cache.
const TABLED_MAX: usize = 64;

/// The gain of every cell: 0 of an empty one, and −∞ where there is none.
#[derive(Debug)]
pub struct Gains<'a> {
    /// For each start, for each end; room for a vector behind.
    gains: &'a [f32],
    /// How many ends there are for a start.
    stride: usize,
}

impl<'a> Gains<'a> {
    /// Where boundaries are few enough.
    #[inline(always)]
    pub fn of_few(sums: Sums<'_>, tools: Tools<'a, impl FillLayer>) -> Option<Self> {
        let count = sums.boundary_count();
        if count > TABLED_MAX + 1 {
            return None;
        }
        let stride = count.next_multiple_of(LANES);
        let gains = tools.scratch.alloc_slice_fill_copy(count * stride + LANES, f32::NEG_INFINITY);
        tools.fill.gains(sums, (count, stride), gains);
        Some(Self { gains, stride })
    }

    /// The least costs of `count` boundaries from `low` on, from the costs `from` of boundaries `from_low`, …; `to` has
    /// room for `LANES` more, which are overwritten.
    #[inline(always)]
    pub fn fill(&self, (from, from_low): (&[f32], usize), (to, low, count): (&mut [f32], usize, usize)) {
        for (to, place) in to.as_chunks_mut::<LANES>().0.iter_mut().zip((low..low + count).step_by(LANES)) {
            // A cell ends where it starts or behind.
            let from = &from[..from.len().min((place + LANES).saturating_sub(from_low))];
            let mut least = [f32::INFINITY; LANES];
            for (start, from) in (from_low..).zip(from) {
                let gains = self.gains[start * self.stride + place..].first_chunk::<LANES>().expect("room behind");
                for lane in 0..LANES {
                    let cost = from - gains[lane];
                    least[lane] = if cost < least[lane] { cost } else { least[lane] };
                }
            }
            *to = least;
        }
    }
}
