//! WGSL of quant and the facts reflected from it (empty until its issue).
