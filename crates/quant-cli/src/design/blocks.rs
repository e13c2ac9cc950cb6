//! Block formats (OCP MX, NVFP4) on a file's samples, taken in their order.

use quant::{Error, samples};
use quant_core::design::block_format::BlockFormat;
use quant_core::measure::{entropy_bits, sqnr_db};
use serde_json::{Value, json};

use crate::args::Design as Arguments;
use crate::params::Params;

const FORMATS: [(&str, BlockFormat); 6] = [
    ("mxfp4", BlockFormat::MXFP4),
    ("mxfp6-e2m3", BlockFormat::MXFP6_E2M3),
    ("mxfp6-e3m2", BlockFormat::MXFP6_E3M2),
    ("mxfp8-e4m3", BlockFormat::MXFP8_E4M3),
    ("mxfp8-e5m2", BlockFormat::MXFP8_E5M2),
    ("nvfp4", BlockFormat::NVFP4),
];

/// Their names.
pub const NAMES: [&str; 6] = ["mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2", "nvfp4"];

/// A block format measured on samples.
pub struct Found {
    source: String,
    name: String,
    format: BlockFormat,
    sample_count: usize,
    mse: f64,
    sqnr_db: f64,
    entropy_bits: f64,
    scale_bits: usize,
    tensor_scale: f32,
}

/// Encodes and decodes all samples of the file.
pub fn find(arguments: &Arguments) -> Result<Found, Error> {
    let (spec, name, asked) = (&arguments.source.source, &arguments.designer.designer, &arguments.designer);
    let chosen = asked.levels.is_some() || asked.bits.is_some() || asked.scale.is_some() || asked.start.is_some();
    let constrained = asked.symmetric || asked.zero || asked.clip.is_some() || asked.range.is_some();
    if chosen || constrained || arguments.source.weights.is_some() || arguments.held_out.is_some() {
        return Err(Error::Refused(format!("{name} is fixed by its standard and takes no options")));
    }
    Params::new(&arguments.source.param).finish()?;
    let values: Vec<f32> = samples::read(spec)?.into_iter().map(|x| x as f32).collect();
    if let Some(index) = values.iter().position(|x| !x.is_finite()) {
        return Err(Error::Refused(format!("{spec}: sample {index} is beyond the range of f32")));
    }
    let format = FORMATS.iter().find(|f| f.0 == name).expect("the caller knows the names").1;
    let encoded = format.encode(&values);
    let decoded = format.decode(&encoded);
    let count = values.len() as f64;
    let squares = |error: bool| -> f64 {
        let pair = |(x, y): (&f32, &f32)| f64::from(*x) - if error { f64::from(*y) } else { 0.0 };
        values.iter().zip(&decoded).map(|p| pair(p).powi(2)).sum::<f64>() / count
    };
    let mut counts = vec![0u64; 256];
    encoded.codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
    let mse = squares(true);
    Ok(Found {
        source: spec.clone(),
        name: name.clone(),
        format,
        sample_count: values.len(),
        mse,
        sqnr_db: sqnr_db(squares(false), mse),
        entropy_bits: entropy_bits(&counts),
        scale_bits: 8 * encoded.scales.len(),
        tensor_scale: encoded.tensor_scale,
    })
}

impl Found {
    /// Bits per sample with block scales, the last block perhaps shorter.
    fn rate(&self) -> f64 {
        f64::from(self.format.element.bit_width()) + self.scale_bits as f64 / self.sample_count as f64
    }

    /// For people.
    pub fn text(&self) -> String {
        let (width, block_len) = (self.format.element.bit_width(), self.format.block_len);
        let levels: Vec<String> = self.format.element.levels().iter().map(f32::to_string).collect();
        let shown = if levels.len() <= 16 { levels.join(", ") } else { format!("{}, with --json", levels.len()) };
        format!(
            "{:<14}{}, {} samples\n{:<14}{}: {width} bits in blocks of {block_len} with a scale of 8 bits\n\
             {:<14}{shown}\n{:<14}{:.6e} squared units of the source\n{:<14}{:.4} dB\n\
             {:<14}{:.4} bits, without scales\n{:<14}{:.4} bits per sample, block scales included\n\
             {:<14}{:e}\n",
            "source",
            self.source,
            self.sample_count,
            "format",
            self.name,
            "levels",
            "MSE",
            self.mse,
            "SQNR",
            self.sqnr_db,
            "entropy",
            self.entropy_bits,
            "rate",
            self.rate(),
            "tensor scale",
            self.tensor_scale
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "source": self.source,
            "designer": self.name,
            "levels": self.format.element.levels(),
            "block_len": self.format.block_len,
            "sample_count": self.sample_count,
            "mse": self.mse,
            "sqnr_db": self.sqnr_db,
            "entropy_bits": self.entropy_bits,
            "rate_bits": self.rate(),
            "scale_bits": self.scale_bits,
            "tensor_scale": self.tensor_scale,
            "stop": "closed form",
        })
    }
}
