//! Reads GGUF checkpoints: header checked here, blocks decoded by candle.
