//! The optimum of thousands of weighted samples without sorting them.
//!
//! Samples are counted into bins with Σ w, Σ w·x and Σ w·x²; the bounds of [`super::bounds`] prove between which bins
//! the borders of an optimum lie; the samples of those bins are gathered, all others enter by their sums, and the
//! programme over what is left is exact. Every pass is linear, and one pass over the samples is all but the last.

use super::blocks::Elements;
use super::gathered::Gathered;
use super::layer::{FillLayer, Prefix};
use super::scratch::Tools;
use super::{bounds, is_bounded};
use crate::design::Bins;

/// Below this many samples sorting is as fast.
const SAMPLES_MIN: usize = 1024;

/// Samples looked at to choose bins.
const SELECTION: usize = 128;

/// Samples of the selection ranked side by side.
const SIDE_BY_SIDE: usize = 64;

/// Samples or bins done side by side.
const EIGHT: usize = 8;

/// Sums over the samples of a bin, about the middle of the bins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    weight: f64,
    moment: f64,
    square: f64,
    /// How many samples.
    pub count: f64,
}

/// [`super::fit_levels_with`] where bins serve; none where they do not: few samples or values, or too many levels.
pub fn levels(
    tools: Tools<'_, impl FillLayer>,
    samples: &[f32],
    weights: Option<&[f32]>,
    level_count: usize,
) -> Option<Vec<f32>> {
    let fill = tools.fill;
    if samples.len() < SAMPLES_MIN || !is_bounded(samples.len(), level_count) {
        return None;
    }
    let ((least, greatest), selection) = fill.vectorize(
        #[inline(always)]
        || (ends(samples), selection(samples)),
    );
    let absmax = greatest.max(-least);
    let bins = Bins::over_selection(&selection, absmax, |octaves| bin_count(samples.len(), level_count, octaves))?;
    let (indices, sums) = (tools.room(samples.len()), tools.room(bins.count));
    fill.vectorize(
        #[inline(always)]
        || add_up(&bins, samples, weights, indices, sums),
    );
    let binned = fill.vectorize(
        #[inline(always)]
        || Binned::new(sums, [least, greatest].map(|x| f64::from(x) - f64::from(bins.low)), tools),
    )?;
    if !is_bounded(binned.elements.len(), level_count) {
        return None;
    }
    let ranges = bounds::narrow(binned.elements, level_count, 0.0, tools);
    let samples = Binnable { samples, weights, bins: indices };
    let gathered = Gathered::new(&binned, sums, ranges, samples, tools);
    let centre = f64::from(bins.low) + binned.centre;
    let atoms = fill.vectorize(
        #[inline(always)]
        || gathered.atoms(centre, &binned, tools),
    );
    atoms.levels(ranges, level_count, tools)
}

/// Some of the samples in ascending order: each goes behind as many as are less, which takes no branch.
#[inline(always)]
fn selection(samples: &[f32]) -> [f32; SELECTION] {
    let step = samples.len() / SELECTION;
    let mut selection = [0.0; SELECTION];
    for (place, to) in selection.iter_mut().enumerate() {
        *to = samples[place * step];
    }
    let mut ascending = [f32::NAN; SELECTION];
    for block in selection.as_chunks::<SIDE_BY_SIDE>().0 {
        let mut less = [0u32; SIDE_BY_SIDE];
        for x in &selection {
            for lane in 0..SIDE_BY_SIDE {
                less[lane] += u32::from(*x < block[lane]);
            }
        }
        for lane in 0..SIDE_BY_SIDE {
            ascending[less[lane] as usize] = block[lane];
        }
    }
    // Equal ones went to one place; those behind it are empty.
    let mut last = ascending[0];
    for x in &mut ascending {
        last = if x.is_nan() { last } else { *x };
        *x = last;
    }
    ascending
}

/// The least and the greatest sample, by sixteen of each, which need not wait for each other.
#[inline(always)]
fn ends(samples: &[f32]) -> (f32, f32) {
    let less = |least: f32, x: f32| if x < least { x } else { least };
    let greater = |most: f32, x: f32| if x > most { x } else { most };
    let (sixteens, rest) = samples.as_chunks::<16>();
    let (mut least, mut most) = ([samples[0]; 16], [samples[0]; 16]);
    for x in sixteens {
        for lane in 0..16 {
            (least[lane], most[lane]) = (less(least[lane], x[lane]), greater(most[lane], x[lane]));
        }
    }
    let rest = |start: f32, of: fn(f32, f32) -> f32| rest.iter().fold(start, |a, &x| of(a, x));
    let least = least.into_iter().fold(rest(samples[0], less), less);
    (least, most.into_iter().fold(rest(samples[0], greater), greater))
}

