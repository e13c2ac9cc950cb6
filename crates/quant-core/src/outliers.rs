//! Which samples are kept exact beside the codes, and how are they stored? Dense-and-sparse quantization.
//!
//! The samples of largest magnitude, or of largest weight · x², leave the matrix: zeros stand in their place when codes
//! are made, and a decoder puts them back. Stored row by row, as compressed sparse rows: where each row starts, the column
//! of each outlier and its value in the source's number format.
//!
//! Source: Kim et al. 2023, "SqueezeLLM: dense-and-sparse quantization".

use half::{bf16, f16};

use crate::backend::SamplesMut;
use crate::recipe::OutlierRule;
use crate::sensitivity::row_weights;
use crate::tensor::{Dtype, Matrix, Samples};

/// Samples kept exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Outliers {
    /// For each row the number of outliers before it, and at last the number of all.
    pub row_starts: Vec<u32>,
    /// Column of each, ascending in each row.
    pub columns: Vec<u32>,
    /// Value of each, one that `dtype` holds.
    pub values: Vec<f32>,
    /// The source's number format, which they are stored in.
    pub dtype: Dtype,
}

/// Bits of a stored column index: 16 where they suffice.
pub fn column_bits(columns: usize) -> u64 {
    if columns <= 1 << 16 { 16 } else { 32 }
}

/// Stored bits of `count` outliers of a `rows × columns` matrix of `dtype`.
pub fn stored_bits(count: usize, rows: usize, columns: usize, dtype: Dtype) -> u64 {
    32 * (rows as u64 + 1) + count as u64 * (column_bits(columns) + 8 * dtype.byte_len() as u64)
}

impl Outliers {
    /// The outliers of `matrix` by `rule`; between equals the first ones. `weights`, one per sample or one row for all, are
    /// looked at by a rule of sensitivity alone, and are 1 where there are none.
    ///
    /// ```
    /// use quant_core::{outliers::Outliers, recipe::OutlierRule, tensor::{Matrix, Samples}};
    /// let samples = [1.0f32, -9.0, 2.0, 3.0, 0.5, 8.0];
    /// let matrix = Matrix::new(Samples::F32(&samples), 2, 3).unwrap();
    /// let rule = OutlierRule { per_million: 333_333, by_sensitivity: false };
    /// let outliers = Outliers::find(matrix, None, rule);
    /// assert_eq!((outliers.row_starts, outliers.columns), (vec![0, 1, 2], vec![1, 2]));
    /// ```
    pub fn find(matrix: Matrix<'_>, weights: Option<&[f32]>, rule: OutlierRule) -> Self {
        let keys = Keys { matrix, weights: weights.filter(|_| rule.by_sensitivity) };
        let (least, mut spare) = least_key(&keys, rule.count(matrix.len()));
        let mut found =
            Self { row_starts: vec![0], columns: Vec::new(), values: Vec::new(), dtype: matrix.samples().dtype() };
        keys.for_each_row(|row, keys| {
            for (run, keys) in keys.chunks(RUN).enumerate() {
                // Few are: most runs have none, and to see that takes no branch.
                if keys.iter().fold(0, |most: u32, &key| most.max(key)) < least {
                    continue;
                }
                for (column, &key) in (run * RUN..).zip(keys) {
                    if key > least || (key == least && spare > 0) {
                        spare -= usize::from(key == least);
                        found.columns.push(column as u32);
                        found.values.push(matrix.samples().get(row * matrix.columns() + column));
                    }
                }
            }
            found.row_starts.push(found.columns.len() as u32);
        });
        found
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.columns.len()
    }

    /// Row, column and value of those of some rows.
    fn of_rows(&self, rows: std::ops::Range<usize>) -> impl Iterator<Item = (usize, usize, f32)> {
        let of_row = |row: usize| self.row_starts[row] as usize..self.row_starts[row + 1] as usize;
        rows.flat_map(move |row| of_row(row).map(move |i| (row, self.columns[i] as usize, self.values[i])))
    }

