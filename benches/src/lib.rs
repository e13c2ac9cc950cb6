//! Criterion benches of quant.