/// Fewer bins leave more samples to sort, more cost more themselves. Octaves have equally many, and two hold all that is
/// not an outlier: so each needs as many however far outliers are. Tuned on normal rows of 2048 to 65,536 samples at 3 to
/// 64 levels, and on the same with outliers, by powers of two, to which bins are rounded down.
fn bin_count(sample_count: usize, level_count: usize, octaves: usize) -> usize {
    let wanted = 2.5 * level_count as f64 * (sample_count as f64).sqrt();
    let in_two_octaves = (wanted as usize).min(sample_count / 4 * 3);
    (in_two_octaves * octaves / 2).clamp(512, 1 << 16)
}

/// Samples, and the bin of each.
#[derive(Clone, Copy, Debug)]
pub struct Binnable<'a> {
    /// The samples.
    pub samples: &'a [f32],
    /// One for each; 1 where there are none.
    pub weights: Option<&'a [f32]>,
    /// One for each.
    pub bins: &'a [u32],
}

#[inline(always)]
fn add_up(bins: &Bins, samples: &[f32], weights: Option<&[f32]>, indices: &mut [u32], sums: &mut [Sums]) {
    let widening = Bins { mantissa_bits: bins.mantissa_bits.max(1), ..*bins };
    for (to, &x) in indices.iter_mut().zip(samples) {
        *to = widening.index(x) as u32;
    }
    let middle = f64::from(bins.low);
    let ones = [1.0; EIGHT];
    let (samples, samples_rest) = samples.as_chunks::<EIGHT>();
    let (indices, indices_rest) = indices.as_chunks::<EIGHT>();
    let (weights, weights_rest) = weights.map_or((&[][..], &ones[..]), <[f32]>::as_chunks);
    for (i, (samples, indices)) in samples.iter().zip(indices).enumerate() {
        add_eight(sums, indices, samples, weights.get(i).unwrap_or(&ones), middle);
    }
    for ((&index, &x), &w) in indices_rest.iter().zip(samples_rest).zip(weights_rest) {
        sums[index as usize].add(Sums::of(f64::from(x) - middle, f64::from(w)));
    }
}

/// Products first, side by side.
#[inline(always)]
fn add_eight(sums: &mut [Sums], indices: &[u32; EIGHT], samples: &[f32; EIGHT], weights: &[f32; EIGHT], middle: f64) {
    let mut own = [Sums::default(); EIGHT];
    for i in 0..EIGHT {
        own[i] = Sums::of(f64::from(samples[i]) - middle, f64::from(weights[i]));
    }
    for i in 0..EIGHT {
        sums[indices[i] as usize].add(own[i]);
    }
}

impl Sums {
    /// Of one sample.
    #[inline(always)]
    fn of(x: f64, weight: f64) -> Self {
        Self { weight, moment: weight * x, square: weight * x * x, count: 1.0 }
    }

    #[inline(always)]
    fn add(&mut self, other: Self) {
        *self = Self {
            weight: self.weight + other.weight,
            moment: self.moment + other.moment,
            square: self.square + other.square,
            count: self.count + other.count,
        };
    }
}

/// The bins that have weight, as elements.
pub struct Binned<'s> {
    /// Which bins.
    pub present: &'s [u32],
    /// Their sums, means and spread.
    pub elements: Elements<'s>,
    /// What is subtracted from samples, after the middle of the bins.
    centre: f64,
}

