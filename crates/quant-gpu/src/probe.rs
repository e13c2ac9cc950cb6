//! Does an adapter round products as all others do? Asked once, when it is opened.
//!
//! Everything else that decides codes is integers and comparisons.

use crate::error::GpuError;
use crate::job::{Input, Job};
use crate::unit::Unit;
use quant_core::tensor::flush;
use quant_shaders::{PRODUCT, ProductParams};

/// Pairs of factors that are tried.
const COUNT: usize = 4096;

/// Fails with the first product that differs.
pub(crate) fn probe(unit: &Unit) -> Result<(), GpuError> {
    let (left, right) = factors();
    let params = ProductParams { count: COUNT as u32 };
    let job = Job {
        kernel: &PRODUCT,
        dtype: None,
        params: bytemuck::bytes_of(&params),
        inputs: &[Input::numbers(&left), Input::numbers(&right)],
        output_len: 4 * COUNT,
        scratch_len: 0,
        accumulates: false,
        workgroups: COUNT.div_ceil(PRODUCT.workgroup_size as usize),
    };
    let products = unit.submit(&job)?.read(bytemuck::pod_collect_to_vec::<u8, f32>)?;
    for ((&a, &b), &found) in left.iter().zip(&right).zip(&products) {
        let expected = flush(a * b);
        if found.to_bits() != expected.to_bits() {
            return Err(GpuError::Inexact { adapter: unit.facts.name.clone(), a, b, found, expected });
        }
    }
    Ok(())
}

/// Factors of all magnitudes; every fourth product lies within rounding of 2⁻¹²⁶.
fn factors() -> (Vec<f32>, Vec<f32>) {
    let mut state = 1u32;
    let mut bits = || {
        // Numerical Recipes' generator: any mantissas will do.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 4
    };
    let normal = |mantissa: u32, exponent: u32, sign: u32| {
        f32::from_bits(sign << 31 | exponent.clamp(1, 254) << 23 | (mantissa & 0x007f_ffff))
    };
    let pair = |i: usize| {
        let a = normal(bits(), 1 + bits() % 253, bits() & 1);
        if !i.is_multiple_of(4) {
            return (a, normal(bits(), 1 + bits() % 253, bits() & 1));
        }
        let a = normal(a.to_bits(), 40 + (i as u32 / 4) % 80, 0);
        let smallest = f64::from(f32::MIN_POSITIVE) / f64::from(a);
        let b = f32::from_bits((smallest as f32).to_bits().wrapping_add((i as u32 / 4) % 5).wrapping_sub(2));
        (a, b)
    };
    (0..COUNT).map(pair).unzip()
}

#[cfg(test)]
mod tests {
    use crate::{Gpu, GpuError, GpuOptions};

    fn open(edits: &[(&str, &str)]) -> Result<Gpu, GpuError> {
        let edits = edits.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        Gpu::new(GpuOptions { edits, ..GpuOptions::default() })
    }

    /// As on a device that flushes before it rounds.
    const EARLY_FLUSH: (&str, &str) =
        (">= 0x00800000u) {\n        return product;", "> 0x00800000u) {\n        return product;");

    #[test]
    fn a_device_that_flushes_early_is_corrected() {
        open(&[EARLY_FLUSH]).expect("the integer path gives what rounding would");
        let fault = open(&[EARLY_FLUSH, ("product.y >= 0xff800000u", "product.y > 0xffffff00u")]).unwrap_err();
        assert!(matches!(fault, GpuError::Inexact { .. }), "{fault}");
    }

    #[test]
    fn a_device_that_rounds_otherwise_is_refused() {
        let fault = open(&[("let product = a * b;", "let product = a * b * 1.0000001;")]).unwrap_err();
        assert!(matches!(fault, GpuError::Inexact { .. }), "{fault}");
    }
}
