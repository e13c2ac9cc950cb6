//! What does a quantized matrix decode to, what does it store, and how far is it from the original?

use std::ops::Range;

use super::{Quantized, vectors};
use crate::backend::{Backend, Encoding, SamplesMut};
use crate::codebook::Codebooks;
use crate::codes::{add_codes_of_bytes, code_at};
use crate::grouping::{GroupLength, Grouping};
use crate::measure::{Distortion, entropy_bits};
use crate::outliers;
use crate::rate::StoredBits;
use crate::recipe::Recipe;
use crate::sensitivity::{WeightedError, weights_of_rows};
use crate::switched::SwitchedEncoding;
use crate::tensor::Matrix;

/// Samples that are decoded at a time to be measured.
const PART_LEN: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

impl Quantized {
    /// No codes yet.
    pub(super) fn begun(recipe: &Recipe, grouping: Grouping, codebooks: Codebooks) -> Self {
        Self {
            bit_width: recipe.bit_width,
            grouping,
            packed: Vec::new(),
            codebooks,
            scales: None,
            scale_storage: recipe.scale_storage,
            stored_scales: None,
            switched: None,
            vectors: None,
            outliers: None,
            distortion: Distortion::empty(recipe.bit_width.level_count()),
            weighted: None,
        }
    }