impl<'s> Binned<'s> {
    /// None without any weight, or where that of a bin vanishes beside others. `ends` are the least and the greatest sample,
    /// from the middle of the bins.
    #[inline(always)]
    fn new(sums: &[Sums], ends: [f64; 2], tools: Tools<'s, impl FillLayer>) -> Option<Self> {
        // Without a branch: which bins are empty cannot be foreseen.
        let (present, mut count) = (tools.room(sums.len()), 0);
        for (bin, sums) in sums.iter().enumerate() {
            present[count] = bin as u32;
            count += usize::from(sums.weight > 0.0);
        }
        let present = &present[..count];
        if present.is_empty() {
            return None;
        }
        let own = tools.room::<Sums>(count);
        let (mut weight, mut moment) = (0.0, 0.0);
        for (own, &bin) in own.iter_mut().zip(present) {
            let sums = sums[bin as usize];
            *own = sums;
            (weight, moment) = (weight + sums.weight, moment + sums.moment);
        }
        let centre = moment / weight;
        let (means, spread) = (tools.room(count), tools.room(count));
        for ((mean, spread), own) in means.iter_mut().zip(&mut *spread).zip(&*own) {
            *mean = own.moment / own.weight - centre;
            // (Σ w |x − mean|)² ≤ Σ w · Σ w (x − mean)², Cauchy and Schwarz; the difference rounds by its terms.
            let squared = own.weight * own.square - own.moment * own.moment;
            let squared = squared + 1e-15 * (own.count + 4.0) * (own.weight * own.square);
            *spread = (if squared > 0.0 { squared } else { 0.0 }).sqrt();
        }
        let (weights, moments) = (tools.room(count + 1), tools.room(count + 1));
        let (mut weight, mut moment) = (0.0, 0.0);
        for ((own_weight, own_moment), own) in weights[1..].iter_mut().zip(&mut moments[1..]).zip(&*own) {
            weight += own.weight;
            moment += own.moment - own.weight * centre;
            (*own_weight, *own_moment) = (weight, moment);
        }
        let prefix = Prefix { weight: weights, moment: moments };
        let ends = (ends[0] - centre, ends[1] - centre);
        prefix.ascends().then_some(Self { present, elements: Elements { prefix, means, spread, ends }, centre })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::optimal::Scratch;
    use crate::design::optimal::{Portable, fit_sorted};

    /// Uniform in (0, 1), by xorshift.
    fn uniforms(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }
    }

    type Quantile = fn(f64) -> f64;

    fn distributions() -> [(&'static str, Quantile); 8] {
        [
            ("logistic", |p| (p / (1.0 - p)).ln()),
            ("laplacian", |p| if p < 0.5 { (2.0 * p).ln() } else { -(2.0 - 2.0 * p).ln() }),
            // Tails ∝ |x|⁻⁴, as those of Student's t with ν = 3.
            ("heavy tails", |p| (1.0 - p).powf(-1.0 / 3.0) - p.powf(-1.0 / 3.0)),
            ("constant with outliers", |p| if p < 5e-3 { 1e4 * (p - 2.5e-3) } else { 0.25 }),
            ("bulk with outliers", |p| if p < 1e-3 { 3e5 * p } else { (p / (1.0 - p)).ln() }),
            ("duplicates", |p| ((p / (1.0 - p)).ln() * 16.0).round() / 16.0),
            ("far from zero", |p| 1000.0 + (p / (1.0 - p)).ln()),
            ("one side", |p| -p.ln()),
        ]
    }

    fn cost(samples: &[f32], weights: &[f32], levels: &[f32]) -> f64 {
        let squared =
            |x: f32| levels.iter().map(|&y| (f64::from(x) - f64::from(y)).powi(2)).fold(f64::INFINITY, f64::min);
        samples.iter().zip(weights).map(|(&x, &w)| f64::from(w) * squared(x)).sum()
    }

    #[test]
    fn bins_find_what_sorting_finds() {
        let mut binned = 0;
        for (name, quantile) in distributions() {
            let mut next = uniforms(name.len() as u64);
            let samples: Vec<f32> = (0..4096).map(|_| quantile(next()) as f32).collect();
            // Squares, a tenth of them 0: weights as a Hessian's diagonal has them.
            let some: Vec<f32> = (0..4096).map(|_| (next() - 0.1).max(0.0).powi(2) as f32 * 40.0).collect();
            for (weights, level_count) in [(&some, 3), (&some, 8), (&some, 16), (&vec![1.0; 4096], 16)] {
                let scratch = Scratch::default();
                let tools = scratch.tools(&Portable);
                let Some(found) = levels(tools, &samples, Some(weights), level_count) else { continue };
                let (own, best) = (
                    cost(&samples, weights, &found),
                    cost(&samples, weights, &fit_sorted(tools, &samples, Some(weights), level_count)),
                );
                assert!(
                    found.len() <= level_count && (own - best).abs() <= 1e-9 * best,
                    "{name}: {own}, {best} is best"
                );
                binned += 1;
            }
        }
        assert!(binned >= 20, "{binned} of 32 runs were binned");
    }

    #[test]
    fn what_bins_do_not_serve_is_left_to_sorting() {
        let mut next = uniforms(3);
        let samples: Vec<f32> = (0..2048).map(|_| next() as f32).collect();
        let scratch = Scratch::default();
        let tools = scratch.tools(&Portable);
        assert_eq!(levels(tools, &samples[..100], None, 4), None);
        assert_eq!(levels(tools, &samples, Some(&[0.0; 2048]), 4), None);
        assert_eq!(levels(tools, &[0.5; 2048], None, 4), None);
        assert_eq!(levels(tools, &samples, None, 1024), None);
        assert!(levels(tools, &samples, None, 4).is_some());
    }
}
