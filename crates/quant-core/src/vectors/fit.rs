//! Which codevectors? Splitting and Lloyd's algorithm, stage by stage, then all stages together.

use half::f16;

use super::{VectorEncoding, unpack_indices};
use crate::backend::Backend;
use crate::recipe::VectorRule;
use crate::tensor::{Matrix, Samples, flush};

/// Points that a fit sees at most, and those while codevectors are split: a few for each codevector.
const POINTS_MAX: usize = 1 << 18;
const POINTS_SPLITTING: usize = 1 << 15;

/// Rounds of Lloyd between splits, and after the last one, at most.
const ROUNDS_SPLITTING: usize = 3;
const ROUNDS: usize = 24;

/// Points and rounds of all stages together, at most: most of the way on fewer points.
const TOGETHER: [(usize, usize); 2] = [(1 << 16, 12), (POINTS_MAX, 4)];

/// The relative gain of a round below which it is the last: 0.001 dB.
const GAIN_MIN: f64 = 2e-4;

/// Points in a row of the matrix that a backend encodes while a fit lasts: enough for its blocks, and rows for threads.
const ROW_POINTS: usize = 1024;

/// How far the halves of a cell lie from its mean, in deviations of its widest coordinate: √(2/π), for a Gaussian.
const SPLIT: f64 = 0.797_884_560_802_865_4;

/// Codevectors of all parts for `matrix`, rounded as they are stored. `weights` as in [`Backend::fit_rows`].
pub(crate) fn fit<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    rule: VectorRule,
    row_scales: &[f32],
) -> Result<Vec<f16>, B::Fault> {
    let mut codevectors = Vec::with_capacity(rule.table_len());
    for part in 0..rule.parts() {
        let training = Training::of(matrix, weights, rule, part, row_scales);
        let stages = if training.count == 0 {
            vec![vec![0.0; rule.codevector_count() * rule.dimension()]; rule.stages()]
        } else {
            training.all_together(backend, rule, training.stages(backend, rule)?)?
        };
        codevectors.extend(stages.iter().flatten().map(|&y| half(y)));
    }
    Ok(codevectors)
}

/// Some points of a part, in units of their rows.
struct Training {
    dimension: usize,
    count: usize,
    /// Points one after another, and zeros up to a whole number of rows of [`ROW_POINTS`].
    samples: Vec<f32>,
    weights: Option<Vec<f32>>,
}

/// What the points of each cell say.
struct Cells {
    dimension: usize,
    weights: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
    costs: Vec<f64>,
}

impl Training {
    fn of(matrix: Matrix<'_>, weights: Option<&[f32]>, rule: VectorRule, part: usize, row_scales: &[f32]) -> Self {
        let (columns, dimension) = (matrix.columns(), rule.dimension());
        let per_row = (rule.points_per_row(columns) + rule.parts() - 1 - part) / rule.parts();
        let point_count = matrix.rows() * per_row;
        let count = point_count.min(POINTS_MAX);
        let stride = coprime_stride(point_count);
        let inverse = |scale: f32| if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let is_shared = weights.is_some_and(|w| w.len() == columns);
        let mut samples = Vec::with_capacity(padded(count) * dimension);
        let mut of_points = Vec::new();
        for i in 0..count {
            let index = (i as u128 * stride as u128 % point_count as u128) as usize;
            let (row, start) = (index / per_row, (index % per_row * rule.parts() + part) * dimension);
            let places = start..(start + dimension).min(columns);
            let sample = |column| flush(matrix.samples().get(row * columns + column) * inverse(row_scales[row]));
            samples.extend(places.clone().map(sample));
            samples.resize((i + 1) * dimension, 0.0);
            if let Some(weights) = weights {
                let weight =
                    |column: usize| f64::from(weights[if is_shared { column } else { row * columns + column }]);
                of_points.push((places.clone().map(weight).sum::<f64>() / places.len() as f64) as f32);
            }
        }
        samples.resize(padded(count) * dimension, 0.0);
        Self { dimension, count, samples, weights: weights.map(|_| of_points) }
    }

