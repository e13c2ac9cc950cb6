//! What a quantizer is designed for: a density, or samples.

pub mod special;
