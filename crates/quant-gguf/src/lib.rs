//! Reads and lays out GGUF checkpoints: header checked here, blocks decoded by candle, codes packed into blocks.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = std::fs::File::open("model.gguf")?;
//! let len = file.metadata()?.len();
//! let header = quant_gguf::Header::read(std::io::BufReader::new(file), len)?;
//! for tensor in &header.tensors {
//!     println!("{} {:?} {}", tensor.name, tensor.shape, tensor.ggml_type.name());
//! }
//! # Ok(())
//! # }
//! ```

mod blocks;
mod decode;
mod error;
mod header;
mod layout;
mod reader;
mod types;
mod value;

pub use blocks::pack_blocks;
pub use decode::{NotDecodable, dequantize};
pub use error::{Fault, GgufError, TensorProblem};
pub use header::{Header, TensorInfo};
pub use layout::{FileLayout, LayoutError, PlannedTensor, TensorPlace, lay_out, metadata_bytes};
pub use types::GgmlType;
pub use value::{Array, Value};
