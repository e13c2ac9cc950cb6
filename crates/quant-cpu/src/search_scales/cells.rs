//! Which two levels can be nearest to a sample: a table over 64 bins of the range of a group, for each numerator.
//!
//! With u = x̂ / â, â the largest magnitude of the group, a sample lies in bin ⌊ρ·2^octave·u⌋ of −32…31, ρ just below
//! 32. A candidate of numerator n puts threshold t at u = t·n/1024. When no bin holds two thresholds, a bin has one or
//! two levels that can be nearest, and they depend on n alone: so tables are made once for all groups, and a sample's
//! bin is found once for all candidates. Small numerators crowd the thresholds together; octaves stretch the bins with
//! them, samples beyond falling into the outermost bins.

use quant_core::reference::sample_shift;
use quant_core::scale::{REFINE_OFFSETS, SAMPLE_MAX, ScaleSearch};

/// ρ is at most this, see [`bin_factor`].
const BINS_PER_UNIT_MAX: f64 = 31.99;
/// And at least this: the factor is rounded down, which takes off up to 8192/65536.
const BINS_PER_UNIT_MIN: f64 = 31.86;
/// How far rounding moves thresholds, in units of the span: span, levels, the midpoint and the Q15 levels are each
/// rounded by half a unit of a span of at least 2400 (4096 · 584/1024), times 1.75 for the span (u = 1 at n = 584).
const SLACK: f64 = 1.5e-3;

/// The two levels of each bin, as Q15 levels. Entry i is bin i below 32 and bin i − 64 from there on.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) low: [i16; 64],
    pub(super) high: [i16; 64],
    pub(super) octave: u32,
}

/// Tables for all numerators that a search can try.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    tables: Vec<Table>,
    index_of_numerator: Vec<u16>,
    /// Whether four times the cost of 64 samples is known to fit in 32 bits.
    pub(super) narrow: bool,
    /// Whether one sort of bins serves all numerators, none of which is too small to be refined downwards.
    pub(super) one_octave: bool,
}

/// Whether x̂ of a group has the 13 bits that tables count on, and no subnormal sample is more than 0 in x̂.
pub(super) fn holds(largest: f32) -> bool {
    sample_shift(largest) <= 120
}

/// What x̂ is multiplied by, over 65536, for its bin.
pub(super) fn bin_factor(largest_scaled: i32) -> i16 {
    (BINS_PER_UNIT_MAX * 65536.0 / f64::from(largest_scaled)) as i16
}

impl Cells {
    /// None when levels are too many or too close, or all on one side of 0 (errors would not fit in 16 bits).
    pub(super) fn new(search: &ScaleSearch) -> Option<Self> {
        let levels = &search.levels_q15;
        if levels[0] > 0 || levels[levels.len() - 1] < 0 || levels.len() > 64 {
            return None;
        }
        let mut cells =
            Self { tables: Vec::new(), index_of_numerator: vec![u16::MAX; 1600], narrow: true, one_octave: true };
        for &first in &search.numerators {
            for numerator in REFINE_OFFSETS.map(|offset| first + offset).into_iter().chain([first]) {
                cells.insert(levels, numerator)?;
            }
        }
        Some(cells)
    }

    fn insert(&mut self, levels: &[i16], numerator: i32) -> Option<()> {
        if numerator <= 0 {
            self.one_octave = false;
            return Some(());
        }
        let index = self.index_of_numerator.get_mut(numerator as usize)?;
        if *index == u16::MAX {
            *index = self.tables.len() as u16;
            self.tables.push(Table::new(levels, numerator)?);
            self.one_octave &= self.tables[self.tables.len() - 1].octave == self.tables[0].octave;
            self.narrow &= 64 * (2 * error_max(levels, numerator)).pow(2) < 1 << 32;
        }
        Some(())
    }

    /// The table of a numerator of the search.
    #[inline]
    pub(super) fn table(&self, numerator: i32) -> &Table {
        &self.tables[usize::from(self.index_of_numerator[numerator as usize])]
    }
}

/// The largest |x̂ − ŷ| of a numerator, generously.
fn error_max(levels: &[i16], numerator: i32) -> i64 {
    let stretched = |level: i16| i64::from(level) * i64::from(SAMPLE_MAX * numerator / 1024) / 32768;
    let largest = i64::from(SAMPLE_MAX);
    let overload = (largest - stretched(levels[levels.len() - 1])).max(largest + stretched(levels[0]));
    let granular = levels.windows(2).map(|w| (stretched(w[1]) - stretched(w[0])) / 2).max().unwrap_or(0);
    overload.max(granular) + 8
}

