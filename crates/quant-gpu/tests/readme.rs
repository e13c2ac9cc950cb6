//! The README's example of the GPU backend is code that runs.

fn example(weights: &[f32], rows: usize, columns: usize) -> Result<(), Box<dyn std::error::Error>> {
    // README
    use quant_core::{
        quantize::quantize,
        recipe::Recipe,
        tensor::{Matrix, Samples},
    };
    use quant_gpu::{Gpu, GpuOptions};

    let gpu = Gpu::new(GpuOptions::default())?;
    println!("{}", gpu.adapters()[0]);
    let matrix = Matrix::new(Samples::F32(weights), rows, columns)?;
    let quantized = quantize(&gpu, matrix, &Recipe::preset("nf4")?)?;
    println!("{:.2} dB at {:.3} bits", quantized.distortion.sqnr_db(), quantized.stored_bits().rate());
    Ok(())
}

#[test]
fn the_example_runs_and_is_the_readmes() {
    let weights: Vec<f32> = (0..4096).map(|i| (i as f32 * 0.7).sin()).collect();
    example(&weights, 32, 128).unwrap();
    let readme = include_str!("../../../README.md");
    let block = readme.split("```rust\n").find(|b| b.contains("quant_gpu")).unwrap().split("```").next().unwrap();
    let squeezed = |text: &str| text.split_whitespace().collect::<String>().replace(",}", "}");
    assert!(squeezed(include_str!("readme.rs")).contains(&squeezed(block)), "the README says something else:\n{block}");
}
