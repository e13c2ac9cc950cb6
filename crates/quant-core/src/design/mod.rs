//! How a codebook is found. One file per designer.
//!
//! Every designer takes a [`Source`](crate::source::Source), or points, and returns a [`Design`]: the codebook with the
//! distortion and entropy that the source gives it.

pub mod a_law;
pub mod block_format;
pub mod certified;
pub mod companded;
mod compressor;
mod constraints;
pub mod dead_zone;
pub mod discretised;
pub mod entropy_constrained;
pub mod float_format;
pub mod held_out;
mod histogram;
pub mod lloyd;
pub mod lloyd_max;
pub mod logarithmic;
mod minimum;
pub mod mu_law;
pub mod normal_float;
pub mod optimal;
pub mod power_law;
mod result;
pub mod scaled;
pub mod start;
pub mod uniform;
pub mod vector;

pub use constraints::Constraints;
pub use histogram::{BinSums, Bins, Gathered, SegmentSums, fixed_point, fraction_bits};
pub use result::{Design, DesignError, StopReason, cell_moments};