    fn weight(&self, index: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |w| f64::from(w[index]))
    }

    /// The indices of points `targets`, all stages of a point together.
    fn codes<B: Backend>(
        &self,
        backend: &B,
        targets: &[f32],
        rule: VectorRule,
        codevectors: &[f32],
    ) -> Result<Vec<u16>, B::Fault> {
        let points = targets.len() / self.dimension;
        let per_row = points.min(ROW_POINTS);
        let (rows, columns) = (points / per_row, per_row * self.dimension);
        let row_scales = vec![1.0; rows];
        let encoding = VectorEncoding { rule, rows, columns, row_scales: &row_scales, codevectors };
        let row_len = encoding.row_len_bytes();
        let mut packed = vec![0; rows * row_len];
        let matrix = Matrix::new(Samples::F32(targets), rows, columns).expect("whole rows");
        backend.encode_vectors(matrix, &encoding, &mut packed)?;
        let mut codes = vec![0; points * rule.stages()];
        for (codes, packed) in codes.chunks_exact_mut(per_row * rule.stages()).zip(packed.chunks_exact(row_len)) {
            unpack_indices(packed, rule.index_bits(), codes);
        }
        Ok(codes)
    }

    /// All stages, each for what those before leave over.
    fn stages<B: Backend>(&self, backend: &B, rule: VectorRule) -> Result<Vec<Vec<f64>>, B::Fault> {
        let (d, mut rest, mut stages) = (self.dimension, self.samples.clone(), Vec::new());
        for stage in 0..rule.stages() {
            let codevectors = self.stage(backend, &rest, rule)?;
            if stage + 1 < rule.stages() {
                let stored = rounded(&codevectors);
                let codes = self.codes(backend, &rest, rule.one_stage(rule.index_bits()), &stored)?;
                for (x, &code) in rest.chunks_exact_mut(d).zip(&codes) {
                    x.iter_mut().zip(&stored[usize::from(code) * d..]).for_each(|(x, y)| *x -= y);
                }
            }
            stages.push(codevectors);
        }
        Ok(stages)
    }

    /// One codebook for the points `targets`.
    fn stage<B: Backend>(&self, backend: &B, targets: &[f32], rule: VectorRule) -> Result<Vec<f64>, B::Fault> {
        let few = self.count.min(POINTS_SPLITTING.max(4 * rule.codevector_count()));
        let few = if few < self.count { few / ROW_POINTS * ROW_POINTS } else { self.count };
        let mut codevectors = vec![0.0; self.dimension];
        for bits in 0..=rule.index_bits() {
            if bits > 0 {
                let codes =
                    self.stage_codes(backend, &targets[..padded(few) * self.dimension], rule, bits - 1, &codevectors)?;
                codevectors = self.cells(targets, &codes[..few], &codevectors).split(&codevectors);
            }
            let is_last = bits == rule.index_bits();
            let (count, rounds) = if is_last { (self.count, ROUNDS) } else { (few, ROUNDS_SPLITTING) };
            let (targets, mut before) = (&targets[..padded(count) * self.dimension], f64::INFINITY);
            for _ in 0..rounds {
                let codes = self.stage_codes(backend, targets, rule, bits, &codevectors)?;
                let cells = self.cells(targets, &codes[..count], &codevectors);
                cells.centre(&mut codevectors);
                let cost: f64 = cells.costs.iter().sum();
                if cost >= before * (1.0 - GAIN_MIN) {
                    break;
                }
                before = cost;
            }
        }
        Ok(codevectors)
    }

    /// Codes of one stage of 2^bits codevectors.
    fn stage_codes<B: Backend>(
        &self,
        backend: &B,
        targets: &[f32],
        rule: VectorRule,
        bits: usize,
        codevectors: &[f64],
    ) -> Result<Vec<u16>, B::Fault> {
        if bits == 0 {
            return Ok(vec![0; targets.len() / self.dimension]);
        }
        self.codes(backend, targets, rule.one_stage(bits), &rounded(codevectors))
    }

    /// [`Self::together`] on some points, then on all.
    fn all_together<B: Backend>(
        &self,
        backend: &B,
        rule: VectorRule,
        mut stages: Vec<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>, B::Fault> {
        if rule.stages() == 1 {
            return Ok(stages);
        }
        for (count, rounds_max) in TOGETHER {
            if count >= self.count {
                return self.together(backend, rule, stages, rounds_max);
            }
            let samples = self.samples[..count * self.dimension].to_vec();
            let weights = self.weights.as_ref().map(|w| w[..count].to_vec());
            let some = Self { dimension: self.dimension, count, samples, weights };
            stages = some.together(backend, rule, stages, rounds_max)?;
        }
        Ok(stages)
    }

    /// Moves the codevectors of all stages together, each to the mean of what the others leave, as long as that helps.
    fn together<B: Backend>(
        &self,
        backend: &B,
        rule: VectorRule,
        mut stages: Vec<Vec<f64>>,
        rounds_max: usize,
    ) -> Result<Vec<Vec<f64>>, B::Fault> {
        let mut best = (f64::INFINITY, stages.clone());
        for _ in 0..rounds_max {
            let table: Vec<f32> = stages.iter().flat_map(|stage| rounded(stage)).collect();
            let codes = self.codes(backend, &self.samples, rule.one_part(), &table)?;
            let cost = self.cost(&codes, &table);
            let has_gained = cost < best.0 * (1.0 - GAIN_MIN);
            if cost < best.0 {
                best = (cost, stages.clone());
            }
            if !has_gained {
                break;
            }
            for stage in 0..stages.len() {
                let (targets, codes) = self.left_by_others(&codes, &stages, stage);
                self.cells(&targets, &codes, &stages[stage]).centre(&mut stages[stage]);
            }
        }
        Ok(best.1)
    }

    /// Σ w‖x − y‖² of points whose codevectors add up.
    fn cost(&self, codes: &[u16], table: &[f32]) -> f64 {
        let (d, stages) = (self.dimension, codes.len() * self.dimension / self.samples.len());
        let len = table.len() / stages;
        let of_point = |(index, (x, codes)): (usize, (&[f32], &[u16]))| {
            let squared = |(i, x): (usize, &f32)| {
                let y: f32 =
                    codes.iter().enumerate().map(|(s, &code)| table[s * len + usize::from(code) * d + i]).sum();
                (f64::from(*x) - f64::from(y)).powi(2)
            };
            self.weight(index) * x.iter().enumerate().map(squared).sum::<f64>()
        };
        self.samples.chunks_exact(d).zip(codes.chunks_exact(stages)).take(self.count).enumerate().map(of_point).sum()
    }

    /// What the stages but `stage` leave of each point, and its code in that stage.
    fn left_by_others(&self, codes: &[u16], stages: &[Vec<f64>], stage: usize) -> (Vec<f32>, Vec<u16>) {
        let d = self.dimension;
        let mut targets = self.samples[..self.count * d].to_vec();
        for (x, codes) in targets.chunks_exact_mut(d).zip(codes.chunks_exact(stages.len())) {
            for (other, &code) in codes.iter().enumerate().filter(|(other, _)| *other != stage) {
                let codevector = &stages[other][usize::from(code) * d..];
                x.iter_mut().zip(codevector).for_each(|(x, &y)| *x -= half(y).to_f32());
            }
        }
        (targets, codes.iter().skip(stage).step_by(stages.len()).take(self.count).copied().collect())
    }

    /// Sums over the points `targets` that have a code.
    fn cells(&self, targets: &[f32], codes: &[u16], codevectors: &[f64]) -> Cells {
        let d = self.dimension;
        let mut cells = Cells {
            dimension: d,
            weights: vec![0.0; codevectors.len() / d],
            sums: vec![0.0; codevectors.len()],
            squares: vec![0.0; codevectors.len()],
            costs: vec![0.0; codevectors.len() / d],
        };
        for (index, (x, &code)) in targets.chunks_exact(d).zip(codes).enumerate() {
            cells.add(usize::from(code), x, self.weight(index), codevectors);
        }
        cells
    }
}

