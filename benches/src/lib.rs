//! Measurements of quant: time and quality together, as shares of what the machine can copy.
//!
//! * [`data`] – seeded matrices;
//! * [`case`] – one thing to measure: run it, check it, tell its quality;
//! * [`rounds`] – interleaved timing and its statistics.
//!
//! The binary `workloads` is what `cargo xtask bench` runs, `rounds` is the partner of `cargo xtask interop`, and
//! `benches/kernels.rs` has the same cases for criterion. W4 is a standing workload: 16.7 million samples of N(0, 1)
//! against a sorted 16-level codebook.

pub mod case;
pub mod data;
pub mod rounds;
