//! Which codes and levels have little squared error where the entropy of the codes is given, and not their number?
//!
//! At high rate it is the uniform quantizer: D = Δ²/12 at H = h − log₂ Δ, 1.53 dB from Shannon's bound (Gish and Pierce
//! 1968), where the levels of least error for their *number* spend more bits than they gain. So cells are uniform, Δ is
//! searched for the wanted entropy, and levels are the centroids of their cells: on N(0, 1) within 0.1 dB of the best
//! scalar quantizer of that entropy from 2 bits on. Codes stand for cells and not for the nearest level, which would cost
//! 0.4 dB at 2 bits.

use super::Quantized;
use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::design::{Bins, certified};
use crate::grouping::{GroupLength, Grouping};
use crate::recipe::Recipe;
use crate::tensor::Matrix;

/// Bins of the histogram: some hundred to a cell of a Gaussian matrix at 4 bits.
const BIN_COUNT: usize = 1 << 16;
/// The least step, in units of the spread of the samples: finer than 6 bits of entropy ask for.
const STEP_MIN: f64 = 1e-4;
/// Halvings of the interval that the step is searched in.
const HALVINGS: usize = 40;

/// Codes of `rate` bits of entropy, but for what bins of a histogram hide, and their codebook. Fewer bits where there are
/// too few distinct samples for so many.
pub(super) fn coded<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    recipe: &Recipe,
    rate: f64,
) -> Result<Quantized, B::Fault> {
    let grouping = Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Tensor);
    let points = points(backend, matrix, grouping)?;
    let level_count = recipe.bit_width.level_count();
    let cells = cells_at_rate(&points, rate, level_count);
    let codebooks = |levels: Vec<f64>| {
        // The middle of a cell may be half a step beyond all samples.
        let most = f64::from(f32::MAX);
        let levels: Vec<f32> = levels.iter().map(|y| y.clamp(-most, most) as f32).collect();
        Codebooks::from_levels(level_count, [if levels.is_empty() { vec![0.0] } else { levels }])
    };
    // The nearest of the cells' middles is the cell; nearly, for those that were merged.
    let mut quantized = Quantized::begun(recipe, grouping, codebooks(cells.iter().map(|c| c.middle).collect()));
    let mut packed = vec![0; quantized.encoding().codes_len_bytes()];
    backend.encode(matrix, &quantized.encoding(), &mut packed)?;
    quantized.codebooks = codebooks(cells.iter().map(Cell::centroid).collect());
    quantized.distortion = backend.distortion(matrix, &quantized.encoding(), &packed)?;
    quantized.packed = packed;
    Ok(quantized)
}

/// Samples as (value, weight), ascending, as a histogram sees them.
fn points<B: Backend>(backend: &B, matrix: Matrix<'_>, whole: Grouping) -> Result<Vec<(f64, f64)>, B::Fault> {
    let mut largest = vec![0.0; whole.group_count()];
    backend.absmax_scales(matrix, whole, 1.0, &mut largest)?;
    let Some(&largest) = largest.first().filter(|&&x| x > 0.0) else { return Ok(Vec::new()) };
    let bins = certified::choose_bins(matrix, largest, BIN_COUNT);
    let bins = bins.unwrap_or_else(|| Bins::covering(-largest, largest, BIN_COUNT));
    let mut points = backend.histogram(matrix, None, &bins)?.points(&bins);
    // Sums are rounded, so that means of neighbouring bins may change places.
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Ok(points)
}

/// Between the values that a share of the weight is below and above; of the middle four fifths, or of more where those
/// are equal.
fn spread(points: &[(f64, f64)]) -> f64 {
    let total: f64 = points.iter().map(|p| p.1).sum();
    let at = |share: f64| {
        let mut below = 0.0;
        let found = points.iter().find(|p| {
            below += p.1;
            below >= share * total
        });
        found.map_or(0.0, |p| p.0)
    };
    let widths = [0.1, 0.01, 0.0].map(|share| at(1.0 - share) - at(share));
    widths.into_iter().find(|&width| width > 0.0).unwrap_or(f64::MIN_POSITIVE)
}

/// What falls between two thresholds.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Between its thresholds.
    middle: f64,
    weight: f64,
    /// Σ weight · x.
    sum: f64,
}

impl Cell {
    fn centroid(&self) -> f64 {
        self.sum / self.weight
    }

    /// Squared error that one level for both costs beyond one for each.
    fn merger_cost(&self, other: &Self) -> f64 {
        let apart = self.centroid() - other.centroid();
        self.weight * other.weight / (self.weight + other.weight) * apart * apart
    }

    fn merged(&self, other: &Self) -> Self {
        let (weight, sum) = (self.weight + other.weight, self.sum + other.sum);
        Self { middle: (self.middle * self.weight + other.middle * other.weight) / weight, weight, sum }
    }
}

/// The occupied cells of the least step found whose codes have at most `rate` bits.
fn cells_at_rate(points: &[(f64, f64)], rate: f64, level_count: usize) -> Vec<Cell> {
    let largest = points.iter().fold(f64::MIN_POSITIVE, |most, p| most.max(p.0.abs()));
    let (mut small, mut large) = ((STEP_MIN * spread(points)).ln(), (4.0 * largest).ln());
    // One cell about zero, and no entropy at all.
    let mut best = cells(points, large.exp(), level_count);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (small + large);
        let cells = cells(points, middle.exp(), level_count);
        if entropy(&cells) <= rate {
            (large, best) = (middle, cells);
        } else {
            small = middle;
        }
    }
    best
}

