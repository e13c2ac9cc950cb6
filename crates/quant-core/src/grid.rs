//! How is a row of weights, or a token, rounded to a uniform integer grid?
//!
//! The quantizers that the concentration–alignment model describes (see [`crate::analysis`]): one scale, and one zero
//! point when asymmetric, for a row of weights or for one token, rounding half to even.
//!
//! * symmetric: s = max|v|/(2^(b−1) − 1), codes −(2^(b−1) − 1) … 2^(b−1) − 1;
//! * asymmetric: s = (max(v, 0) − min(v, 0))/(2^b − 1), z = rint(−min(v, 0)/s), codes 0 … 2^b − 1.
//!
//! [`crate::design::uniform`] designs uniform *codebooks* for a source; here a grid is fitted to each row as it comes,
//! which is all that there is time for with activations.

/// Whether a grid is centred on zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symmetry {
    /// Equally far up and down, no zero point.
    Symmetric,
    /// From the least to the largest value, zero included.
    Asymmetric,
}

/// A kind of grid: bits and symmetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GridKind {
    /// Bits of a code, 2 to 8 in use; 1 to 24 make sense.
    pub bits: u32,
    /// Whether centred on zero.
    pub symmetry: Symmetry,
}

impl GridKind {
    /// Symmetric with `bits` bits.
    pub fn symmetric(bits: u32) -> Self {
        Self { bits, symmetry: Symmetry::Symmetric }
    }

    /// Asymmetric with `bits` bits.
    pub fn asymmetric(bits: u32) -> Self {
        Self { bits, symmetry: Symmetry::Asymmetric }
    }

    /// N, the number of steps that span the range: 2^b − 2 when symmetric, 2^b − 1 when not.
    ///
    /// ```
    /// use quant_core::grid::GridKind;
    /// assert_eq!((GridKind::symmetric(4).steps(), GridKind::asymmetric(4).steps()), (14.0, 15.0));
    /// ```
    pub fn steps(self) -> f64 {
        let top = f64::from(1u32 << self.bits) - 1.0;
        match self.symmetry {
            Symmetry::Symmetric => top - 1.0,
            Symmetry::Asymmetric => top,
        }
    }

    /// The grid of a row without clipping. A row of zeros gets scale 1, so that every code decodes to 0.
    pub fn fit(self, row: impl IntoIterator<Item = f64>) -> Grid {
        self.of(Extent::of(row), 1.0)
    }

    /// The grid of least squared error among 1, 63/64, … 32/64 of the range (MSE clipping search by enumeration).
    pub fn fit_clipped(self, row: &[f64]) -> Grid {
        let extent = Extent::of(row.iter().copied());
        let error = |grid: &Grid| row.iter().map(|&x| (x - grid.round(x)).powi(2)).sum::<f64>();
        let mut best = self.of(extent, 1.0);
        let mut least = error(&best);
        for share in (32..64).rev().map(|n| f64::from(n) / 64.0) {
            let grid = self.of(extent, share);
            let sum = error(&grid);
            if sum < least {
                (best, least) = (grid, sum);
            }
        }
        best
    }

    fn of(self, extent: Extent, share: f64) -> Grid {
        let (low, high) = (share * extent.low, share * extent.high);
        let range = match self.symmetry {
            Symmetry::Symmetric => 2.0 * high.max(-low),
            Symmetry::Asymmetric => high - low,
        };
        let scale = match self.symmetry {
            _ if range == 0.0 => 1.0,
            // Not range/steps: halving and doubling is exact, and so this is max|v| over an integer.
            Symmetry::Symmetric => high.max(-low) / (0.5 * self.steps()),
            Symmetry::Asymmetric => range / self.steps(),
        };
        match self.symmetry {
            Symmetry::Symmetric => {
                let top = 0.5 * self.steps();
                Grid { scale, zero: 0.0, first: -top, last: top }
            }
            Symmetry::Asymmetric => {
                Grid { scale, zero: (-low / scale).round_ties_even(), first: 0.0, last: self.steps() }
            }
        }
    }
}

/// The least and the largest value of a row, zero included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// min(v, 0)
    pub low: f64,
    /// max(v, 0)
    pub high: f64,
}

impl Extent {
    /// The extent of a row; (0, 0) of an empty one.
    pub fn of(row: impl IntoIterator<Item = f64>) -> Self {
        let start = Self { low: 0.0, high: 0.0 };
        row.into_iter().fold(start, |e, x| Self { low: e.low.min(x), high: e.high.max(x) })
    }

    /// The range r that a grid spans: 2·max|v| when symmetric, max(v, 0) − min(v, 0) when not.
    pub fn range(self, symmetry: Symmetry) -> f64 {
        match symmetry {
            Symmetry::Symmetric => 2.0 * self.high.max(-self.low),
            Symmetry::Asymmetric => self.high - self.low,
        }
    }
}

/// One fitted grid: level of code c is (c − zero)·scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The step s, in the unit of the samples.
    pub scale: f64,
    /// The code of zero; 0 when symmetric.
    pub zero: f64,
    /// Least code.
    pub first: f64,
    /// Largest code.
    pub last: f64,
}

impl Grid {
    /// The code of `x`, an integer: rint(x/s) + z, kept within the grid.
    pub fn code(&self, x: f64) -> f64 {
        ((x / self.scale).round_ties_even() + self.zero).clamp(self.first, self.last)
    }

    /// The level nearest to `x`.
    pub fn round(&self, x: f64) -> f64 {
        (self.code(x) - self.zero) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_zeros_stays_zero() {
        for kind in [GridKind::symmetric(4), GridKind::asymmetric(4)] {
            let grid = kind.fit([0.0; 4]);
            assert_eq!((grid.scale, grid.round(0.0)), (1.0, 0.0));
        }
    }

    #[test]
    fn ties_go_to_even_codes() {
        let grid = Grid { scale: 1.0, zero: 0.0, first: -7.0, last: 7.0 };
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|x| grid.code(x)), [0.0, 2.0, 2.0, 0.0, -2.0]);
    }

    #[test]
    fn clipping_gives_up_an_outlier_for_the_many() {
        let mut row: Vec<f64> = (0..400).map(|i| (f64::from(i) * 0.7).sin()).collect();
        row.push(1.7);
        let error = |grid: Grid| row.iter().map(|&x| (x - grid.round(x)).powi(2)).sum::<f64>();
        for kind in [GridKind::symmetric(3), GridKind::asymmetric(3)] {
            let (plain, clipped) = (kind.fit(row.iter().copied()), kind.fit_clipped(&row));
            assert!(clipped.scale < plain.scale && error(clipped) < error(plain), "{kind:?}");
        }
    }
}
