//! CPU kernels of quant: rayon and SIMD.
