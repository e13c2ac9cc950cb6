//! GPU kernels of quant: WGSL through wgpu (empty until its issue).
