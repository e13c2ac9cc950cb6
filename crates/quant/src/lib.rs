//! Façade of quant: recipes, checkpoints in and out, pipeline.
