//! How well and how fast does candle write ggml's k-quants? The measurement behind decision 9.
//!
//! `cargo run --release -p quant-gguf --example k_quants`

use std::time::Instant;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

const COLUMNS: usize = 4096;
const ROWS: usize = 1024;

/// Independent normal numbers of standard deviation 0.02, by Box and Muller's method.
fn gaussian(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut next = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..count).map(|_| (0.02 * next()) as f32).collect()
}

fn sqnr_db(x: &[f32], y: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let energy: f64 = x.iter().map(|&x| square(x)).sum();
    let error: f64 = x.iter().zip(y).map(|(x, y)| square(x - y)).sum();
    10.0 * (energy / error).log10()
}

fn main() -> candle_core::Result<()> {
    let samples = gaussian(ROWS * COLUMNS);
    let tensor = Tensor::from_slice(&samples, (ROWS, COLUMNS), &Device::Cpu)?;
    let constant = Tensor::full(0.02f32, (1, COLUMNS), &Device::Cpu)?;
    let flat = vec![1.0; COLUMNS];
    println!("type     bits  plain dB  M weights/s  flat importance dB  M weights/s  a row of 0.02 becomes");
    for (dtype, name) in [
        (GgmlDType::Q2K, "Q2_K"),
        (GgmlDType::Q3K, "Q3_K"),
        (GgmlDType::Q4K, "Q4_K"),
        (GgmlDType::Q5K, "Q5_K"),
        (GgmlDType::Q6K, "Q6_K"),
    ] {
        let measure = |quantize: &dyn Fn() -> candle_core::Result<QTensor>| {
            let start = Instant::now();
            let quantized = quantize()?;
            let speed = samples.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
            let decoded = quantized.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            Ok::<_, candle_core::Error>((sqnr_db(&samples, &decoded), speed))
        };
        let (plain, plain_speed) = measure(&|| QTensor::quantize(&tensor, dtype))?;
        let (weighted, weighted_speed) = measure(&|| QTensor::quantize_imatrix(&tensor, &flat, dtype))?;
        let row = QTensor::quantize(&constant, dtype)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let bits = 8.0 * dtype.type_size() as f64 / dtype.block_size() as f64;
        println!(
            "{name}  {bits:7.4}  {plain:8.2}  {plain_speed:11.2}  {weighted:18.2}  {weighted_speed:11.2}  {:.6}",
            row[0]
        );
    }
    Ok(())
}
