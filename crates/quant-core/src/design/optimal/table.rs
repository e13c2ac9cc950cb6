//! Layers between so few boundaries that the gain of every cell is computed once, for all of them.
//!
//! A layer needs n²/2 gains of n boundaries when nothing is known of its borders, and there are two layers per border:
//! with the quotients in a table each is one subtraction and one minimum, in a loop without a branch, which is less than
//! what the fewer quotients of [`super::layer`] take.

use super::layer::{FillLayer, Layer, Prefix};
use std::ops::Range;

/// Tables of up to this many elements, 37 kB of which half is read, about a first-level cache.
const TABLED_MAX: usize = 64;

/// Targets done side by side.
const LANES: usize = 8;

/// Eights of boundaries between the elements.
const EIGHTS_MAX: usize = TABLED_MAX / LANES + 1;

/// How layers between the boundaries of some elements are filled, where cells may be empty.
pub struct Layers<'a, F> {
    prefix: &'a Prefix,
    gains: Option<Gains>,
    fill: &'a F,
}

impl<'a, F: FillLayer> Layers<'a, F> {
    /// Of these elements.
    pub fn new(prefix: &'a Prefix, fill: &'a F) -> Self {
        let tabled = || {
            fill.vectorize(
                #[inline(always)]
                || Gains::new(prefix),
            )
        };
        Self { prefix, gains: (prefix.len() <= TABLED_MAX).then(tabled), fill }
    }

    /// The least costs `to` of boundaries `low`, …, from the costs `from` of boundaries `from_low`, …; `best` has room for
    /// as many.
    pub fn fill(&self, (from, from_low): (&[f64], usize), (to, low): (&mut [f64], usize), best: &mut [u32]) {
        match &self.gains {
            None => self.fill.fill(Layer::new(self.prefix, from, from_low, low, true), to, best),
            Some(gains) => self.fill.vectorize(
                #[inline(always)]
                || gains.fill((from, from_low), (to, low)),
            ),
        }
    }
}

/// Eight values, on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Eight([f64; LANES]);

/// The gain of every cell: 0 of an empty one, and −∞ where there is none.
struct Gains {
    /// For each start, for each eight ends.
    gains: Vec<Eight>,
    /// How many eights there are for a start.
    stride: usize,
}

impl Gains {
    #[inline(always)]
    fn new(prefix: &Prefix) -> Self {
        let count = prefix.len() + 1;
        let (stride, end) = (count.div_ceil(LANES), count.next_multiple_of(LANES));
        // No comparison with what is not a number holds, so there is no cell that ends behind the last boundary.
        let mut ends = [[f64::NAN; LANES * EIGHTS_MAX]; 2];
        ends[0][..count].copy_from_slice(&prefix.weight);
        ends[1][..count].copy_from_slice(&prefix.moment);
        let mut gains = vec![Eight([f64::NEG_INFINITY; LANES]); count * stride];
        let mut row = vec![0.0; end];
        for (start, eights) in gains.chunks_exact_mut(stride).enumerate() {
            let (weight, moment) = (prefix.weight[start], prefix.moment[start]);
            // From a multiple of LANES on, so that vectors leave no rest.
            let first = start / LANES * LANES;
            let sums = ends[0][first..end].iter().zip(&ends[1][first..end]);
            for (gain, (end_weight, end_moment)) in row[first..].iter_mut().zip(sums) {
                let (weight, moment) = (end_weight - weight, end_moment - moment);
                let quotient = moment * moment / weight;
                *gain = if weight > 0.0 { quotient } else { f64::NEG_INFINITY };
            }
            let own = row.as_chunks::<LANES>().0.iter().skip(start / LANES);
            eights.iter_mut().skip(start / LANES).zip(own).for_each(|(to, &own)| *to = Eight(own));
            eights[start / LANES].0[start % LANES] = 0.0;
        }
        Self { gains, stride }
    }

    #[inline(always)]
    fn fill(&self, (from, from_low): (&[f64], usize), (to, low): (&mut [f64], usize)) {
        let mut least = [Eight([f64::INFINITY; LANES]); EIGHTS_MAX];
        let eights = low / LANES..(low + to.len()).div_ceil(LANES);
        let (fours, rest) = from.as_chunks::<4>();
        for (four, &from) in fours.iter().enumerate() {
            self.offer(from, from_low + 4 * four, eights.clone(), &mut least);
        }
        for (i, &from) in rest.iter().enumerate() {
            self.offer([from], from_low + 4 * fours.len() + i, eights.clone(), &mut least);
        }
        let (mut place, mut to) = (low, to);
        while !to.is_empty() {
            let own = &least[place / LANES].0[place % LANES..];
            let (here, others) = to.split_at_mut(own.len().min(to.len()));
            here.copy_from_slice(&own[..here.len()]);
            (place, to) = (place + here.len(), others);
        }
    }

    /// Takes into account cells from `N` starts, the first of which is `start`, that end in some eights of boundaries.
    #[inline(always)]
    fn offer<const N: usize>(
        &self,
        from: [f64; N],
        start: usize,
        eights: Range<usize>,
        least: &mut [Eight; EIGHTS_MAX],
    ) {
        // A cell ends where it starts or behind.
        let eights = eights.start.max(start / LANES)..eights.end;
        let rows: [_; N] = std::array::from_fn(|i| &self.gains[(start + i) * self.stride..][..self.stride]);
        for eight in eights {
            let mut here = least[eight].0;
            for i in 0..N {
                let gains = rows[i][eight].0;
                for lane in 0..LANES {
                    let cost = from[i] - gains[lane];
                    here[lane] = if cost < here[lane] { cost } else { here[lane] };
                }
            }
            least[eight].0 = here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::optimal::Portable;

    #[test]
    fn a_table_gives_the_costs_of_a_layer() {
        for count in [50, 63, 64, 65] {
            compare(count);
        }
    }

    fn compare(count: u32) {
        let mut prefix = Prefix::with_capacity(count as usize);
        for i in 0..count {
            // Some elements have no weight.
            let weight = f64::from(i * 7 % 5);
            prefix.weight.push(prefix.weight[i as usize] + weight);
            prefix.moment.push(prefix.moment[i as usize] + weight * f64::from(i * i));
        }
        let layers = Layers::new(&prefix, &Portable);
        assert_eq!(layers.gains.is_some(), count as usize <= TABLED_MAX);
        let all = count as usize + 1;
        let from: Vec<f64> = (0..30).map(|i| f64::from(i * 11 % 13) * 1e4).collect();
        for (from_low, from_len, low, len) in [(0, 1, 0, all), (0, 30, 0, all), (3, 20, 5, 33), (10, 30, 20, 1)] {
            let (mut to, mut expected, mut best) = (vec![0.0; len], vec![0.0; len], vec![0; len]);
            layers.fill((&from[..from_len], from_low), (&mut to, low), &mut best);
            Layer::new(&prefix, &from[..from_len], from_low, low, true).fill(&mut expected, &mut best);
            assert_eq!(to, expected, "{from_low}, {low}");
        }
    }
}
