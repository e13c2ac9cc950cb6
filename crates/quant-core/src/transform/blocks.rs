//! A block-diagonal map: neighbouring channels are mixed in blocks, blocks do not touch each other.

use super::Real;
use crate::dense::Dense;

/// blockdiag(M_1, …, M_n) with its inverse. All blocks but the last have one length; the last may be shorter.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocks {
    width: usize,
    forward: Vec<Dense>,
    inverse: Vec<Dense>,
}

impl Blocks {
    /// Takes blocks and their inverses, in the order of the channels.
    ///
    /// # Panics
    /// When a block is not square, or its inverse has another order.
    pub fn new(forward: Vec<Dense>, inverse: Vec<Dense>) -> Self {
        assert_eq!(forward.len(), inverse.len(), "an inverse for each block");
        let square = |b: &Dense| b.rows() == b.columns();
        assert!(forward.iter().all(square) && inverse.iter().all(square), "blocks are square");
        assert!(forward.iter().zip(&inverse).all(|(f, i)| f.rows() == i.rows()), "an inverse is as large as its block");
        Self { width: forward.iter().map(Dense::rows).sum(), forward, inverse }
    }

    /// Channels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// M_b, in the order of the channels.
    pub fn forward(&self) -> &[Dense] {
        &self.forward
    }

    /// M_b⁻¹.
    pub fn inverse(&self) -> &[Dense] {
        &self.inverse
    }

    /// Multiplications for one row: Σ k² over blocks of k channels.
    pub fn operations(&self) -> u64 {
        self.forward.iter().map(|b| (b.rows() * b.rows()) as u64).sum()
    }

    /// x_b → M_b x_b.
    pub fn apply<T: Real>(&self, rows: &mut [T]) {
        self.each(rows, self.forward.iter().map(Dense::transposed));
    }

    /// w_b → w_b M_b⁻¹.
    pub fn apply_to_weights<T: Real>(&self, rows: &mut [T]) {
        self.each(rows, self.inverse.iter().cloned());
    }

    /// y_b → M_b⁻¹ y_b.
    pub fn undo<T: Real>(&self, rows: &mut [T]) {
        self.each(rows, self.inverse.iter().map(Dense::transposed));
    }

    /// Replaces each piece v of each row by v·B, for the blocks B.
    fn each<T: Real>(&self, rows: &mut [T], blocks: impl Iterator<Item = Dense>) {
        let mut start = 0;
        for block in blocks {
            let order = block.rows();
            let entries: Vec<T> = block.values().iter().map(|&x| T::of(x)).collect();
            let mut sums = vec![T::default(); order];
            for row in rows.chunks_exact_mut(self.width) {
                let piece = &mut row[start..start + order];
                row_times(piece, &entries, &mut sums);
                piece.copy_from_slice(&sums);
            }
            start += order;
        }
    }
}

/// sums = piece·block, summed in the order of the piece.
pub(crate) fn row_times<T: Real>(piece: &[T], block: &[T], sums: &mut [T]) {
    sums.fill(T::default());
    for (&x, line) in piece.iter().zip(block.chunks_exact(sums.len())) {
        sums.iter_mut().zip(line).for_each(|(sum, &m)| *sum += x * m);
    }
}
