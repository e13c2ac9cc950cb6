//! What a run says of itself: plain data, per tensor and in total.

use quant_core::measure::{Distortion, entropy_bits, sqnr_db};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::feedback::OutputError;

/// What happened to one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Name in the source checkpoint.
    pub name: String,
    /// Shape in the source checkpoint.
    pub shape: Vec<usize>,
    /// Dtype in the source checkpoint.
    pub dtype: String,
    /// The recipe in words, or `dense`.
    pub method: String,
    /// Bits per weight, side information included.
    pub rate_bits: f64,
    /// Mean squared error.
    pub mse: f64,
    /// Signal to quantization noise in dB; absent where there is no error.
    pub sqnr_db: Option<f64>,
    /// The same with every error and weight multiplied by its sensitivity; absent where none was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weighted_sqnr_db: Option<f64>,
    /// First-order entropy of the codes in bits; absent for dense tensors.
    pub entropy_bits: Option<f64>,
    /// What error feedback gained, where errors were fed back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_error: Option<OutputError>,
    /// Why a tensor stayed dense.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Whether it was wanted quantized and could not be.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub substituted: bool,
    /// The sums behind the figures.
    pub sums: Sums,
}

/// Sums that merge into totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Weights.
    pub weight_count: u64,
    /// Stored bits, all side information included.
    pub stored_bits: u64,
    /// Σ (x − Q(x))².
    pub squared_error: f64,
    /// Σ x².
    pub energy: f64,
    /// Σ w·(x − Q(x))² and Σ w·x², where there are sensitivity weights w, of mean 1 in each matrix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weighted: Option<(f64, f64)>,
    /// max |x − Q(x)|.
    pub error_max: f64,
    /// How often each code occurs in one tensor. Codes of two tensors stand for different levels: their counts do not add up.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub code_counts: Vec<u64>,
    /// Codes n, and n·H bits with the entropy H of the codes of each tensor by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coded: Option<(u64, f64)>,
    /// SHA-256 over shape, levels, scales and codes; empty for dense tensors.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub codes_hash: String,
}

impl Sums {
    /// The sums of a quantized tensor.
    pub fn of(distortion: &Distortion, stored_bits: u64, codes_hash: String) -> Self {
        let count = distortion.sample_count;
        Self {
            weight_count: count,
            stored_bits,
            squared_error: distortion.squared_error,
            energy: distortion.energy,
            weighted: None,
            error_max: distortion.error_max,
            code_counts: distortion.code_counts.clone(),
            coded: Some((count, count as f64 * entropy_bits(&distortion.code_counts))),
            codes_hash,
        }
    }

    fn merge(&mut self, other: &Sums) {
        self.weight_count += other.weight_count;
        self.stored_bits += other.stored_bits;
        self.squared_error += other.squared_error;
        self.energy += other.energy;
        self.weighted = match (self.weighted, other.weighted) {
            (Some(a), Some(b)) => Some((a.0 + b.0, a.1 + b.1)),
            (a, b) => a.or(b),
        };
        self.error_max = self.error_max.max(other.error_max);
        self.coded = match (self.coded, other.coded) {
            (Some(a), Some(b)) => Some((a.0 + b.0, a.1 + b.1)),
            (a, b) => a.or(b),
        };
    }

    fn rate_bits(&self) -> f64 {
        ratio(self.stored_bits as f64, self.weight_count)
    }

    fn mse(&self) -> f64 {
        ratio(self.squared_error, self.weight_count)
    }

    fn sqnr_db(&self) -> Option<f64> {
        Some(sqnr_db(self.energy, self.squared_error)).filter(|db| db.is_finite())
    }

    fn weighted_sqnr_db(&self) -> Option<f64> {
        self.weighted.map(|(error, energy)| sqnr_db(energy, error)).filter(|db| db.is_finite())
    }

    fn entropy_bits(&self) -> Option<f64> {
        self.coded.map(|(count, bits)| ratio(bits, count))
    }
}

