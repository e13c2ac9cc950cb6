//! How a codebook is found. One file per designer.
//!
//! Every designer takes a [`Source`](crate::source::Source), or points, and returns a [`Design`]: the codebook with the
//! distortion and entropy that the source gives it.

pub mod companded;
mod constraints;
pub mod float_format;
mod histogram;
pub mod lloyd;
pub mod lloyd_max;
pub mod normal_float;
pub mod optimal;
mod result;
pub mod start;
pub mod uniform;

pub use constraints::Constraints;
pub use histogram::{BinSums, Bins};
pub use result::{Design, DesignError, StopReason};