    /// Puts the outliers of rows `rows` into decoded samples of those rows.
    pub fn put_back(&self, rows: std::ops::Range<usize>, columns: usize, samples: &mut SamplesMut<'_>) {
        let first = rows.start;
        self.of_rows(rows).for_each(|(row, column, value)| samples.set((row - first) * columns + column, value));
    }

    /// The matrix with zeros for outliers.
    pub fn without(&self, matrix: Matrix<'_>) -> Rest {
        let mut rest = match matrix.samples() {
            Samples::F32(s) => Rest::F32(s.to_vec()),
            Samples::F16(s) => Rest::F16(s.to_vec()),
            Samples::Bf16(s) => Rest::Bf16(s.to_vec()),
        };
        for (row, column, _) in self.of_rows(0..matrix.rows()) {
            let index = row * matrix.columns() + column;
            match &mut rest {
                Rest::F32(s) => s[index] = 0.0,
                Rest::F16(s) => s[index] = f16::ZERO,
                Rest::Bf16(s) => s[index] = bf16::ZERO,
            }
        }
        rest
    }

    /// Weights for [`Self::without`], one per sample: those given, or 1, and 0 for outliers.
    pub fn weights_without(&self, matrix: Matrix<'_>, weights: Option<&[f32]>) -> Vec<f32> {
        let columns = matrix.columns();
        let mut rest = match weights {
            None => vec![1.0; matrix.len()],
            Some(w) if w.len() == matrix.len() => w.to_vec(),
            Some(w) => (0..matrix.rows()).flat_map(|_| w.iter().copied()).collect(),
        };
        self.of_rows(0..matrix.rows()).for_each(|(row, column, _)| rest[row * columns + column] = 0.0);
        rest
    }
}

/// The samples of a matrix without its outliers.
#[derive(Clone, Debug)]
pub enum Rest {
    /// 32-bit samples.
    F32(Vec<f32>),
    /// 16-bit IEEE samples.
    F16(Vec<f16>),
    /// bfloat16 samples.
    Bf16(Vec<bf16>),
}

impl Rest {
    /// All samples.
    pub fn samples(&self) -> Samples<'_> {
        match self {
            Self::F32(s) => Samples::F32(s),
            Self::F16(s) => Samples::F16(s),
            Self::Bf16(s) => Samples::Bf16(s),
        }
    }
}

/// Keys that are compared together.
const RUN: usize = 64;

/// What samples are chosen by: the bits of √w·|x|, which is not negative, so that they ascend as it does.
struct Keys<'a> {
    matrix: Matrix<'a>,
    /// One per sample or one row for all; 1 where there are none.
    weights: Option<&'a [f32]>,
}

impl Keys<'_> {
    fn for_each_row(&self, mut visit: impl FnMut(usize, &[u32])) {
        if self.matrix.rows() == 0 {
            return;
        }
        let columns = self.matrix.columns();
        let (mut samples, mut keys) = (vec![0.0; columns], vec![0; columns]);
        for row in 0..self.matrix.rows() {
            self.matrix.samples().slice(row * columns..(row + 1) * columns).copy_to(&mut samples);
            match row_weights(self.weights, row, columns) {
                None => keys.iter_mut().zip(&samples).for_each(|(key, x)| *key = x.abs().to_bits()),
                Some(weights) => {
                    let key = |x: f32, w: f32| (x.abs() * w.sqrt()).min(f32::MAX).to_bits();
                    let pairs = samples.iter().zip(weights);
                    keys.iter_mut().zip(pairs).for_each(|(to, (&x, &w))| *to = key(x, w));
                }
            }
            visit(row, &keys);
        }
    }
}