impl Table {
    fn new(levels: &[i16], numerator: i32) -> Option<Self> {
        let octave = (0..).find(|o| numerator << (o + 1) > 1100)?;
        let unit = f64::from(numerator << octave) / 1024.0;
        let mut table = Self { low: [0; 64], high: [0; 64], octave };
        for bin in -32..32i32 {
            let (from, to) = bin_range(bin, octave > 0);
            let inside = |level: &[i16]| {
                let threshold = f64::from(i32::from(level[0]) + i32::from(level[1])) / 65534.0;
                (threshold + SLACK >= from / unit, threshold - SLACK <= to / unit)
            };
            let below = levels.windows(2).filter(|pair| !inside(pair).0).count();
            let within = levels.windows(2).filter(|pair| inside(pair) == (true, true)).count();
            if within > 1 {
                return None;
            }
            let entry = (bin & 63) as usize;
            (table.low[entry], table.high[entry]) = (levels[below], levels[below + within]);
        }
        Some(table)
    }
}

/// What ρ·2^octave·u of the samples of a bin can be, over ρ; stretched bins leave samples outside.
fn bin_range(bin: i32, stretched: bool) -> (f64, f64) {
    let edge = |bin: i32, outer: f64, inner: f64| f64::from(bin) / if bin < 0 { outer } else { inner };
    let from =
        if stretched && bin == -32 { f64::NEG_INFINITY } else { edge(bin, BINS_PER_UNIT_MIN, BINS_PER_UNIT_MAX) };
    let to = if stretched && bin == 31 { f64::INFINITY } else { edge(bin + 1, BINS_PER_UNIT_MAX, BINS_PER_UNIT_MIN) };
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant_core::codebook::Codebooks;
    use quant_core::design::{normal_float::NF4_LEVELS, uniform::integer_levels};
    use quant_core::grouping::GroupLength;

    #[test]
    fn usual_codebooks_have_cells() {
        for levels in [NF4_LEVELS.to_vec(), integer_levels(2), integer_levels(3), integer_levels(4)] {
            for length in
                [GroupLength::Samples(32), GroupLength::Samples(64), GroupLength::Samples(128), GroupLength::Row]
            {
                let search = ScaleSearch::new(&Codebooks::from_levels(levels.len(), [&levels]), length, true);
                let cells = Cells::new(&search);
                let first_bad = search.numerators.iter().find(|&&n| Table::new(&search.levels_q15, n).is_none());
                assert!(cells.is_some(), "{} levels, {length:?}: {first_bad:?}", levels.len());
            }
        }
    }

    /// ⌊x̂ · 2^octave · factor / 65536⌋ as an entry of a table, as the kernel finds it.
    fn entry(x: i32, largest_scaled: i32, octave: u32) -> usize {
        let limit = largest_scaled >> octave;
        let stretched = x.clamp(-limit, limit) << octave;
        ((stretched * i32::from(bin_factor(largest_scaled))) >> 16 & 63) as usize
    }

    #[test]
    fn no_level_outside_the_cell_is_nearer() {
        let codebooks = [NF4_LEVELS.to_vec(), integer_levels(4), integer_levels(3), vec![-1.0, 0.9]];
        for (levels, length) in codebooks.iter().zip([64, 64, 128, 1024]) {
            let codebooks = Codebooks::from_levels(levels.len(), [levels]);
            let search = ScaleSearch::new(&codebooks, GroupLength::Samples(length), true);
            let cells = Cells::new(&search).expect("usual codebooks have cells");
            for (&numerator, largest_scaled) in
                search.numerators.iter().zip([4096, 4097, 5793, 8191, 8192].iter().cycle())
            {
                let span = quant_core::scale::span(*largest_scaled, numerator);
                let stretched = |c: i16| (i32::from(c) * span + (1 << 14)) >> 15;
                let table = cells.table(numerator);
                for x in -largest_scaled..=*largest_scaled {
                    let error = |c: i16| (x - stretched(c)).abs();
                    let entry = entry(x, *largest_scaled, table.octave);
                    let found = error(table.low[entry]).min(error(table.high[entry]));
                    let nearest = search.levels_q15.iter().map(|&c| error(c)).min();
                    assert_eq!(Some(found), nearest, "x {x}, numerator {numerator}, largest {largest_scaled}");
                }
            }
        }
    }
}
