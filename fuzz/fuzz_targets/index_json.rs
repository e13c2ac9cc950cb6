//! Any bytes as the index of a folder with two shards: `a.safetensors` holds `x` and `y`, `b.safetensors` holds `z`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quant_fuzz::{folder, open_and_read, written};

fn shard(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fuzz_target!(
    init: {
        let x_y = r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        let z = r#"{"z":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        written("a.safetensors", &shard(x_y, &[1, 2, 3]));
        written("b.safetensors", &shard(z, &[0; 4]));
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
