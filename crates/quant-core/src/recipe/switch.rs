//! What does every group choose among, instead of having a scale of its own?

use crate::codes::BitWidth;

/// What every group chooses among: 2^step_bits scales, the *steps*, times 2^shape_bits codebooks, the *shapes*; 1 to 8
/// bits in all. See [`crate::switched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch {
    /// log₂ of the number of steps.
    pub step_bits: u8,
    /// log₂ of the number of shapes.
    pub shape_bits: u8,
}

impl Switch {
    /// Scales of the matrix.
    pub fn step_count(self) -> usize {
        1 << self.step_bits
    }

    /// Codebooks of the matrix before they are scaled.
    pub fn shape_count(self) -> usize {
        1 << self.shape_bits
    }

    /// Bits of what a group stores.
    pub fn selector_width(self) -> BitWidth {
        BitWidth::new(u32::from(self.step_bits + self.shape_bits)).expect("1 to 8 was checked")
    }
}
