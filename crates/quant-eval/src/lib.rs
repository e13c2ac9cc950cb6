//! What does a model compute, and what does quantization change in it?
