//! Façade of quant: recipes, checkpoints in and out, pipeline.

pub mod checkpoint;