/// The `count`-th largest key, and how many of the keys that equal it are among the `count` largest. Counts by the upper and
/// then by the lower half of the bits, so that no list of more keys than those of a row is made.
fn least_key(keys: &Keys<'_>, count: usize) -> (u32, usize) {
    let (mut prefix, mut wanted) = (0u32, count.min(keys.matrix.len()));
    if wanted == 0 {
        return (u32::MAX, 0);
    }
    for shift in [16, 0] {
        let mut counts = vec![0usize; 1 << 16];
        let is_below = |k: u32| shift == 16 || k >> 16 == prefix >> 16;
        keys.for_each_row(|_, keys| {
            keys.iter().filter(|&&k| is_below(k)).for_each(|k| counts[(k >> shift & 0xffff) as usize] += 1);
        });
        let mut digit = counts.len() - 1;
        while counts[digit] < wanted {
            wanted -= counts[digit];
            digit -= 1;
        }
        prefix |= (digit as u32) << shift;
    }
    (prefix, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(per_million: u32, by_sensitivity: bool) -> OutlierRule {
        OutlierRule { per_million, by_sensitivity }
    }

    #[test]
    fn the_largest_leave_and_come_back() {
        let samples: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 - 500.0).collect();
        let matrix = Matrix::new(Samples::F32(&samples), 20, 50).unwrap();
        let outliers = Outliers::find(matrix, None, rule(31_000, false));
        assert_eq!(outliers.count(), 31);
        let least = outliers.values.iter().fold(f32::MAX, |least, x| least.min(x.abs()));
        let rest = outliers.without(matrix);
        let kept: Vec<f32> = (0..1000).map(|i| rest.samples().get(i)).collect();
        assert!(kept.iter().all(|x| x.abs() <= least), "{least}");
        let mut back = kept.clone();
        outliers.put_back(0..20, 50, &mut SamplesMut::F32(&mut back));
        assert_eq!(back, samples);
        let mut middle = kept[250..500].to_vec();
        outliers.put_back(5..10, 50, &mut SamplesMut::F32(&mut middle));
        assert_eq!(middle, samples[250..500]);
    }

    #[test]
    fn among_equals_the_first_are_taken() {
        let samples = [2.0f32; 10];
        let matrix = Matrix::new(Samples::F32(&samples), 2, 5).unwrap();
        let outliers = Outliers::find(matrix, None, rule(300_000, false));
        assert_eq!((outliers.columns, outliers.row_starts), (vec![0, 1, 2], vec![0, 3, 3]));
    }

    #[test]
    fn they_are_those_of_a_sorted_list() {
        // Ties within a run, across runs and across rows.
        let (rows, columns) = (7, 200);
        let samples: Vec<f32> = (0..rows * columns).map(|i| ((i * 7919 % 61) as f32 - 30.0) * 0.5).collect();
        let matrix = Matrix::new(Samples::F32(&samples), rows, columns).unwrap();
        for per_million in [0, 1000, 33_000, 100_000, 470_000] {
            let rule = rule(per_million, false);
            let found = Outliers::find(matrix, None, rule);
            let mut order: Vec<usize> = (0..samples.len()).collect();
            order.sort_by(|&i, &j| samples[j].abs().total_cmp(&samples[i].abs()).then(i.cmp(&j)));
            order.truncate(rule.count(samples.len()));
            order.sort_unstable();
            let places: Vec<usize> = found.of_rows(0..rows).map(|(row, column, _)| row * columns + column).collect();
            assert_eq!(places, order, "{per_million}");
            assert!(found.of_rows(0..rows).all(|(row, column, x)| samples[row * columns + column] == x));
        }
    }

    #[test]
    fn sensitivity_outweighs_magnitude() {
        let samples = [3.0f32, 2.0, 1.0, 0.5];
        let matrix = Matrix::new(Samples::F32(&samples), 2, 2).unwrap();
        let weights = [1.0, 9.0];
        let by = |by_sensitivity| Outliers::find(matrix, Some(&weights), rule(250_000, by_sensitivity)).values;
        assert_eq!((by(false), by(true)), (vec![3.0], vec![2.0]));
        let masked = Outliers::find(matrix, None, rule(250_000, false)).weights_without(matrix, Some(&weights));
        assert_eq!(masked, [0.0, 9.0, 1.0, 9.0]);
    }
}