fn ratio(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

impl TensorReport {
    /// A report of a quantized tensor.
    pub fn quantized(name: &str, shape: &[usize], dtype: &str, method: String, sums: Sums) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype: dtype.into(),
            method,
            rate_bits: sums.rate_bits(),
            mse: sums.mse(),
            sqnr_db: sums.sqnr_db(),
            weighted_sqnr_db: sums.weighted_sqnr_db(),
            entropy_bits: sums.entropy_bits(),
            output_error: None,
            reason: None,
            substituted: false,
            sums,
        }
    }

    /// A report of a tensor carried over as it is.
    pub fn dense(
        name: &str,
        shape: &[usize],
        dtype: &str,
        stored_bits: u64,
        reason: String,
        substituted: bool,
    ) -> Self {
        let weight_count = shape.iter().product::<usize>() as u64;
        let sums = Sums { weight_count, stored_bits, ..Sums::default() };
        let report = Self::quantized(name, shape, dtype, "dense".into(), sums);
        Self { reason: Some(reason), substituted, sqnr_db: None, entropy_bits: None, ..report }
    }

    /// What is known of a quantized tensor before a weight is read: its rate.
    pub fn planned(name: &str, shape: &[usize], dtype: &str, method: String, stored_bits: u64) -> Self {
        let weight_count = shape.iter().product::<usize>() as u64;
        let sums = Sums { weight_count, stored_bits, ..Sums::default() };
        Self::quantized(name, shape, dtype, method, sums)
    }

    /// Corrects what is stored for the tensor, and the rate with it.
    pub(crate) fn set_stored_bits(&mut self, bits: u64) {
        self.sums.stored_bits = bits;
        self.rate_bits = self.sums.rate_bits();
    }

    /// Whether the tensor was quantized.
    pub fn is_quantized(&self) -> bool {
        self.reason.is_none()
    }

    /// What kind of tensor it is: its name without layer and expert numbers, and without what stands before them.
    ///
    /// ```
    /// use quant::report::kind;
    /// assert_eq!(kind("model.layers.17.self_attn.q_proj.weight"), "self_attn.q_proj");
    /// assert_eq!(kind("blk.3.ffn_down.weight"), "ffn_down");
    /// assert_eq!(kind("model.embed_tokens.weight"), "embed_tokens");
    /// ```
    pub fn kind(&self) -> String {
        kind(&self.name)
    }
}

/// See [`TensorReport::kind`].
pub fn kind(name: &str) -> String {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    let parts: Vec<&str> = stem.split('.').collect();
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let start = match parts.iter().position(|&p| is_number(p)) {
        Some(i) if i + 1 < parts.len() => i + 1,
        _ => parts.len() - 1,
    };
    parts[start..].iter().copied().filter(|&p| !is_number(p)).collect::<Vec<_>>().join(".")
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Figures of the whole run.
    pub totals: Totals,
    /// Figures of each tensor, in the checkpoint's order.
    pub tensors: Vec<TensorReport>,
}

/// Figures over the quantized tensors, and what surrounds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Quantized weights.
    pub weight_count: u64,
    /// Bits per quantized weight, side information included.
    pub rate_bits: f64,
    /// Mean squared error over quantized weights.
    pub mse: f64,
    /// SQNR over quantized weights in dB; absent where there is no error.
    pub sqnr_db: Option<f64>,
    /// SQNR under sensitivity weights in dB; absent where none were given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weighted_sqnr_db: Option<f64>,
    /// Largest error.
    pub error_max: f64,
    /// First-order entropy of all codes in bits.
    pub entropy_bits: Option<f64>,
    /// The sum of what error feedback gained, where errors were fed back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_error: Option<OutputError>,
    /// Weights carried over dense.
    pub dense_weight_count: u64,
    /// Bits per weight of the whole output as written, dense tensors included.
    pub checkpoint_rate_bits: f64,
    /// Bytes of the source tensors.
    pub source_len_bytes: u64,
    /// Bytes of the written tensors.
    pub output_len_bytes: u64,
    /// Wall time, over all parts of a resumed run.
    pub seconds: f64,
    /// Largest resident memory of the process, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
    /// The bound that was promised, [`crate::pipeline::peak_memory_bound_bytes`].
    pub peak_memory_bound_bytes: u64,
    /// SHA-256 over the codes, levels and scales of every quantized tensor in order of names.
    pub codes_hash: String,
    /// What was done, in words.
    pub recipe: String,
    /// The output format.
    pub target: String,
    /// Which device did it.
    pub device: String,
}

