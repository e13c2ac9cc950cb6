//! Measurements of quant: time and quality together, as shares of what the machine can copy.
//!
//! * [`data`] – seeded matrices;
//! * [`case`] – one thing to measure: run it, check it, tell its quality;
//! * [`kmeans`] – the workloads of k-means;
//! * [`rounds`] – interleaved timing and its statistics;
//! * [`verbs`], [`mutations`] – what adapters are checked for, and which mistakes must be noticed.
//!
//! The binary `workloads` is what `cargo xtask bench` runs, `checkpoint` what it runs with `--checkpoint`, `devices` with
//! `--devices` (its peers are in `xtask/python/device_peers.py`), `check` serves
//! `cargo xtask check` and `cargo xtask mutate`, `rounds` is the partner of `cargo xtask interop`, and
//! `benches/kernels.rs` has the same cases for criterion. W4 is a standing workload: 16.7 million samples of N(0, 1)
//! against a sorted 16-level codebook.

pub mod case;
pub mod data;
pub mod kmeans;
pub mod mutations;
pub mod rounds;
pub mod verbs;