    /// How the codes are to be read, where groups do not choose among codebooks.
    pub fn encoding(&self) -> Encoding<'_> {
        Encoding {
            bit_width: self.bit_width,
            grouping: self.grouping,
            scales: self.scales.as_deref(),
            codebooks: &self.codebooks,
        }
    }

    /// Bits as stored in the native format.
    pub fn stored_bits(&self) -> StoredBits {
        let scale_count = self.scales.as_ref().map_or(0, Vec::len);
        let (rows, columns) = (self.grouping.rows(), self.grouping.columns());
        let scale_bits = match &self.switched {
            _ if self.vectors.is_some() => 16 * rows as u64,
            Some(s) => 8 * s.selectors.len() as u64 + 16 * s.row_scales.len() as u64,
            None => self.scale_storage.stored_bits(scale_count),
        };
        let codebook_bits = match (&self.switched, &self.vectors) {
            (_, Some(v)) => 16 * v.codevectors.len() as u64,
            (Some(s), None) => 16 * (s.shapes.len() + s.steps.len()) as u64,
            (None, None) => 32 * self.codebooks.all_levels().len() as u64,
        };
        let outlier_bits = |o: &outliers::Outliers| outliers::stored_bits(o.count(), rows, columns, o.dtype);
        StoredBits {
            weight_count: (rows * columns) as u64,
            code_bits: 8 * self.packed.len() as u64,
            scale_bits,
            codebook_bits,
            outlier_bits: self.outliers.as_ref().map_or(0, outlier_bits),
            dense_bits: 0,
        }
    }

    /// The same when codes are entropy coded: n·H, and a frequency of 32 bits for each level. What a coder adds, below 1e-3
    /// of it, is not counted.
    pub fn entropy_coded_bits(&self) -> StoredBits {
        let (counts, sample_count) = (&self.distortion.code_counts, self.distortion.sample_count as f64);
        let code_bits = (sample_count * entropy_bits(counts)).ceil() as u64 + 32 * self.bit_width.level_count() as u64;
        StoredBits { code_bits, ..self.stored_bits() }
    }

    /// The samples that a decoder sees.
    pub fn decode<B: Backend>(&self, backend: &B, samples: &mut SamplesMut<'_>) -> Result<(), B::Fault> {
        self.decode_rows(backend, 0..self.grouping.rows(), samples)
    }

    /// The samples of rows `rows` that a decoder sees.
    pub fn decode_rows<B: Backend>(
        &self,
        backend: &B,
        rows: Range<usize>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), B::Fault> {
        let (columns, length) = (self.grouping.columns(), self.grouping.length());
        if let Some(vectors) = &self.vectors {
            vectors::decode_rows(self, vectors, backend, rows.clone(), samples)?;
            self.put_outliers_back(rows, samples);
            return Ok(());
        }
        let grouping = Grouping::new(rows.len(), columns, length);
        let row_len = self.bit_width.row_len_bytes(columns);
        let packed = &self.packed[rows.start * row_len..rows.end * row_len];
        match &self.switched {
            Some(switched) => {
                let row_scales = &switched.row_scales_f32()[rows.clone()];
                let (bit_width, selector_width) = (self.bit_width, switched.selector_width);
                let codebooks = &self.codebooks;
                let encoding = SwitchedEncoding { bit_width, selector_width, grouping, row_scales, codebooks };
                let len = encoding.selector_row_len_bytes();
                let selectors = &switched.selectors[rows.start * len..rows.end * len];
                backend.decode_switched(packed, selectors, &encoding, samples)?;
            }
            None => {
                let of_rows;
                let codebooks = match self.codebooks.count() {
                    1 => &self.codebooks,
                    _ => {
                        let levels = rows.clone().map(|row| self.codebooks.levels(row));
                        of_rows = Codebooks::from_levels(self.codebooks.level_count(), levels);
                        &of_rows
                    }
                };
                let groups = match length {
                    GroupLength::Tensor => 0..1,
                    _ => rows.start * grouping.groups_per_row()..rows.end * grouping.groups_per_row(),
                };
                let scales = self.scales.as_deref().map(|s| &s[groups]);
                let encoding = Encoding { bit_width: self.bit_width, grouping, scales, codebooks };
                backend.decode(packed, &encoding, samples)?;
            }
        }
        self.put_outliers_back(rows, samples);
        Ok(())
    }

    fn put_outliers_back(&self, rows: Range<usize>, samples: &mut SamplesMut<'_>) {
        if let Some(outliers) = &self.outliers {
            outliers.put_back(rows, self.grouping.columns(), samples);
        }
    }

    /// Measures what a decoder sees, outliers put back, against `matrix`; plainly, and under `weights` where there are any.
    pub(super) fn measure<B: Backend>(
        &mut self,
        backend: &B,
        matrix: Matrix<'_>,
        weights: Option<&[f32]>,
    ) -> Result<(), B::Fault> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let mut sums = Distortion::empty(self.bit_width.level_count());
        let mut weighted = WeightedError::default();
        let step = (PART_LEN / columns.max(1)).max(1);
        let mut decoded = vec![0.0; step.min(rows) * columns];
        for top in (0..rows).step_by(step) {
            let part = top..(top + step).min(rows);
            let decoded = &mut decoded[..part.len() * columns];
            self.decode_rows(backend, part.clone(), &mut SamplesMut::F32(decoded))?;
            let weights = weights_of_rows(weights, part.clone(), columns);
            let (plain, under_weights) = backend.errors(matrix.row_range(part), decoded, weights)?;
            sums.merge(&plain);
            weighted.merge(&under_weights);
        }
        match self.vectors {
            // Of indices of several codebooks there is no one entropy.
            Some(_) => sums.code_counts.clear(),
            None => self.count_codes(&mut sums.code_counts),
        }
        self.distortion = sums;
        self.weighted = weights.map(|_| weighted);
        Ok(())
    }

    /// Whole bytes first, where a byte holds whole codes.
    fn count_codes(&self, counts: &mut [u64]) {
        let columns = self.grouping.columns();
        let row_len = self.bit_width.row_len_bytes(columns).max(1);
        let per_byte = self.bit_width.codes_per_byte();
        let byte_count = columns.checked_div(per_byte).unwrap_or(0);
        let mut bytes = [0u64; 256];
        for row in self.packed.chunks_exact(row_len) {
            row[..byte_count].iter().for_each(|&byte| bytes[usize::from(byte)] += 1);
            let rest = byte_count * per_byte..columns;
            rest.for_each(|i| counts[usize::from(code_at(row, self.bit_width, i))] += 1);
        }
        add_codes_of_bytes(&bytes, self.bit_width, counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::{BitWidth, pack_row};
    use crate::quantize::quantize_weighted;
    use crate::reference::{self, Reference};
    use crate::sensitivity::Weights;
    use crate::tensor::Samples;

    /// Some number for each index, below 2³², without order.
    fn scattered(i: usize) -> u64 {
        (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }

    fn wave(i: usize) -> f32 {
        scattered(i) as f32 / (1u64 << 31) as f32 - 1.0
    }

    #[test]
    fn codes_are_counted_at_any_width_and_row_length() {
        for (bits, columns) in (2..=8).flat_map(|bits| [1, 3, 7, 65].map(|columns| (bits, columns))) {
            let (width, rows) = (BitWidth::new(bits).unwrap(), 5);
            let row_len = width.row_len_bytes(columns);
            let codes: Vec<u8> =
                (0..rows * columns).map(|i| (scattered(i) % width.level_count() as u64) as u8).collect();
            let mut packed = vec![0; rows * row_len];
            codes.chunks(columns).zip(packed.chunks_mut(row_len)).for_each(|(c, to)| pack_row(c, width, to));
            let recipe = Recipe::preset("lloyd4").unwrap();
            let grouping = Grouping::new(rows, columns, GroupLength::Row);
            let begun = Quantized::begun(&recipe, grouping, Codebooks::from_levels(2, [[0.0, 1.0]]));
            let mut counts = vec![0; width.level_count()];
            Quantized { bit_width: width, packed, ..begun }.count_codes(&mut counts);
            let mut expected = vec![0; width.level_count()];
            codes.iter().for_each(|&code| expected[usize::from(code)] += 1);
            assert_eq!(counts, expected, "{bits} bits, {columns} columns");
        }
    }

    #[test]
    fn weights_stay_with_their_samples_in_every_part() {
        let (rows, columns) = (9, 300);
        let samples: Vec<f32> = (0..rows * columns).map(wave).collect();
        let matrix = Matrix::new(Samples::F32(&samples), rows, columns).unwrap();
        assert!(matrix.len() > 2 * PART_LEN, "several parts");
        for count in [columns, rows * columns] {
            let weights = Weights::new((0..count).map(|i| wave(i + 7).powi(4)).collect(), rows, columns).unwrap();
            let recipe = Recipe::preset("nf4").unwrap();
            let made = quantize_weighted(&Reference, matrix, Some(&weights), &recipe).unwrap();
            let mut decoded = vec![0.0; matrix.len()];
            made.decode(&Reference, &mut SamplesMut::F32(&mut decoded)).unwrap();
            let (plain, weighted) = reference::errors(matrix, &decoded, Some(weights.values()));
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b;
            assert!(near(made.distortion.squared_error, plain.squared_error), "{count}");
            assert!(near(made.weighted.unwrap().squared_error, weighted.squared_error), "{count} weights");
        }
    }
}
