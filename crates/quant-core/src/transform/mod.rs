//! Invertible maps T applied before quantization and undone by a neighbour: x → T x, W → W T⁻¹ leaves y = W x as it is.
//!
//! A [`Transform`] is a sequence of stages, each cheap to apply: channel scaling ([`scaling`]), a block-diagonal map
//! ([`Blocks`], built by `cat`), and a randomized Hadamard rotation ([`Hadamard`]). CAT is T = H·diag(±1)·blockdiag(M_b):
//! the blocks bring weights and inputs into alignment, the rotation spreads both over all coordinates.

mod blocks;
#[cfg(feature = "linear-algebra")]
pub mod cat;
mod cores;
mod galois;
mod hadamard;
mod paley;
pub mod scaling;
mod williamson;

pub use blocks::Blocks;
pub use cores::{Construction, Core};
pub use hadamard::{Hadamard, walsh_hadamard};

/// A float that transforms work in: f32 for data, f64 for design.
pub trait Real:
    Copy
    + Default
    + PartialEq
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::AddAssign
    + std::ops::MulAssign
{
    /// The nearest value.
    fn of(x: f64) -> Self;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as Self
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
}

/// One stage of a transform.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// x_i → m_i·x_i; no entry is zero.
    Scaling(Vec<f64>),
    /// x_b → M_b·x_b for each block of neighbouring channels.
    Blocks(Blocks),
    /// A randomized Hadamard rotation.
    Rotation(Hadamard),
}

impl Stage {
    /// Replaces every row x by T x.
    pub fn apply<T: Real>(&self, rows: &mut [T]) {
        match self {
            Self::Scaling(m) => multiply(rows, m.len(), |i| m[i]),
            Self::Blocks(blocks) => blocks.apply(rows),
            Self::Rotation(hadamard) => hadamard.apply(rows),
        }
    }

    /// Replaces every row w of weights by w T⁻¹.
    pub fn apply_to_weights<T: Real>(&self, rows: &mut [T]) {
        match self {
            Self::Scaling(m) => multiply(rows, m.len(), |i| 1.0 / m[i]),
            Self::Blocks(blocks) => blocks.apply_to_weights(rows),
            Self::Rotation(hadamard) => hadamard.apply(rows),
        }
    }

    /// Replaces every row y by T⁻¹ y.
    pub fn undo<T: Real>(&self, rows: &mut [T]) {
        match self {
            Self::Scaling(m) => multiply(rows, m.len(), |i| 1.0 / m[i]),
            Self::Blocks(blocks) => blocks.undo(rows),
            Self::Rotation(hadamard) => hadamard.undo(rows),
        }
    }
}

fn multiply<T: Real>(rows: &mut [T], width: usize, factor: impl Fn(usize) -> f64) {
    let factors: Vec<T> = (0..width).map(|i| T::of(factor(i))).collect();
    for row in rows.chunks_exact_mut(width) {
        row.iter_mut().zip(&factors).for_each(|(x, &m)| *x *= m);
    }
}

/// An invertible map on rows of `width` channels: stages applied in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    width: usize,
    stages: Vec<Stage>,
}

impl Transform {
    /// No change.
    pub fn identity(width: usize) -> Self {
        Self { width, stages: Vec::new() }
    }

    /// The same with one more stage at the end.
    ///
    /// # Panics
    /// When the stage has another width.
    pub fn then(mut self, stage: Stage) -> Self {
        let width = match &stage {
            Stage::Scaling(m) => m.len(),
            Stage::Blocks(blocks) => blocks.width(),
            Stage::Rotation(hadamard) => hadamard.width(),
        };
        assert_eq!(width, self.width, "a stage of the transform's width");
        self.stages.push(stage);
        self
    }

    /// Channels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The stages in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Replaces every row x of inputs by T x; `rows` holds whole rows of `width` samples.
    pub fn apply<T: Real>(&self, rows: &mut [T]) {
        self.stages.iter().for_each(|stage| stage.apply(rows));
    }

    /// Replaces every row w of weights by w T⁻¹.
    pub fn apply_to_weights<T: Real>(&self, rows: &mut [T]) {
        self.stages.iter().for_each(|stage| stage.apply_to_weights(rows));
    }

    /// Replaces every row y by T⁻¹ y.
    pub fn undo<T: Real>(&self, rows: &mut [T]) {
        self.stages.iter().rev().for_each(|stage| stage.undo(rows));
    }

    /// Multiplications and additions for one row that cannot be folded into a neighbour: blocks and rotations.
    pub fn operations(&self) -> u64 {
        let one = |stage: &Stage| match stage {
            Stage::Scaling(_) => 0,
            Stage::Blocks(blocks) => blocks.operations(),
            Stage::Rotation(hadamard) => hadamard.operations(),
        };
        self.stages.iter().map(one).sum()
    }
}
