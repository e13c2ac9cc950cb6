//! Any bytes as a GGUF file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quant_fuzz::{open_and_read, written};

fuzz_target!(|data: &[u8]| {
    open_and_read(&written("input.gguf", data));
});
