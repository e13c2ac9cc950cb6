//! The suite that every backend passes: normal and hostile.
//!
//! Each verb has a case here that runs it over the inputs of [`mod@cases`] on every backend it is given and compares the
//! results with [`mod@crate::reference`] according to the parity class of the verb. A backend instantiates all of them
//! with [`crate::conformance_suite!`], once as it is used and once with parameters that make it cross every seam.

pub mod cases;
pub mod compare;
mod feedback;
mod switched;
mod transforms;
mod vector_codes;
mod vectors;

pub use feedback::encode_with_feedback;
pub use switched::{decode_switched, encode_switched};
pub use transforms::{block_transform, hadamard};
pub use vector_codes::{decode_vectors, encode_vectors};
pub use vectors::vector_cells;

use crate::backend::{Backend, Encoding, SamplesMut};
use crate::codebook::Codebooks;
use crate::design::{Bins, Gathered, certified};
use crate::grouping::{GroupLength, Grouping};
use crate::reference::{Reference, inverse_scales};
use crate::scale::ScaleSearch;
use crate::tensor::{Dtype, Matrix, Samples};
use cases::{DTYPES, Plan, StoredMatrix};
use compare::{bounded_sum, exact, exact_values, within_one_ulp};

/// Writes one test per verb. `$backends` is a function that returns the backends to test, as a `Vec`.
#[macro_export]
macro_rules! conformance_suite {
    ($backends:path) => {
        $crate::conformance_suite!(@tests $backends; first_not_finite absmax_scales search_scales search_scales_of_rows
            encode
            encode_on_thresholds encode_with_feedback decode distortion errors value_histogram histogram cell_statistics gather
            fit_rows encode_switched decode_switched encode_vectors decode_vectors hadamard block_transform vector_cells);
    };
    (@tests $backends:path; $($verb:ident)*) => {$(
        #[test]
        fn $verb() {
            $crate::conformance::$verb(&$backends());
        }
    )*};
}

/// The value of a verb that must not fail.
fn done<T, F: std::error::Error>(result: Result<T, F>) -> T {
    result.unwrap_or_else(|fault| panic!("device fault: {fault}"))
}

fn for_each_input(mut visit: impl FnMut(&StoredMatrix)) {
    for samples in cases::inputs() {
        DTYPES.iter().for_each(|&dtype| visit(&samples.stored(dtype)));
    }
}