/// Sums over a set of tensors, for the rows of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct KindRow {
    /// The kind of tensor.
    pub kind: String,
    /// How many there are.
    pub tensor_count: usize,
    /// Weights in all.
    pub weight_count: u64,
    /// Bits per weight.
    pub rate_bits: f64,
    /// Mean squared error.
    pub mse: f64,
    /// SQNR in dB.
    pub sqnr_db: Option<f64>,
    /// Entropy of the codes in bits.
    pub entropy_bits: Option<f64>,
    /// Why they stayed dense, if they did.
    pub reason: Option<String>,
}

/// One row per kind of tensor and reason, in order of first appearance: quantized kinds first.
pub fn rows_by_kind(tensors: &[TensorReport]) -> Vec<KindRow> {
    let mut groups: Vec<((String, Option<String>), usize, Sums)> = Vec::new();
    for tensor in tensors {
        let key = (tensor.kind(), tensor.reason.clone());
        match groups.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, count, sums)) => {
                *count += 1;
                sums.merge(&tensor.sums);
            }
            None => groups.push((key, 1, tensor.sums.clone())),
        }
    }
    groups.sort_by_key(|((_, reason), ..)| reason.is_some());
    let row = |((kind, reason), tensor_count, sums): ((String, Option<String>), usize, Sums)| KindRow {
        kind,
        tensor_count,
        weight_count: sums.weight_count,
        rate_bits: sums.rate_bits(),
        mse: sums.mse(),
        sqnr_db: sums.sqnr_db().filter(|_| reason.is_none()),
        entropy_bits: sums.entropy_bits(),
        reason,
    };
    groups.into_iter().map(row).collect()
}

/// What a report's totals hold beside the sums over tensors.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// See [`Totals::source_len_bytes`].
    pub source_len_bytes: u64,
    /// See [`Totals::output_len_bytes`].
    pub output_len_bytes: u64,
    /// See [`Totals::seconds`].
    pub seconds: f64,
    /// See [`Totals::peak_memory_bound_bytes`].
    pub peak_memory_bound_bytes: u64,
    /// See [`Totals::recipe`].
    pub recipe: String,
    /// See [`Totals::target`].
    pub target: String,
    /// See [`Totals::device`].
    pub device: String,
}

impl Report {
    /// Adds up `tensors`.
    pub fn new(tensors: Vec<TensorReport>, circumstances: Circumstances) -> Self {
        let (mut quantized, mut all) = (Sums::default(), Sums::default());
        let mut output_error: Option<OutputError> = None;
        for tensor in &tensors {
            all.merge(&tensor.sums);
            if let Some(error) = tensor.output_error {
                *output_error.get_or_insert_default() += error;
            }
            if tensor.is_quantized() {
                quantized.merge(&tensor.sums);
            }
        }
        let totals = Totals {
            weight_count: quantized.weight_count,
            rate_bits: quantized.rate_bits(),
            mse: quantized.mse(),
            sqnr_db: quantized.sqnr_db(),
            weighted_sqnr_db: quantized.weighted_sqnr_db(),
            error_max: quantized.error_max,
            entropy_bits: quantized.entropy_bits(),
            output_error,
            dense_weight_count: all.weight_count - quantized.weight_count,
            checkpoint_rate_bits: ratio(8.0 * circumstances.output_len_bytes as f64, all.weight_count),
            source_len_bytes: circumstances.source_len_bytes,
            output_len_bytes: circumstances.output_len_bytes,
            seconds: circumstances.seconds,
            peak_memory_bytes: peak_memory_bytes(),
            peak_memory_bound_bytes: circumstances.peak_memory_bound_bytes,
            codes_hash: total_hash(&tensors),
            recipe: circumstances.recipe,
            target: circumstances.target,
            device: circumstances.device,
        };
        Self { totals, tensors }
    }
}

fn total_hash(tensors: &[TensorReport]) -> String {
    let mut named: Vec<_> =
        tensors.iter().filter(|t| t.is_quantized()).map(|t| (&t.name, &t.sums.codes_hash)).collect();
    named.sort();
    let mut hash = Sha256::new();
    for (name, codes_hash) in named {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(codes_hash.as_bytes());
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// The largest resident set of this process in bytes, from `/proc/self/status`; `None` where there is no such file.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
