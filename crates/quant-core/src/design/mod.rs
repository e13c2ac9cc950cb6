//! How a codebook is found. One file per designer.

pub mod float_format;
mod histogram;
pub mod lloyd;
pub mod normal_float;
pub mod optimal;
pub mod uniform;

pub use histogram::{BinSums, Bins};
