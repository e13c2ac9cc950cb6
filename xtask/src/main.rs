//! Chores of quant: ci, test, demo, tidy, bench, interop.

fn main() {}
