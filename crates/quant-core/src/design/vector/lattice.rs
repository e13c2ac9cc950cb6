//! Grids: codevectors that are all combinations of levels, one codebook per axis.

use super::VectorCodebook;
use crate::codebook::Codebook;

/// The product of scalar codebooks: M₁·M₂·… codevectors whose nearest one is found axis by axis.
///
/// ```
/// use quant_core::{codebook::Codebook, design::vector::Grid};
/// let axis = Codebook::nearest(vec![-1.0, 0.0, 4.0]).unwrap();
/// let grid = Grid::new(vec![axis.clone(), axis]);
/// let (code, distance) = grid.nearest(&[3.0, -0.75]);
/// assert_eq!((grid.codevector(code), distance), (vec![4.0, -1.0], 1.0625));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    axes: Vec<Codebook>,
}

impl Grid {
    /// One nearest-level codebook per axis.
    ///
    /// # Panics
    ///
    /// When there is no axis.
    pub fn new(axes: Vec<Codebook>) -> Self {
        assert!(!axes.is_empty(), "a grid has an axis");
        Self { axes }
    }

    /// How many codevectors.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|axis| axis.levels().len()).product()
    }

    /// The code (first axis slowest) of a nearest codevector, and ‖x − y‖².
    pub fn nearest(&self, point: &[f32]) -> (usize, f64) {
        let step = |(code, distance): (usize, f64), (axis, &x): (&Codebook, &f32)| {
            let index = axis.encode(f64::from(x));
            let error = f64::from(x) - axis.decode(index);
            (code * axis.levels().len() + index, distance + error * error)
        };
        self.axes.iter().zip(point).fold((0, 0.0), step)
    }

    /// The codevector of a code.
    pub fn codevector(&self, mut code: usize) -> Vec<f64> {
        let digit = |axis: &Codebook| {
            let index = code % axis.levels().len();
            code /= axis.levels().len();
            axis.decode(index)
        };
        let mut codevector: Vec<f64> = self.axes.iter().rev().map(digit).collect();
        codevector.reverse();
        codevector
    }

    /// All codevectors, for Lloyd's iteration to start from.
    pub fn to_codebook(&self) -> VectorCodebook {
        let codevectors = (0..self.count()).flat_map(|code| self.codevector(code)).collect();
        VectorCodebook::new(codevectors, self.axes.len())
    }
}
