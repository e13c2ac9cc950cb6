//! A randomized Hadamard rotation of any width: signs, a fast Walsh–Hadamard transform, and a core for the odd part.

use super::{Core, Real};

/// H·diag(signs)/√d with H = core ⊗ Sylvester: orthogonal, d = m·2ᵏ for a core of order m.
///
/// Cost for a row: d·log₂(d/m) additions and d·m more for the core.
#[derive(Clone, Debug, PartialEq)]
pub struct Hadamard {
    signs: Vec<i8>,
    core: Core,
}

impl Hadamard {
    /// A rotation of `width` channels with signs drawn from `seed` (SplitMix64: one bit for each channel).
    ///
    /// # Panics
    /// For width 0.
    pub fn seeded(width: usize, seed: u64) -> Self {
        let mut state = seed;
        let mut sign = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            if (z ^ (z >> 31)) & 1 == 1 { -1 } else { 1 }
        };
        Self::with_signs((0..width).map(|_| sign()).collect())
    }

    /// A rotation with given signs, each 1 or −1.
    ///
    /// # Panics
    /// For no sign, or another number among them.
    pub fn with_signs(signs: Vec<i8>) -> Self {
        assert!(signs.iter().all(|s| s.abs() == 1), "signs are 1 or -1");
        let core = Core::for_width(signs.len());
        Self { signs, core }
    }

    /// Channels.
    pub fn width(&self) -> usize {
        self.signs.len()
    }

    /// The signs.
    pub fn signs(&self) -> &[i8] {
        &self.signs
    }

    /// The core for the odd part of the width.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Additions and multiplications for one row.
    pub fn operations(&self) -> u64 {
        let (width, order) = (self.width() as u64, self.core.order as u64);
        width * u64::from((width / order).ilog2()) + if order > 1 { width * order } else { 0 }
    }

    /// Replaces each row x by H·diag(signs)·x/√d.
    pub fn apply<T: Real>(&self, rows: &mut [T]) {
        let factors: Vec<T> = self.factors();
        let mut space = vec![T::default(); self.width()];
        for row in rows.chunks_exact_mut(self.width()) {
            row.iter_mut().zip(&factors).for_each(|(x, &f)| *x *= f);
            self.mix(row, &mut space, |i, j, m| i * m + j);
        }
    }

    /// Replaces each row y by diag(signs)·Hᵀ·y/√d, the inverse.
    pub fn undo<T: Real>(&self, rows: &mut [T]) {
        let factors: Vec<T> = self.factors();
        let mut space = vec![T::default(); self.width()];
        for row in rows.chunks_exact_mut(self.width()) {
            self.mix(row, &mut space, |i, j, m| j * m + i);
            row.iter_mut().zip(&factors).for_each(|(x, &f)| *x *= f);
        }
    }

    fn factors<T: Real>(&self) -> Vec<T> {
        let scale = 1.0 / (self.width() as f64).sqrt();
        self.signs.iter().map(|&s| T::of(f64::from(s) * scale)).collect()
    }

    /// core ⊗ Sylvester on one row, `at` telling where entry (i, j) of the core is.
    fn mix<T: Real>(&self, row: &mut [T], space: &mut [T], at: impl Fn(usize, usize, usize) -> usize) {
        let order = self.core.order;
        let run = row.len() / order;
        row.chunks_exact_mut(run).for_each(walsh_hadamard);
        if order == 1 {
            return;
        }
        space.copy_from_slice(row);
        for (i, sums) in row.chunks_exact_mut(run).enumerate() {
            sums.fill(T::default());
            for (j, samples) in space.chunks_exact(run).enumerate() {
                let entry = T::of(self.core.entries[at(i, j, order)]);
                sums.iter_mut().zip(samples).for_each(|(sum, &x)| *sum += entry * x);
            }
        }
    }
}

/// The unnormalised Walsh–Hadamard transform in Sylvester's order: butterflies at distance 1, 2, 4, …
///
/// ```
/// let mut row = [1.0, 0.0, 0.0, 0.0];
/// quant_core::transform::walsh_hadamard(&mut row);
/// assert_eq!(row, [1.0; 4]);
/// ```
///
/// # Panics
/// When the length is not a power of two.
pub fn walsh_hadamard<T: Real>(row: &mut [T]) {
    assert!(row.len().is_power_of_two(), "a power of two");
    let mut distance = 1;
    while distance < row.len() {
        for pair in row.chunks_exact_mut(2 * distance) {
            let (low, high) = pair.split_at_mut(distance);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_return_and_keep_their_energy() {
        for width in [1, 2, 64, 12, 576, 1536, 172 * 2, 6, 7, 250] {
            let hadamard = Hadamard::seeded(width, 3);
            let before: Vec<f64> = (0..3 * width).map(|i| ((i * i) as f64 * 0.37).sin()).collect();
            let mut rows = before.clone();
            hadamard.apply(&mut rows);
            let energy = |rows: &[f64]| rows.iter().map(|x| x * x).sum::<f64>();
            assert!((energy(&rows) / energy(&before) - 1.0).abs() < 1e-12, "width {width}");
            hadamard.undo(&mut rows);
            let error = rows.iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-12, "width {width}: {error:e}");
        }
    }

    #[test]
    fn an_outlier_is_spread_over_all_channels() {
        for (width, largest) in [(576, 1.0), (11008, 1.0), (13696, std::f64::consts::SQRT_2)] {
            let mut row = vec![0.0; width];
            row[5] = (width as f64).sqrt();
            Hadamard::seeded(width, 1).apply(&mut row);
            let peak = row.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert!(peak <= largest + 1e-9, "width {width}: {peak}");
        }
    }

    #[test]
    fn another_seed_gives_other_signs() {
        assert_eq!(Hadamard::seeded(64, 1), Hadamard::seeded(64, 1));
        assert_ne!(Hadamard::seeded(64, 1).signs(), Hadamard::seeded(64, 2).signs());
    }
}
