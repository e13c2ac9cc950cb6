//! NormalFloat codebooks: levels at equally likely quantiles of a normal, scaled to ±1.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::lloyd_max::LloydMax;
use super::scaled::{self, Scale};
use super::{Constraints, Design, DesignError};
use crate::source::special::normal_tail_quantile;
use crate::source::{AbsmaxBlock, BlockError, Gaussian, Source, StudentT};

/// The 16 published NF4 levels (Dettmers et al. 2023, QLoRA, appendix E), as bitsandbytes decodes them.
pub const NF4_LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The 2^`bits` NormalFloat levels, ascending from −1 to 1 with one 0; unitless, to be multiplied by an absmax scale.
///
/// For 4 bits these are the published [`NF4_LEVELS`], so that files agree with bitsandbytes bit for bit; other widths
/// come from [`construct`] with normal quantiles. Source: Dettmers et al. 2023.
///
/// ```
/// use quant_core::design::normal_float::levels;
/// assert_eq!(levels(4)[1], -0.6961928009986877);
/// assert_eq!(levels(3).len(), 8);
/// ```
///
/// # Panics
///
/// Outside 2 to 8 bits.
pub fn levels(bits: u32) -> Vec<f32> {
    if bits == 4 {
        return NF4_LEVELS.to_vec();
    }
    construct(bits, normal_tail_quantile).into_iter().map(|y| y as f32).collect()
}

/// The NormalFloat construction over any symmetric density, given by the quantile of its upper tail.
///
/// 2^{k−1} + 1 equally spaced probabilities from ½ to 1 − δ give 2^{k−1} levels above 0, 2^{k−1} of them give
/// 2^{k−1} − 1 levels below; δ = ½(1/2^{k+1} + 1/(2^{k+1} − 2)); the two zeros at ½ are one level; all are divided by
/// the largest. Source: `create_normal_map` of bitsandbytes, which QLoRA's appendix E follows.
///
/// # Panics
///
/// Outside 2 to 8 bits.
pub fn construct(bits: u32, tail_quantile: impl Fn(f64) -> f64) -> Vec<f64> {
    assert!((2..=8).contains(&bits), "2 to 8 bits");
    let half = 1usize << (bits - 1);
    let outer = tail_quantile(tail_probability(bits));
    let side = |count: usize| -> Vec<f64> {
        let step = (0.5 - tail_probability(bits)) / count as f64;
        (1..=count).map(|i| tail_quantile(0.5 - step * i as f64) / outer).collect()
    };
    let below = side(half - 1).into_iter().rev().map(|y| -y);
    below.chain([0.0]).chain(side(half)).map(|y| y.clamp(-1.0, 1.0)).collect()
}

/// Student-float levels: the NormalFloat construction over Student's t with `nu` degrees of freedom, which fits weights
/// with heavier tails. Source: Dotzel et al. 2024, "Learning from students"; SF4 has ν = 5.
///
/// ```
/// use quant_core::design::normal_float::{NF4_LEVELS, student_levels};
/// let sf4 = student_levels(4, 5.0).unwrap();
/// assert!((sf4[1] + 0.628).abs() < 5e-4 && (sf4[14] - 0.657).abs() < 5e-4); // published SF4; NF4: −0.696, 0.723
/// ```
pub fn student_levels(bits: u32, nu: f64) -> Result<Vec<f64>, DesignError> {
    let student = StudentT::new(nu, 0.0, 1.0)?;
    Ok(construct(bits, |p| -student.quantile(p)))
}

