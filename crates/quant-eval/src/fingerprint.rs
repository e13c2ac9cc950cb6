//! Is it the same model? By what its configuration means and by probes of every tensor, wherever its files lie.

use quant::Error;
use quant::checkpoint::{Checkpoint, TensorEntry};
use sha2::{Digest, Sha256};

use crate::config::Config;

/// Bytes read at the beginning, in the middle and at the end of each tensor.
const PROBE_LEN: u64 = 4096;

/// SHA-256 in hexadecimal over the configuration, and names, shapes, dtypes and three probes of all tensors.
///
/// File names and the division into shards do not count; a weight changed between two probes is not noticed.
pub(crate) fn of(checkpoint: &Checkpoint, config: &Config) -> Result<String, Error> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(config).expect("plain data"));
    let mut tensors: Vec<(usize, &TensorEntry)> = checkpoint.tensors().iter().enumerate().collect();
    tensors.sort_by_key(|(_, tensor)| tensor.name.as_str());
    for (index, tensor) in tensors {
        hash.update(format!("\n{:?} {:?} {}\n", tensor.name, tensor.shape, tensor.dtype.name()));
        let len = tensor.byte_len.min(PROBE_LEN);
        let mut bytes = vec![0; len as usize];
        for start in [0, (tensor.byte_len - len) / 2, tensor.byte_len - len] {
            checkpoint.read_raw_range(index, start..start + len, &mut bytes)?;
            hash.update(&bytes);
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