impl Cells {
    #[inline(always)]
    fn add(&mut self, code: usize, point: &[f32], weight: f64, codevectors: &[f64]) {
        self.weights[code] += weight;
        let places = code * self.dimension..(code + 1) * self.dimension;
        let (sums, squares) = (&mut self.sums[places.clone()], &mut self.squares[places.clone()]);
        let mut cost = 0.0;
        for (((&x, sum), square), y) in point.iter().zip(sums).zip(squares).zip(&codevectors[places]) {
            let x = f64::from(x);
            *sum += weight * x;
            *square += weight * x * x;
            cost += (x - y) * (x - y);
        }
        self.costs[code] += weight * cost;
    }

    /// Codevectors become means. One without points becomes half of the dearest cell that is not halved yet.
    fn centre(&self, codevectors: &mut [f64]) {
        let d = self.dimension;
        for code in (0..self.weights.len()).filter(|&code| self.weights[code] > 0.0) {
            let mean = self.sums[code * d..][..d].iter().map(|sum| sum / self.weights[code]);
            codevectors[code * d..][..d].iter_mut().zip(mean).for_each(|(y, mean)| *y = mean);
        }
        let empty: Vec<usize> = (0..self.weights.len()).filter(|&code| self.weights[code] <= 0.0).collect();
        if empty.is_empty() {
            return;
        }
        let mut dearest: Vec<usize> = (0..self.weights.len()).filter(|&code| self.costs[code] > 0.0).collect();
        dearest.sort_by(|&a, &b| self.costs[b].total_cmp(&self.costs[a]).then(a.cmp(&b)));
        for (empty, full) in empty.into_iter().zip(dearest) {
            let (low, high) = self.halves(full, &codevectors[full * d..][..d]);
            codevectors[full * d..][..d].copy_from_slice(&low);
            codevectors[empty * d..][..d].copy_from_slice(&high);
        }
    }