/// The levels of least squared error for normal samples divided by the largest magnitude of their block.
///
/// How far samples lie below their block's maximum depends on the block's length, so the best levels do too: NF4 is near
/// the optimum at 64 samples and off elsewhere. Lloyd–Max on the density of x/max|x|, error counted in the unit of x,
/// with an exact zero. Idea: Yoshida 2023. The outer levels are free; fixed at ±1 they give the BOF4 of Blumenberg et al.
/// 2025 ("Improving block-wise LLM quantization by 4-bit block-wise optimal float", table 8), which costs a little:
///
/// ```
/// use quant_core::{design::{lloyd_max::LloydMax, normal_float::block_levels}, source::{AbsmaxBlock, Gaussian}};
/// let block = AbsmaxBlock::weighted(Gaussian::STANDARD, 64).unwrap();
/// let fixed = LloydMax { fixed: vec![-1.0, 0.0, 1.0], tolerance: 1e-9, ..LloydMax::new(16) };
/// let bof4 = fixed.design(&block).unwrap();
/// let levels = bof4.codebook.levels();
/// let distance = |published: f64| levels.iter().map(|y| (y.abs() - published).abs()).fold(1.0, f64::min);
/// for published in [0.753569, 0.316819, 0.101564, 0.0887647, 0.274250, 0.779083] {
///     assert!(distance(published) < 2e-6, "{published}: {levels:?}");
/// }
/// let ours = block_levels(4, 64).unwrap();
/// assert!(ours.mse < bof4.mse && ours.codebook.levels().contains(&0.0));
/// ```
pub fn block_levels(bits: u32, block_len: usize) -> Result<Design, BlockDesignError> {
    let block = AbsmaxBlock::weighted(Gaussian::STANDARD, block_len)?;
    let constraints = Constraints { zero: true, clip: Some((-1.0, 1.0)), ..Constraints::default() };
    Ok(LloydMax { constraints, tolerance: 1e-9, ..LloydMax::new(1 << bits) }.design(&block)?)
}

/// SF levels of `bits` bits, as codebooks hold them: [`student_levels`] of 5 degrees of freedom.
///
/// # Panics
///
/// Outside 2 to 8 bits.
pub fn student_levels_f32(bits: u32) -> Vec<f32> {
    let levels = student_levels(bits, 5.0).expect("5 degrees of freedom are some");
    levels.into_iter().map(|y| y as f32).collect()
}

/// Designs that were made, by bits and block length: one takes a tenth of a second, and every tensor asks for it.
static BLOCK_LEVELS: Mutex<BTreeMap<(u32, usize), Vec<f32>>> = Mutex::new(BTreeMap::new());

/// [`block_levels`] as codebooks hold them.
///
/// # Panics
///
/// Outside 2 to 8 bits, and for a block of less than 2 samples.
pub fn block_levels_f32(bits: u32, block_len: usize) -> Vec<f32> {
    let mut made = BLOCK_LEVELS.lock().unwrap_or_else(PoisonError::into_inner);
    let levels = made.entry((bits, block_len)).or_insert_with(|| {
        let design = block_levels(bits, block_len).expect("a block of a Gaussian has a density");
        design.codebook.levels().iter().map(|&y| y as f32).collect()
    });
    levels.clone()
}

/// Why a block-size-aware design was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BlockDesignError {
    /// The block density was.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The design was.
    #[error(transparent)]
    Design(#[from] DesignError),
}

/// NormalFloat levels, at a scale, on a source.
pub fn design(bits: u32, source: &dyn Source, scale: Scale, constraints: &Constraints) -> Result<Design, DesignError> {
    let levels: Vec<f64> = levels(bits).into_iter().map(f64::from).collect();
    scaled::design(&levels, source, scale, constraints)
}

/// δ = ½(1/2^{k+1} + 1/(2^{k+1} − 2)), the probability beyond the outer level.
fn tail_probability(bits: u32) -> f64 {
    let count = f64::from(1u32 << (bits + 1));
    0.5 * (1.0 / count + 1.0 / (count - 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_construction_gives_the_published_levels() {
        for (ours, published) in construct(4, normal_tail_quantile).into_iter().zip(NF4_LEVELS) {
            assert!((ours - f64::from(published)).abs() < 2e-7, "{ours} against {published}");
        }
    }

    #[test]
    fn block_levels_beat_nf4_at_every_length() {
        let nf4: Vec<f64> = NF4_LEVELS.iter().map(|&y| f64::from(y)).collect();
        for length in [32, 64, 256] {
            let block = AbsmaxBlock::weighted(Gaussian::STANDARD, length).unwrap();
            let ours = block_levels(4, length).unwrap();
            let theirs = scaled::design(&nf4, &block, Scale::Fixed(1.0), &Constraints::default()).unwrap();
            assert!(ours.codebook.levels().contains(&0.0) && ours.mse < theirs.mse, "{length}");
        }
    }

    #[test]
    fn every_width_ascends_from_minus_one_to_one_through_zero() {
        for bits in 2..=8 {
            let levels = levels(bits);
            assert_eq!(levels.len(), 1 << bits);
            assert!(levels.windows(2).all(|w| w[0] < w[1]), "{bits} bits: {levels:?}");
            assert_eq!((levels[0], levels[levels.len() - 1]), (-1.0, 1.0));
            assert_eq!(levels[(1 << (bits - 1)) - 1], 0.0);
        }
    }
}