/// The cells ⌊x/step + ½⌋ that hold points; neighbours whose merger costs least are merged until `level_count` are left.
fn cells(points: &[(f64, f64)], step: f64, level_count: usize) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for &(x, weight) in points {
        let middle = (x / step + 0.5).floor() * step;
        match cells.last_mut() {
            Some(cell) if cell.middle == middle => {
                cell.weight += weight;
                cell.sum += weight * x;
            }
            _ => cells.push(Cell { middle, weight, sum: weight * x }),
        }
    }
    while cells.len() > level_count {
        cells = fewer(&cells, cells.len() - level_count);
    }
    cells
}

/// Merges pairs of neighbours, those that cost least first, each cell once: half of the `surplus`, and one at least.
fn fewer(cells: &[Cell], surplus: usize) -> Vec<Cell> {
    let mut pairs: Vec<usize> = (0..cells.len() - 1).collect();
    pairs.sort_by_cached_key(|&at| cells[at].merger_cost(&cells[at + 1]).to_bits());
    let mut taken = vec![false; cells.len()];
    let mut merges = vec![false; cells.len()];
    let mut left = surplus.div_ceil(2);
    for at in pairs {
        if left > 0 && !taken[at] && !taken[at + 1] {
            (taken[at], taken[at + 1], merges[at]) = (true, true, true);
            left -= 1;
        }
    }
    let merged = |at: usize| match merges[at] {
        true => Some(cells[at].merged(&cells[at + 1])),
        false => (at == 0 || !merges[at - 1]).then_some(cells[at]),
    };
    (0..cells.len()).filter_map(merged).collect()
}

/// In bits.
fn entropy(cells: &[Cell]) -> f64 {
    let total: f64 = cells.iter().map(|cell| cell.weight).sum();
    let shares = cells.iter().map(|cell| cell.weight / total);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use crate::measure::entropy_bits;
    use crate::quantize::{Quantized, quantize};
    use crate::recipe::Recipe;
    use crate::reference::Reference;
    use crate::source::{Gaussian, Source};
    use crate::tensor::{Matrix, Samples};

    fn quantized(samples: &[f32], recipe: &str) -> Quantized {
        let matrix = Matrix::new(Samples::F32(samples), 4, samples.len() / 4).unwrap();
        quantize(&Reference, matrix, &Recipe::preset(recipe).unwrap()).unwrap()
    }

    /// Quantiles of N(0, 1) at even steps, in the order of a walk that meets each once.
    fn gaussian(count: usize) -> Vec<f32> {
        let quantile = |i: usize| Gaussian::STANDARD.quantile((i as f64 + 0.5) / count as f64) as f32;
        (0..count).map(|i| quantile(i * 40_503 % count)).collect()
    }

    /// Gish and Pierce: 1.53 dB below 6.02·R at high rate, where N(0,1) is concerned; less at low rate.
    #[test]
    fn gaussian_samples_are_a_quarter_bit_from_shannon() {
        let samples: Vec<f32> = gaussian(1 << 18).iter().map(|x| 0.02 * x).collect();
        for (rate, least) in [(1.0, 4.55), (2.0, 10.45), (3.25, 17.99), (4.5, 25.53), (6.0, 34.57)] {
            let made = quantized(&samples, &format!("ecsq{rate}"));
            let entropy = entropy_bits(&made.distortion.code_counts);
            assert!((entropy - rate).abs() < 2e-3, "{rate}: {entropy} bits");
            let sqnr_db = made.distortion.sqnr_db();
            assert!(sqnr_db > least && sqnr_db < 6.0206 * rate - 1.25, "{rate}: {sqnr_db} dB");
        }
    }

    #[test]
    fn tails_constants_and_zeros_have_levels() {
        let mut samples = gaussian(40_000);
        for far in [300.0, 1e3, 1e4, 1e6] {
            (samples[17], samples[18]) = (far, -0.7 * far);
            let distortion = quantized(&samples, "ecsq3").distortion;
            let entropy = entropy_bits(&distortion.code_counts);
            assert!((entropy - 3.0).abs() < 0.01, "{far}: {entropy} bits");
            let noise_db = -10.0 * (distortion.squared_error / samples.len() as f64).log10();
            assert!(noise_db > 16.4, "{far}: {noise_db} dB below one");
        }
        let shifted: Vec<f32> = samples.iter().map(|x| 1000.0 + 0.1 * x.clamp(-9.0, 9.0)).collect();
        let distortion = quantized(&shifted, "ecsq3").distortion;
        let entropy = entropy_bits(&distortion.code_counts);
        assert!((entropy - 3.0).abs() < 0.01 && distortion.squared_error < 0.00024 * 40_000.0, "{entropy} bits");
        assert_eq!(quantized(&[0.0; 64], "ecsq4").distortion.squared_error, 0.0);
        let same = quantized(&[-1.5; 64], "ecsq4").distortion;
        assert!(same.squared_error <= 1e-12, "{}", same.squared_error);
    }

    #[test]
    fn bits_are_those_of_the_entropy_and_of_the_tables() {
        let made = quantized(&gaussian(1 << 16), "ecsq2.5");
        let bits = made.entropy_coded_bits();
        let tables = 2.0 * 32.0 * 32.0;
        assert!((bits.total_bits() as f64 - 2.5 * 65536.0 - tables).abs() < 400.0, "{bits:?}");
        assert_eq!(made.stored_bits().code_bits, 5 * 65536);
    }
}
