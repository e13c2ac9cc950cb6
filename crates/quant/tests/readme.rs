//! The README's example of the façade is code that runs.

mod common;

use std::path::Path;

fn example() -> Result<(), quant::Error> {
    // README
    use quant::{Recipe, checkpoint::Checkpoint, device::Device, pipeline};

    let checkpoint = Checkpoint::open("model".as_ref())?;
    let options = pipeline::Options::new(Recipe::preset("nf4")?);
    let report = pipeline::run(&checkpoint, "model-nf4".as_ref(), &options, &Device::cpu(None)?, &pipeline::Silent)?;
    println!("{:.3} bits, {:?} dB", report.totals.rate_bits, report.totals.sqnr_db);
    Ok(())
}

#[test]
fn the_example_runs_and_is_the_readmes() {
    let dir = tempfile::tempdir().unwrap();
    common::model(&dir.path().join("model"));
    std::env::set_current_dir(dir.path()).unwrap();
    example().unwrap();
    assert!(Path::new("model-nf4/config.json").exists());
    let readme = include_str!("../../../README.md");
    let block =
        readme.split("```rust\n").find(|b| b.contains("Checkpoint::open")).unwrap().split("```").next().unwrap();
    let squeezed = |text: &str| text.split_whitespace().collect::<String>().replace(",}", "}");
    assert!(squeezed(include_str!("readme.rs")).contains(&squeezed(block)), "the README says something else:\n{block}");
}
