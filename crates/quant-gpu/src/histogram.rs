//! Counts and fixed-point sums over bins.
//!
//! Where a device that flushes subnormals could put a sample into another bin, the scalar definition counts instead:
//! bins of about 2⁻¹²⁵, and scales beyond 2¹²⁶.

use crate::Gpu;
use crate::chunk::LocalGroups;
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::backend::Backend;
use quant_core::design::{BinSums, Bins};
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::reference::{Reference, power_of_two};
use quant_core::tensor::Matrix;
use quant_shaders::{HISTOGRAM, HistogramParams};

pub(crate) fn histogram(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    bins: &Bins,
) -> Result<BinSums, GpuError> {
    let subnormal = |inverse: &f32| inverse.is_subnormal() || !inverse.is_finite();
    if !is_safe(bins) || normalisation.is_some_and(|(_, inverse)| inverse.iter().any(subnormal)) {
        let Ok(sums) = Reference.histogram(matrix, normalisation, bins);
        return Ok(sums);
    }
    let samples = matrix.samples();
    let whole = Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Tensor);
    let grouping = normalisation.map_or(whole, |(grouping, _)| grouping);
    let parts = gpu.each(
        gpu.cut(matrix.rows(), matrix.columns(), 1),
        |unit, chunk| {
            let groups = LocalGroups::new(grouping, chunk);
            let inverse_scales = normalisation.map_or(&[][..], |(_, inverse)| &inverse[groups.range.clone()]);
            let params = HistogramParams {
                columns: chunk.column_count() as u32,
                sample_count: chunk.len() as u32,
                bin_count: bins.count as u32,
                mantissa_bits: bins.mantissa_bits,
                low: bins.low,
                inverse_width: bins.inverse_width,
                fraction_unit: power_of_two(bins.fraction_bits),
                is_normalised: u32::from(normalisation.is_some()),
                group_len: groups.group_len,
                groups_per_row: groups.groups_per_row,
                column_offset: groups.column_offset,
                zero: 0,
            };
            unit.submit(&Job {
                kernel: &HISTOGRAM,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[Input::Samples(samples.slice(chunk.range(matrix.columns()))), Input::numbers(inverse_scales)],
                output_len: 4 * 3 * bins.count,
                scratch_len: 0,
                accumulates: true,
                workgroups: chunk.len().div_ceil(HISTOGRAM.workgroup_size as usize),
            })
        },
        |_, bytes| bytemuck::pod_collect_to_vec::<u8, u32>(bytes),
    )?;
    let mut sums = BinSums::empty(bins);
    parts.iter().for_each(|words| add_words(&mut sums, words));
    Ok(sums)
}

/// Adds what a kernel wrote: counts, low halves and high halves of sums.
pub(crate) fn add_words(sums: &mut BinSums, words: &[u32]) {
    let count = sums.counts.len();
    for bin in 0..count {
        let (low, high) = (words[count + bin], words[2 * count + bin]);
        sums.counts[bin] += u64::from(words[bin]);
        sums.sums[bin] += (u64::from(high) << 32 | u64::from(low)) as i64;
    }
}

/// Whether no difference to the low end, and no product of one that matters, can be subnormal.
fn is_safe(bins: &Bins) -> bool {
    if !bins.inverse_width.is_finite() || bins.inverse_width.is_subnormal() || bins.low.is_subnormal() {
        return false;
    }
    if bins.mantissa_bits == 0 {
        // A subnormal difference is in bin 0, as 0 is, unless bins are as narrow.
        return bins.inverse_width < power_of_two(125);
    }
    // Samples are not subnormal, so two that differ do so by 2⁻²⁵ of the larger at least. The sign of a product that is
    // not 0 decides between two bins.
    let low = f64::from(bins.low.abs());
    let least = if low == 0.0 { f64::from(f32::MIN_POSITIVE) } else { low * 2f64.powi(-25) };
    let normal = f64::from(f32::MIN_POSITIVE);
    least >= normal && least * f64::from(bins.inverse_width) >= normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_as_narrow_as_subnormals_are_left_to_the_definition() {
        assert!(is_safe(&Bins::covering(-1.0, 1.0, 1 << 16)));
        assert!(is_safe(&Bins::widening(0.0, 1.0, f32::MAX, 1 << 10)));
        assert!(!is_safe(&Bins::covering(0.0, f32::MIN_POSITIVE, 64)));
        assert!(!is_safe(&Bins::widening(0.0, 1e10, 1.0, 1 << 10)));
        assert!(!is_safe(&Bins::widening(1e-37, 1.0, 1.0, 1 << 10)));
    }
}
