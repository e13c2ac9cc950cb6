//! CAT: the map that aligns weights and inputs as well as a block-diagonal map can, built from their second moments.
//!
//! For a block b of channels, T_b with T_bᵀT_b = Sx_b⁻¹ # Sw_b, the matrix geometric mean
//! P # Q = P^½ (P^−½ Q P^−½)^½ P^½, maximises tr(Sx·Sw)/(tr(T Sx Tᵀ)·tr(T⁻ᵀ Sw T⁻¹)); blocks are built independently and
//! with no scale between them, for any would lose. Source: Federici et al., arXiv 2603.04359 (2026), with the optimality
//! from Hölder's inequality for Schatten norms (see [`crate::analysis::alignment_max`]).
//!
//! A rotation is to follow ([`super::Hadamard`]): it leaves alignment alone and repairs concentration.

use super::{Blocks, Hadamard, Stage, Transform, scaling};
use crate::dense::Dense;
use crate::linear::{self, Eigen, LinearError};

/// Damping in units of the mean diagonal. Tuned: with enough tokens 1e-6 gains nothing over it, with 4 tokens a channel
/// 1e-6 loses to no transform at all; 1e-1 loses alignment.
pub const DAMPING: f64 = 1e-2;

/// Tokens for each channel of a block, below which its second moment is too noisy to invert.
pub const TOKENS_PER_CHANNEL: u64 = 16;

/// Which of the maps with TᵀT = Sx⁻¹ # Sw: they differ by a rotation, which alignment does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// The symmetric square root: three decompositions.
    Symmetric,
    /// U·S^½·Uᵀ·L⁻¹ with Sx = L·Lᵀ and Lᵀ·Sw·L = U·S²·Uᵀ: one decomposition, for large blocks. Multiplying by U once more
    /// mixes the coordinates again; without it they would be sorted by energy, and a Hadamard matrix, being a Kronecker
    /// product, then repeats coordinates and correlates their errors.
    Cholesky,
}

/// How to build a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Channels of a block: 1 for a scaling, the width or more for a full map.
    pub block: usize,
    /// ε of S + ε·(tr S/d)·I, on both moments.
    pub damping: f64,
    /// Which root.
    pub root: Root,
}

impl Options {
    /// Blocks of `block` channels, damping [`DAMPING`]; the symmetric root up to 256 channels.
    pub fn new(block: usize) -> Self {
        Self { block, damping: DAMPING, root: if block <= 256 { Root::Symmetric } else { Root::Cholesky } }
    }

    /// What `token_count` tokens suffice for: these options, or a scaling when there are fewer than
    /// [`TOKENS_PER_CHANNEL`] for each channel of a block.
    ///
    /// ```
    /// use quant_core::transform::cat::Options;
    /// assert_eq!(Options::new(128).for_tokens(2048, 576).block, 128);
    /// assert_eq!(Options::new(128).for_tokens(2047, 576).block, 1);
    /// assert_eq!(Options::new(1024).for_tokens(16 * 576, 576).block, 1024); // a block is at most the width
    /// ```
    pub fn for_tokens(self, token_count: u64, width: usize) -> Self {
        let channels = self.block.min(width);
        if token_count < TOKENS_PER_CHANNEL * channels as u64 { Self { block: 1, ..self } } else { self }
    }
}

/// How the second moments of weights that share an input are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weighting {
    /// Σ_k W_kᵀW_k: best for the stacked layer.
    Plain,
    /// Σ_k W_kᵀW_k/E‖W_k x‖²: least sum of relative errors, so that a weak projection counts as much as a strong one.
    OutputEnergy,
}

/// The weight moment of several weights on one input (q, k and v; gate and up), from their moments W_kᵀW_k.
///
/// A weight with no output energy is left out of an energy-weighted sum.
///
/// # Panics
/// For no weight, or moments of different orders.
pub fn shared_weight_moment(moments: &[Dense], input_moment: &Dense, weighting: Weighting) -> Dense {
    let mut sum = Dense::zeros(input_moment.rows(), input_moment.rows());
    assert!(!moments.is_empty(), "a weight");
    for moment in moments {
        let energy = moment.inner(input_moment);
        match weighting {
            Weighting::Plain => sum.add_scaled(1.0, moment),
            Weighting::OutputEnergy if energy > 0.0 => sum.add_scaled(1.0 / energy, moment),
            Weighting::OutputEnergy => {}
        }
    }
    sum
}

