//! Any bytes as a safetensors file; what we accept, the reference implementation must accept too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quant::checkpoint::Checkpoint;
use quant_fuzz::{decode_all, open_and_read, samples, write_seeds, written};
use safetensors::{SafeTensorError, SafeTensors};

fuzz_target!(
    init: write_seeds("safetensors_checkpoint", samples::valid_safetensors()),
    |data: &[u8]| {
        // Bytes that begin like a GGUF file or a zip archive are not read as safetensors.
        if data.starts_with(b"GGUF") || data.starts_with(b"PK\x03\x04") {
            return;
        }
        let path = written("input.safetensors", data);
        let ours = open_and_read(&path);
        if ours.is_some() {
            decode_all(&path);
        }
        match (ours, SafeTensors::deserialize(data)) {
            (Some(ours), Ok(reference)) => same_tensors(&ours, &reference),
            // The reference also parses members of an entry that nobody asks for, and may dislike them.
            (Some(_), Err(SafeTensorError::InvalidHeaderDeserialization(_))) | (None, _) => {}
            (Some(_), Err(error)) => panic!("the reference refuses what we accept: {error}"),
        }
    }
);

fn same_tensors(ours: &Checkpoint, reference: &SafeTensors<'_>) {
    assert_eq!(ours.tensors().len(), reference.len());
    for (index, tensor) in ours.tensors().iter().enumerate() {
        let expected = reference.tensor(&tensor.name).expect("the same names");
        assert_eq!(tensor.shape, expected.shape());
        assert_eq!(*ours.read_raw(index).expect("read before"), *expected.data());
    }
}
