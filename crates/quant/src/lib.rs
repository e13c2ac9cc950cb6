//! The façade of `quant`: a checkpoint in, a quantized checkpoint out.
//!
//! ```no_run
//! use quant::{checkpoint::Checkpoint, device::Device, pipeline};
//! # fn main() -> Result<(), quant::Error> {
//! let checkpoint = Checkpoint::open("model".as_ref())?;
//! let options = pipeline::Options::new(quant::Recipe::preset("nf4")?);
//! let report = pipeline::run(&checkpoint, "model-nf4".as_ref(), &options, &Device::cpu(None)?, &pipeline::Silent)?;
//! println!("{:.3} bits, {:?} dB", report.totals.rate_bits, report.totals.sqnr_db);
//! # Ok(()) }
//! ```

pub mod checkpoint;
pub mod compare;
mod conflicts;
pub mod decoded;
pub mod dequantize;
pub mod device;
mod entropy;
mod error;
pub mod feedback;
mod files;
pub mod inspect;
mod memory;
pub mod methods;
pub mod outputs;
mod partial;
#[cfg(feature = "gpu")]
mod partners;
pub mod pipeline;
mod places;
pub mod plan;
pub mod report;
pub mod samples;
pub mod select;
pub mod sensitivities;
pub mod transformed;
mod transpose;
pub mod whole;
mod work;

pub use error::Error;
pub use quant_core::recipe::Recipe;