fn for_each_plan(mut visit: impl FnMut(&StoredMatrix, &Plan, &Encoding<'_>)) {
    for_each_input(|matrix| {
        for plan in cases::plans() {
            let (codebooks, scales) = (plan.codebooks(matrix), plan.scales(matrix));
            visit(matrix, &plan, &plan.encoding(matrix, &codebooks, scales.as_deref()));
        }
    });
}

/// Case of [`Backend::first_not_finite`].
pub fn first_not_finite<B: Backend>(backends: &[B]) {
    for_each_input(|matrix| {
        let spots = [None, Some(0), Some(matrix.len() / 2), Some(matrix.len() - 1)];
        let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for (spot, bad) in spots.into_iter().flat_map(|spot| bad.map(|bad| (spot, bad))) {
            let matrix = matrix.with_values(spot.map(|i| [(i, bad), (matrix.len() - 1, f32::INFINITY)]));
            let expected = done(Reference.first_not_finite(matrix.samples()));
            for backend in backends {
                let found = done(backend.first_not_finite(matrix.samples()));
                let bits = |found: Option<crate::tensor::NotFinite>| found.map(|f| (f.index, f.value.to_string()));
                assert_eq!(bits(found), bits(expected), "{} on {matrix}", backend.name());
            }
        }
    });
}

/// Case of [`Backend::absmax_scales`].
pub fn absmax_scales<B: Backend>(backends: &[B]) {
    for_each_input(|matrix| {
        for (length, inverse) in cases::LENGTHS.into_iter().zip([1.0, 0.7, 1.0 / 127.0, 3.0].into_iter().cycle()) {
            let grouping = Grouping::new(matrix.rows(), matrix.columns(), length);
            let mut expected = vec![f32::NAN; grouping.group_count()];
            done(Reference.absmax_scales(matrix.matrix(), grouping, inverse, &mut expected));
            for backend in backends {
                let mut scales = vec![f32::NAN; grouping.group_count()];
                done(backend.absmax_scales(matrix.matrix(), grouping, inverse, &mut scales));
                exact_values(&scales, &expected, &format!("{} on {matrix}, {length:?}", backend.name()));
            }
        }
    });
}

/// Case of [`Backend::search_scales`].
pub fn search_scales<B: Backend>(backends: &[B]) {
    for (levels, signed, length) in cases::searches() {
        let search = ScaleSearch::new(&Codebooks::from_levels(levels.len(), [&levels]), length, signed);
        for_each_input(|matrix| {
            let grouping = Grouping::new(matrix.rows(), matrix.columns(), length);
            let mut expected = vec![f32::NAN; grouping.group_count()];
            done(Reference.search_scales(matrix.matrix(), grouping, &search, &mut expected));
            for backend in backends {
                let mut scales = vec![f32::NAN; grouping.group_count()];
                done(backend.search_scales(matrix.matrix(), grouping, &search, &mut scales));
                let place = format!("{} on {matrix}, {length:?}, signed {signed}, levels {levels:?}", backend.name());
                exact_values(&scales, &expected, &place);
            }
        });
    }
}

/// Case of [`Backend::search_scales_of_rows`]: rows take turns with some codebooks and none.
pub fn search_scales_of_rows<B: Backend>(backends: &[B]) {
    for (length, signed) in
        [(GroupLength::Samples(64), true), (GroupLength::Samples(7), false), (GroupLength::Row, true)]
    {
        let search = |levels: &[f32]| ScaleSearch::new(&Codebooks::from_levels(levels.len(), [levels]), length, signed);
        let some = cases::searches().into_iter().map(|(levels, ..)| Some(search(&levels)));
        let some: Vec<_> = some.step_by(5).chain([None]).collect();
        for_each_input(|matrix| {
            let grouping = Grouping::new(matrix.rows(), matrix.columns(), length);
            let searches: Vec<_> = (0..matrix.rows()).map(|row| some[row % some.len()].clone()).collect();
            let mut expected = vec![f32::NAN; grouping.group_count()];
            done(Reference.search_scales_of_rows(matrix.matrix(), grouping, &searches, &mut expected));
            for backend in backends {
                let mut scales = vec![f32::NAN; grouping.group_count()];
                done(backend.search_scales_of_rows(matrix.matrix(), grouping, &searches, &mut scales));
                exact_values(&scales, &expected, &format!("{} on {matrix}, {length:?}", backend.name()));
            }
        });
    }
}

fn compare_encode<B: Backend>(backends: &[B], matrix: &StoredMatrix, encoding: &Encoding<'_>, plan: &Plan) {
    let mut expected = vec![0xff; encoding.codes_len_bytes()];
    done(Reference.encode(matrix.matrix(), encoding, &mut expected));
    for backend in backends {
        let mut packed = vec![0xff; encoding.codes_len_bytes()];
        done(backend.encode(matrix.matrix(), encoding, &mut packed));
        exact(&packed, &expected, &format!("{} on {matrix}, {plan}", backend.name()));
    }
}

/// Case of [`Backend::encode`].
pub fn encode<B: Backend>(backends: &[B]) {
    for_each_plan(|matrix, plan, encoding| compare_encode(backends, matrix, encoding, plan));
}

/// Case of [`Backend::encode`] for samples that are thresholds, and their neighbours.
pub fn encode_on_thresholds<B: Backend>(backends: &[B]) {
    for plan in cases::plans().into_iter().filter(|plan| !plan.per_row) {
        let (samples, scales) = plan.on_thresholds();
        let plan = Plan { length: Some(GroupLength::Row), ..plan };
        for dtype in DTYPES {
            let matrix = samples.stored(dtype);
            let codebooks = plan.codebooks(&matrix);
            compare_encode(backends, &matrix, &plan.encoding(&matrix, &codebooks, Some(&scales)), &plan);
        }
    }
}

/// Case of [`Backend::decode`].
pub fn decode<B: Backend>(backends: &[B]) {
    for_each_plan(|matrix, plan, encoding| {
        let packed = cases::noise_bytes(encoding.codes_len_bytes());
        let mut expected = vec![0.0; matrix.len()];
        done(Reference.decode(&packed, encoding, &mut SamplesMut::F32(&mut expected)));
        for backend in backends {
            let place = format!("{} on {matrix}, {plan}", backend.name());
            let mut bytes = vec![0xffff_ffffu32; matrix.len()];
            let bytes = &mut bytemuck::cast_slice_mut(&mut bytes)[..matrix.len() * matrix.dtype().byte_len()];
            let mut samples = SamplesMut::from_bytes(bytes, matrix.dtype()).expect("a u32 is aligned for all formats");
            done(backend.decode(&packed, encoding, &mut samples));
            within_one_ulp(&samples, &expected, &place);
        }
    });
}

/// Case of [`Backend::distortion`].
pub fn distortion<B: Backend>(backends: &[B]) {
    for_each_plan(|matrix, plan, encoding| {
        let packed = cases::noise_bytes(encoding.codes_len_bytes());
        let expected = done(Reference.distortion(matrix.matrix(), encoding, &packed));
        for backend in backends {
            let place = format!("{} on {matrix}, {plan}", backend.name());
            let found = done(backend.distortion(matrix.matrix(), encoding, &packed));
            assert_eq!(found.sample_count, expected.sample_count, "samples, {place}");
            exact(&found.code_counts, &expected.code_counts, &place);
            bounded_sum(found.squared_error, expected.squared_error, matrix.len(), &format!("squared error, {place}"));
            bounded_sum(found.energy, expected.energy, matrix.len(), &format!("energy, {place}"));
            bounded_sum(found.error_max, expected.error_max, 1, &format!("largest error, {place}"));
        }
    });
}

/// Case of [`Backend::errors`]: without weights, with one for each column, with one per sample, some of them 0.
pub fn errors<B: Backend>(backends: &[B]) {
    for_each_input(|matrix| {
        let mut noise = cases::Noise(7);
        let decoded: Vec<f32> = (0..matrix.len()).map(|i| matrix.samples().get(i) + 0.01 * noise.normal()).collect();
        let weights: Vec<f32> = (0..matrix.len()).map(|_| noise.normal().max(0.0)).collect();
        let columns = matrix.columns().min(matrix.len());
        for weights in [None, Some(&weights[..columns]), Some(&weights[..])] {
            let (plain, weighted) = done(Reference.errors(matrix.matrix(), &decoded, weights));
            for backend in backends {
                let count = weights.map_or(0, <[f32]>::len);
                let place = |what: &str| format!("{what}, {} on {matrix}, {count} weights", backend.name());
                let (own_plain, own_weighted) = done(backend.errors(matrix.matrix(), &decoded, weights));
                assert_eq!(own_plain.sample_count, plain.sample_count, "{}", place("samples"));
                let sum = |found: f64, expected: f64, what: &str| {
                    bounded_sum(found, expected, matrix.len(), &place(what));
                };
                sum(own_plain.squared_error, plain.squared_error, "squared error");
                sum(own_plain.energy, plain.energy, "energy");
                sum(own_plain.error_max, plain.error_max, "largest error");
                sum(own_weighted.squared_error, weighted.squared_error, "weighted error");
                sum(own_weighted.energy, weighted.energy, "weighted energy");
            }
        }
    });
}

/// Case of [`Backend::value_histogram`].
pub fn value_histogram<B: Backend>(backends: &[B]) {
    for_each_input(|matrix| {
        if matrix.dtype() == Dtype::F32 {
            return;
        }
        let expected = done(Reference.value_histogram(matrix.samples()));
        for backend in backends {
            let counts = done(backend.value_histogram(matrix.samples()));
            exact(&counts, &expected, &format!("{} on {matrix}", backend.name()));
        }
    });
}

/// Case of [`Backend::histogram`].
pub fn histogram<B: Backend>(backends: &[B]) {
    let ranges = [(-1.0, 1.0, 64), (-4.0, 3.0, 1000), (0.0, 0.0, 3), (0.5, 0.75, 1), (-1e-3, 1e30, 17)];
    for_each_input(|matrix| {
        for ((low, high, count), length) in ranges.into_iter().zip([None].into_iter().chain(cases::LENGTHS.map(Some))) {
            let bins = Bins::covering(low, high, count);
            let plan = Plan { length, ..Plan::default() };
            let inverse = plan.scales(matrix).map(|scales| inverse_scales(&scales));
            let normalisation = plan.grouping(matrix).zip(inverse.as_deref());
            let expected = done(Reference.histogram(matrix.matrix(), normalisation, &bins));
            for backend in backends {
                let sums = done(backend.histogram(matrix.matrix(), normalisation, &bins));
                let place = format!("{} on {matrix}, {bins:?}, {length:?}", backend.name());
                exact(&sums.counts, &expected.counts, &place);
                exact(&sums.sums, &expected.sums, &place);
            }
        }
    });
}

/// Case of [`Backend::cell_statistics`].
pub fn cell_statistics<B: Backend>(backends: &[B]) {
    for_each_input(|matrix| {
        for (plan, fraction_bits) in
            cases::plans().into_iter().filter(|p| !p.per_row).zip([29, 20, -97, 126].into_iter().cycle())
        {
            let codebooks = plan.codebooks(matrix);
            let thresholds = codebooks.thresholds(0);
            let expected = done(Reference.cell_statistics(matrix.samples(), thresholds, fraction_bits));
            for backend in backends {
                let found = done(backend.cell_statistics(matrix.samples(), thresholds, fraction_bits));
                let place = format!("{} on {matrix}, {plan}, {fraction_bits} bits", backend.name());
                exact(&found.counts, &expected.counts, &place);
                exact(&found.sums, &expected.sums, &place);
            }
        }
    });
}

/// Case of [`Backend::gather`], and of [`Backend::histogram`] over the same widening bins.
pub fn gather<B: Backend>(backends: &[B]) {
    let kinds = [(0.0, 1.0, f32::MAX), (0.25, 1e-3, 10.0), (-1e-2, 1e20, 1e-30)];
    for_each_input(|matrix| {
        for (middle, unit, magnitude) in kinds {
            let bins = Bins::widening(middle, unit, magnitude, 1 << 10);
            let segments: Vec<u16> = (0..bins.count).map(|bin| (bin / 37) as u16).collect();
            let expected = done(Reference.gather(matrix.matrix(), &bins, &segments, 0.1));
            let expected_sums = done(Reference.histogram(matrix.matrix(), None, &bins));
            for backend in backends {
                let place = format!("{} on {matrix}, {bins:?}", backend.name());
                let found = done(backend.gather(matrix.matrix(), &bins, &segments, 0.1));
                compare_gathered(&found, &expected, matrix.len(), &place);
                let sums = done(backend.histogram(matrix.matrix(), None, &bins));
                exact(&sums.counts, &expected_sums.counts, &place);
                exact(&sums.sums, &expected_sums.sums, &place);
            }
        }
    });
}

fn compare_gathered(found: &Gathered, expected: &Gathered, count: usize, place: &str) {
    let sorted = |samples: &[f32]| {
        let mut samples = samples.to_vec();
        samples.sort_unstable_by(f32::total_cmp);
        samples
    };
    exact_values(&sorted(&found.samples), &sorted(&expected.samples), place);
    assert_eq!(found.sums.len(), expected.sums.len(), "segments, {place}");
    for (found, expected) in found.sums.iter().zip(&expected.sums) {
        assert_eq!(found.count, expected.count, "count, {place}");
        bounded_sum(found.square, expected.square, count, place);
        // |Σ x| rounds like Σ |x|, which is at most √(n Σ x²).
        let bound = (count as f64 + 2.0) * f64::EPSILON * (expected.count as f64 * expected.square).sqrt();
        assert!((found.moment - expected.moment).abs() <= bound, "moment {found:?}, {expected:?}; {place}");
    }
}

/// Case of [`Backend::fit_rows`].
pub fn fit_rows<B: Backend>(backends: &[B]) {
    for_each_input(|matrix| {
        let weights: Vec<f32> = (0..matrix.len()).map(|i| 0.25 + (i % 7) as f32).collect();
        let per_column = &weights[..matrix.columns()];
        let plan = Plan { length: Some(GroupLength::Samples(64)), ..Plan::default() };
        let inverse = plan.scales(matrix).map(|scales| inverse_scales(&scales));
        let normalisation = plan.grouping(matrix).zip(inverse.as_deref());
        let runs =
            [(None, None, 4), (normalisation, None, 16), (None, Some(&weights[..]), 8), (None, Some(per_column), 3)];
        for (normalisation, weights, level_count) in runs {
            let expected = done(Reference.fit_rows(matrix.matrix(), normalisation, weights, level_count));
            for backend in backends {
                let found = done(backend.fit_rows(matrix.matrix(), normalisation, weights, level_count));
                exact_values(found.all_levels(), expected.all_levels(), &format!("{} on {matrix}", backend.name()));
            }
        }
    });
    backends.iter().for_each(rows_refuse_bad_weights);
}

/// A weight that is negative or not finite is named, for each sample and for each column; zeros are not refused.
fn rows_refuse_bad_weights<B: Backend>(backend: &B) {
    let samples = [0.0, 10.0, 1.0, 11.0, 2.0, 2.0, 2.0, 5.0];
    let matrix = Matrix::new(Samples::F32(&samples), 2, 4).expect("two rows");
    for bad in [-1.0, -f32::MIN_POSITIVE, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for count in [4, 8] {
            let mut weights = vec![1.0; count];
            weights[count - 2] = bad;
            let refused =
                certified::fit_rows(backend, matrix, Some(&weights), 2).expect_err("a bad weight").to_string();
            let expected = format!("weight {} is {bad}; weights must be finite and at least 0", count - 2);
            assert_eq!(refused, expected, "{}", backend.name());
        }
    }
    let zeros = certified::fit_rows(backend, matrix, Some(&[0.0; 8]), 2).expect("zeros are weights");
    assert_eq!(zeros.levels(0), [0.5, 10.5], "{}", backend.name());
}

#[cfg(test)]
mod tests {
    fn backends() -> Vec<crate::reference::Reference> {
        vec![crate::reference::Reference]
    }

    crate::conformance_suite!(backends);
}
