//! GGUF files as checkpoints.

use std::io::BufReader;

use quant_gguf::{GgmlType, Header, TensorInfo};

use super::file::{Cursor, PositionedFile};
use super::{AlignedBytes, CheckpointError, PlaceProblem, StoredDtype, TensorEntry};

/// Blocks read at a time while decoding, so that only the samples are held whole.
const CHUNK_BLOCKS: usize = 1 << 14;

/// Reads and checks the header; a piece of a model cut into several files is refused, for the rest would be missed.
pub(super) fn read_header(file: &PositionedFile) -> Result<Header, CheckpointError> {
    let cursor = BufReader::new(Cursor::new(file));
    let header = Header::read(cursor, file.byte_len())
        .map_err(|error| CheckpointError::Gguf { path: file.path().to_owned(), error })?;
    match header.value("split.count").and_then(|count| count.as_u64()) {
        Some(count @ 2..) => Err(CheckpointError::place(file.path(), PlaceProblem::SplitGguf { count })),
        _ => Ok(header),
    }
}

/// A GGUF tensor as an entry of the one shard.
pub(super) fn entry(tensor: TensorInfo) -> TensorEntry {
    TensorEntry {
        name: tensor.name,
        shape: tensor.shape,
        dtype: StoredDtype::Ggml(tensor.ggml_type),
        shard: 0,
        byte_len: tensor.byte_len,
        offset: tensor.offset,
    }
}

/// Decodes the blocks of `entry` into `samples`, which has 4 bytes for each.
pub(super) fn decode(
    entry: &TensorEntry,
    ggml_type: GgmlType,
    file: &PositionedFile,
    samples: &mut AlignedBytes,
) -> Result<(), CheckpointError> {
    let samples: &mut [f32] = bytemuck::cast_slice_mut(samples);
    let mut blocks = vec![0; CHUNK_BLOCKS * ggml_type.block_byte_len()];
    let mut offset = entry.offset;
    for samples in samples.chunks_mut(CHUNK_BLOCKS * ggml_type.block_len()) {
        let blocks = &mut blocks[..samples.len() / ggml_type.block_len() * ggml_type.block_byte_len()];
        file.read_at(offset, blocks)?;
        quant_gguf::dequantize(ggml_type, blocks, samples).expect("the caller saw that the type is decodable");
        offset += blocks.len() as u64;
    }
    Ok(())
}
