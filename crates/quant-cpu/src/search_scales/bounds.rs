//! Which candidates cannot win: lower bounds of their costs, from a table over 512 bins of the range of a group.
//!
//! With u = x̂ / â, â the largest magnitude of the group, a sample lies in bin ⌊ρ·u⌋ of −256…255, ρ just below 256.
//! The row of a bin holds, for every candidate, the squared distance from the bin to the nearest level, rounded down.
//! The sum of the rows of a group bounds all its costs from below at once: 32 candidates are a register, and a sample
//! is one addition. Negative candidates are the same with −x̂, whose bin is the complement of the bin of x̂.
//!
//! A candidate whose bound is above the cost of another is neither better nor equal, so it need not be tried. In
//! groups of 32 of N(0,1) or Student-t (ν = 5), four of 58 candidates cost up to 15 % more than the best. Half the bins
//! bound less well, and take a fifth off the speed; twice as many would not fit in the first-level cache.

use quant_core::scale::ScaleSearch;

/// Bins of the range of a group.
pub(super) const BIN_COUNT: usize = 512;
/// Candidates of a row.
pub(super) const LANES: usize = 32;
/// ρ is at most this, see [`bin_factor`].
const BINS_PER_UNIT_MAX: f64 = 255.99;
/// And at least this: the factor is rounded down, which takes off up to 8192/65536.
const BINS_PER_UNIT_MIN: f64 = 255.86;
/// How far rounding moves a level, in u: half a unit for the span and half for the level, where â is at least 4096.
const SLACK: f64 = 1.0 / 4096.0;

/// Bounds of the candidates of one bin, in [`Bounds::unit`]; beyond the last candidate the largest number.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Row(pub(super) [u16; LANES]);

/// Row i is bin i below 256 and bin i − 512 from there on.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) rows: Box<[Row; BIN_COUNT]>,
    /// What a squared error, as a part of â², is multiplied by.
    pub(super) unit: f64,
}

/// What x̂ is multiplied by, over 65536, for its bin.
#[inline]
pub(super) fn bin_factor(largest_scaled: i32) -> i16 {
    (BINS_PER_UNIT_MAX * 65536.0 / f64::from(largest_scaled)) as i16
}

impl Bounds {
    /// None for more candidates than a row has lanes.
    pub(super) fn new(search: &ScaleSearch) -> Option<Self> {
        if search.numerators.len() > LANES {
            return None;
        }
        let unit = unit(&search.levels_q15);
        let mut rows = Box::new([Row([u16::MAX; LANES]); BIN_COUNT]);
        for (lane, &numerator) in search.numerators.iter().enumerate() {
            let stretch = |&c: &i16| f64::from(c) / 32768.0 * f64::from(numerator) / 1024.0;
            let levels: Vec<f64> = search.levels_q15.iter().map(stretch).collect();
            let mut below = 0;
            for bin in -256..256 {
                let (from, to) = (edge(bin, false), edge(bin + 1, true));
                below += levels[below..].iter().take_while(|&&y| y < from).count();
                let under = below.checked_sub(1).map_or(f64::INFINITY, |k| from - levels[k]);
                let over = levels.get(below).map_or(f64::INFINITY, |y| y - to);
                let distance = (under.min(over) - SLACK).max(0.0);
                // The cast rounds down, and squares beyond the range become the largest number.
                rows[(bin & 511) as usize].0[lane] = (unit * distance * distance) as u16;
            }
        }
        Some(Self { rows, unit })
    }
}

/// The lower or upper edge of a bin in u, as far out as ρ allows.
fn edge(bin: i32, upper: bool) -> f64 {
    f64::from(bin) / if (bin < 0) == upper { BINS_PER_UNIT_MAX } else { BINS_PER_UNIT_MIN }
}

/// Four times the squared error of 64 samples spread over the widest cell fits in 16 bits. A smaller unit loses more to
/// rounding, a larger one tells the candidates of costly groups apart no more.
fn unit(levels_q15: &[i16]) -> f64 {
    let widest = levels_q15.windows(2).map(|w| i32::from(w[1]) - i32::from(w[0])).max().unwrap_or(0);
    let cell = f64::from(widest.max(1)) / 32768.0;
    65535.0 / (4.0 * 64.0 * cell * cell / 12.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant_core::codebook::Codebooks;
    use quant_core::design::{normal_float::NF4_LEVELS, uniform::integer_levels};
    use quant_core::grouping::GroupLength;
    use quant_core::recipe::IQ4_NL_LEVELS;
    use quant_core::scale::span;

    #[test]
    fn nine_levels_have_bounds_and_three_have_none() {
        let bounds = |levels: &[f32]| {
            let codebooks = Codebooks::from_levels(levels.len(), [levels]);
            Bounds::new(&ScaleSearch::new(&codebooks, GroupLength::Samples(64), true)).is_some()
        };
        assert!(bounds(&[-1.0, -0.4, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0]) && bounds(&NF4_LEVELS));
        assert!(!bounds(&[-0.001, 0.0, 1.0]));
    }

    #[test]
    fn no_error_is_below_its_bound() {
        let lists = [NF4_LEVELS.to_vec(), IQ4_NL_LEVELS.to_vec(), integer_levels(4), vec![-1.0, 0.9], vec![0.0, 1.0]];
        for levels in lists {
            let codebooks = Codebooks::from_levels(levels.len(), [&levels]);
            let mut search = ScaleSearch::new(&codebooks, GroupLength::Samples(64), true);
            search.numerators.truncate(LANES);
            let bounds = Bounds::new(&search).expect("so many are a row");
            for largest in [4096, 4097, 5793, 8191, 8192] {
                for (lane, &numerator) in search.numerators.iter().enumerate() {
                    let span = span(largest, numerator);
                    for x in -largest..=largest {
                        let error = |&c: &i16| (x - ((i32::from(c) * span + (1 << 14)) >> 15)).abs();
                        let least = search.levels_q15.iter().map(error).min().expect("there are levels");
                        let bin = ((x * i32::from(bin_factor(largest))) >> 16) & 511;
                        let part = f64::from(least * least) / f64::from(largest * largest);
                        let bound = bounds.rows[bin as usize].0[lane];
                        assert!(f64::from(bound) <= part * bounds.unit, "x {x} of {largest}, numerator {numerator}");
                    }
                }
            }
        }
    }
}