    /// Twice as many codevectors: the halves of every cell, one after the other.
    fn split(&self, codevectors: &[f64]) -> Vec<f64> {
        let halves = |(code, y): (usize, &[f64])| {
            let (low, high) = self.halves(code, y);
            low.into_iter().chain(high).collect::<Vec<_>>()
        };
        codevectors.chunks_exact(self.dimension).enumerate().flat_map(halves).collect()
    }

    /// The means of the two halves of a cell across its widest coordinate, if its points were a Gaussian about `centre`.
    fn halves(&self, code: usize, centre: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut low, mut high) = (centre.to_vec(), centre.to_vec());
        let weight = self.weights[code];
        let variance = |i: usize| {
            let (sum, square) = (self.sums[code * self.dimension + i], self.squares[code * self.dimension + i]);
            if weight > 0.0 { (square / weight - (sum / weight).powi(2)).max(0.0) } else { 0.0 }
        };
        let widest = (0..self.dimension).max_by(|&a, &b| variance(a).total_cmp(&variance(b))).expect("a coordinate");
        let step = SPLIT * variance(widest).sqrt();
        low[widest] -= step;
        high[widest] += step;
        (low, high)
    }
}

/// Points of whole rows that hold `count` of them.
fn padded(count: usize) -> usize {
    if count > ROW_POINTS { count.next_multiple_of(ROW_POINTS) } else { count }
}

/// A number near `count`/φ that has no divisor in common with it: its multiples modulo `count` are all numbers below
/// `count`, and any first few of them are spread evenly.
fn coprime_stride(count: usize) -> usize {
    let near = ((count as f64 * 0.618_033_988_749_894_9) as usize).max(1);
    (near..).find(|&stride| gcd(stride, count) == 1).expect("a prime is met at last")
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn half(value: f64) -> f16 {
    let most = f16::MAX.to_f64();
    f16::from_f64(value.clamp(-most, most))
}

fn rounded(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&y| half(y).to_f32()).collect()
}
