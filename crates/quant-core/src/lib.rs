//! The mathematics and the contract of `quant`.
//!
//! This crate knows numbers and nothing else: no thread pool, no GPU, no file system, no serializer and no clock.
//! What it holds, one question per module:
//!
//! * [`tensor`] – what is quantized: a borrowed matrix of f32, f16 or bf16 samples;
//! * [`codebook`] – levels with their thresholds, always sorted;
//! * [`codes`] – how codes are packed at 1–8 bits;
//! * [`grouping`] – which samples share a scale;
//! * [`scale`] – how a group's scale is chosen;
//! * [`double_quant`] – scales quantized in their turn;
//! * [`source`] – what a quantizer is designed for: a density, or samples;
//! * [`design`] – how a codebook is found;
//! * [`recipe`] – what to do, with presets; [`mod@quantize`] – doing it, on any backend;
//! * [`error_feedback`] – rounding that makes up for its errors, given the second moment of the inputs;
//! * [`grid`] – uniform integer grids fitted to a row or a token;
//! * [`switched`] – groups that choose among codebooks;
//! * [`sensitivity`], [`outliers`] – what errors weigh, and which samples are kept exact;
//! * [`allocate`] – which method each tensor gets within a size;
//! * [`transform`] – maps applied before quantization: scaling, Hadamard, CAT (feature `linear-algebra`);
//! * [`analysis`] – bits × concentration × alignment: why a layer loses what it loses;
//! * [`dense`] – matrices of f64, and `linear` their algebra (feature `linear-algebra`);
//! * [`theory`] – high-rate formulas and rate–distortion bounds;
//! * `entropy_coding` (feature `entropy-coding`) – codes coded to their entropy;
//! * [`measure`] – distortion, SQNR, entropy;
//! * [`rate`] – bits per weight, all side information counted;
//! * [`backend`] – what a device must be able to do, and [`mod@reference`], the scalar definition of each of those verbs.
//!
//! # The promise
//!
//! A code is *the number of thresholds strictly below the sample*. Thresholds are computed once, on the host, so a code
//! is the result of comparisons only; comparisons do not round, and the same input gives the same codes everywhere.

pub mod allocate;
pub mod analysis;
pub mod backend;
pub mod codebook;
pub mod codes;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dense;
pub mod design;
pub mod double_quant;
#[cfg(feature = "entropy-coding")]
pub mod entropy_coding;
pub mod error_feedback;
mod excerpt;
pub mod grid;
pub mod grouping;
#[cfg(feature = "linear-algebra")]
pub mod linear;
pub mod measure;
pub mod outliers;
pub mod quantize;
pub mod rate;
pub mod recipe;
pub mod reference;
pub mod scale;
pub mod scale_storage;
pub mod sensitivity;
pub mod source;
pub mod switched;
pub mod tensor;
pub mod theory;
pub mod transform;
pub mod vectors;
