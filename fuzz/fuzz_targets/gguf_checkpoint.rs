//! Any bytes as a GGUF file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quant_fuzz::{open_and_read, samples, write_seeds, written};

fuzz_target!(
    init: write_seeds("gguf_checkpoint", samples::valid_gguf()),
    |data: &[u8]| {
        open_and_read(&written("input.gguf", data));
    }
);