/// The aligning stage of CAT, without the rotation: a scaling for blocks of one channel, blocks otherwise.
///
/// `input_moment` is Sx = E[x xᵀ], `weight_moment` Sw = Wᵀ W, both d × d; damped here.
///
/// # Panics
/// For empty blocks, or moments of different orders.
pub fn align(input_moment: &Dense, weight_moment: &Dense, options: Options) -> Result<Stage, LinearError> {
    assert!(options.block > 0, "a block has a channel");
    let width = input_moment.rows();
    assert_eq!(weight_moment.rows(), width, "moments of one order");
    if options.block == 1 {
        let (x, w) = (input_moment.diagonal_entries(), weight_moment.diagonal_entries());
        return Ok(Stage::Scaling(scaling::balancing(&x, &w, options.damping)));
    }
    let (x, w) = (input_moment.damped(options.damping), weight_moment.damped(options.damping));
    let (mut forward, mut inverse) = (Vec::new(), Vec::new());
    for start in (0..width).step_by(options.block) {
        let range = start..width.min(start + options.block);
        let (f, i) = balance(&x.diagonal_block(range.clone()), &w.diagonal_block(range), options.root)?;
        forward.push(f);
        inverse.push(i);
    }
    Ok(Stage::Blocks(Blocks::new(forward, inverse)))
}

/// CAT: aligning blocks, then a randomized Hadamard rotation with signs drawn from `seed`.
///
/// ```
/// use quant_core::{analysis, dense::Dense, linear, transform::cat};
/// let inputs = Dense::from_fn(64, 4, |i, j| ((i * (j + 2)) as f64).sin() * (1.0 + j as f64));
/// let weights = Dense::from_fn(8, 4, |i, j| ((3 * i + 5 * j) as f64).cos() / (1.0 + j as f64));
/// let (sx, sw) = (linear::gram(&inputs).scaled(1.0 / 64.0), linear::gram(&weights));
/// let options = cat::Options { damping: 0.0, ..cat::Options::new(4) };
/// let transform = cat::transform(&sx, &sw, options, 1)?;
/// let (mut x, mut w) = (inputs, weights);
/// transform.apply(x.values_mut());
/// transform.apply_to_weights(w.values_mut());
/// let reached = analysis::alignment(&linear::gram(&x), &linear::gram(&w));
/// assert!((reached / analysis::alignment_max(&sx, &sw)? - 1.0).abs() < 1e-9);
/// # Ok::<(), linear::LinearError>(())
/// ```
pub fn transform(
    input_moment: &Dense,
    weight_moment: &Dense,
    options: Options,
    seed: u64,
) -> Result<Transform, LinearError> {
    let width = input_moment.rows();
    let stage = align(input_moment, weight_moment, options)?;
    Ok(Transform::identity(width).then(stage).then(Stage::Rotation(Hadamard::seeded(width, seed))))
}

/// The matrix geometric mean Sx⁻¹ # Sw of two definite matrices: the only definite G with G·Sx·G = Sw.
pub fn inverse_mean(input_moment: &Dense, weight_moment: &Dense) -> Result<Dense, LinearError> {
    let eigen = definite(input_moment)?;
    let (root, inverse_root) = (eigen.map(f64::sqrt), eigen.map(|e| 1.0 / e.sqrt()));
    let middle = linear::product(&linear::product(&root, weight_moment), &root);
    let middle = linear::square_root(&middle)?;
    Ok(linear::product(&linear::product(&inverse_root, &middle), &inverse_root))
}

/// T and T⁻¹ with TᵀT = Sx⁻¹ # Sw.
fn balance(x: &Dense, w: &Dense, root: Root) -> Result<(Dense, Dense), LinearError> {
    match root {
        Root::Symmetric => {
            let eigen = definite(&inverse_mean(x, w)?)?;
            Ok((eigen.map(f64::sqrt), eigen.map(|g| 1.0 / g.sqrt())))
        }
        Root::Cholesky => {
            let lower = linear::cholesky(x)?;
            let middle = linear::product(&linear::product(&lower.transposed(), w), &lower);
            let eigen = definite(&middle)?;
            // S = √λ, so S^½ is the fourth root.
            let quarter = eigen.map(|e| e.sqrt().sqrt());
            let inverse_quarter = eigen.map(|e| 1.0 / e.sqrt().sqrt());
            let inverse_lower = linear::solve_lower(&lower, &Dense::identity(lower.rows()));
            Ok((linear::product(&quarter, &inverse_lower), linear::product(&lower, &inverse_quarter)))
        }
    }
}

fn definite(matrix: &Dense) -> Result<Eigen, LinearError> {
    let eigen = Eigen::of(matrix)?;
    match eigen.values.first() {
        Some(&least) if least <= 0.0 => Err(LinearError::NotDefinite { order: matrix.rows() }),
        _ => Ok(eigen),
    }
}
