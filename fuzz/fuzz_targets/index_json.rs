//! Any bytes as the index of a folder with two shards.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quant_fuzz::{folder, open_and_read, samples, write_seeds, written};

fuzz_target!(
    init: {
        write_seeds("index_json", samples::valid_indexes());
        samples::shards().iter().for_each(|(name, shard)| drop(written(name, shard)));
    },
    |data: &[u8]| {
        written("model.safetensors.index.json", data);
        if let Some(checkpoint) = open_and_read(folder()) {
            // Nothing but the two shards can be reached, and an accepted index names at least one of them.
            let shards: Vec<&str> = checkpoint.shards().iter().map(|shard| shard.file_name.as_str()).collect();
            assert!(matches!(shards[..], ["a.safetensors"] | ["b.safetensors"] | ["a.safetensors", "b.safetensors"]));
            assert!(checkpoint.side_files().is_empty());
        }
    }
);
