//! What is measured: a matrix, a recipe and a verb, with buffers that are allocated before the clock starts.

use anyhow::{Result, bail};
use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::grouping::Grouping;
use quant_core::quantize::quantize;
use quant_core::recipe::{CodebookRule, Recipe};
use quant_core::reference::Reference;
use quant_core::scale::{ScaleRule, ScaleSearch, level_max};
use quant_core::tensor::Matrix;
use quant_cpu::Cpu;

/// Rows whose result is compared with the scalar reference before anything is timed.
const CHECKED_ROWS: usize = 2;

/// What a case repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Levels and scales as the recipe says, then codes.
    Encode,
    /// Samples from codes.
    Decode,
}

/// Figures that stand beside a time.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// Bits per weight, side information included.
    pub rate_bits: f64,
    /// Mean squared error.
    pub mse: f64,
    /// Signal to quantization noise.
    pub sqnr_db: f64,
}

/// One thing to measure.
pub struct Case<'a> {
    cpu: &'a Cpu,
    matrix: Matrix<'a>,
    recipe: Recipe,
    verb: Verb,
    bit_width: BitWidth,
    grouping: Grouping,
    codebooks: Codebooks,
    scales: Option<Vec<f32>>,
    packed: Vec<u8>,
    decoded: Vec<f32>,
}

impl<'a> Case<'a> {
    /// A case whose first result is in place. Codes take `stored_bits`, or as many bits as the recipe has.
    pub fn new(cpu: &'a Cpu, matrix: Matrix<'a>, recipe: Recipe, verb: Verb, stored_bits: Option<u32>) -> Result<Self> {
        let quantized = quantize(cpu, matrix, &recipe)?;
        let bit_width = stored_bits.map_or(Ok(recipe.bit_width), BitWidth::new)?;
        let mut case = Self {
            cpu,
            matrix,
            recipe,
            verb: Verb::Encode,
            bit_width,
            grouping: quantized.grouping,
            codebooks: quantized.codebooks,
            scales: quantized.scales,
            packed: vec![0; matrix.rows() * bit_width.row_len_bytes(matrix.columns())],
            decoded: Vec::new(),
        };
        case.run();
        if verb == Verb::Decode {
            case.decoded = vec![0.0; matrix.len()];
        }
        case.verb = verb;
        case.run();
        case.check()?;
        Ok(case)
    }

    /// Does the work once.
    pub fn run(&mut self) {
        match self.verb {
            Verb::Encode => self.encode(),
            Verb::Decode => self.decode(),
        }
    }

    /// Does the work once into buffers that are allocated within it, as most libraries do.
    pub fn run_afresh(&mut self) {
        self.packed = vec![0; self.packed.len()];
        self.scales = self.scales.take().map(|scales| vec![0.0; scales.len()]);
        self.decoded = vec![0.0; self.decoded.len()];
        self.run();
    }

    fn encode(&mut self) {
        let (cpu, matrix, grouping) = (self.cpu, self.matrix, self.grouping);
        if self.recipe.codebook == CodebookRule::KmeansRow {
            let Ok(codebooks) = cpu.fit_rows(matrix, None, None, self.recipe.bit_width.level_count());
            self.codebooks = codebooks;
        }
        if let (Some(rule), Some(scales)) = (self.recipe.scale, self.scales.as_mut()) {
            let Ok(()) = match rule {
                ScaleRule::Absmax => {
                    // True of the symmetric codebooks measured here; `check` fails for one where it is not.
                    let inverse = 1.0 / level_max(self.codebooks.levels(0));
                    cpu.absmax_scales(matrix, grouping, inverse, scales)
                }
                _ => {
                    let signed = rule == ScaleRule::SignedSearch;
                    let search = ScaleSearch::new(&self.codebooks, grouping.length(), signed);
                    cpu.search_scales(matrix, grouping, &search, scales)
                }
            };
        }
        let mut packed = std::mem::take(&mut self.packed);
        let Ok(()) = cpu.encode(matrix, &self.encoding(), &mut packed);
        self.packed = packed;
    }

    fn decode(&mut self) {
        let mut decoded = std::mem::take(&mut self.decoded);
        let Ok(()) = self.cpu.decode(&self.packed, &self.encoding(), &mut SamplesMut::F32(&mut decoded));
        self.decoded = decoded;
    }

    fn encoding(&self) -> Encoding<'_> {
        let scales = self.scales.as_deref();
        Encoding { bit_width: self.bit_width, grouping: self.grouping, scales, codebooks: &self.codebooks }
    }

    /// Compares the first rows with the scalar reference, which designs, scales and encodes them again.
    fn check(&self) -> Result<()> {
        let rows = CHECKED_ROWS.min(self.matrix.rows());
        let matrix = self.matrix.row_range(0..rows);
        let grouping = Grouping::new(rows, self.matrix.columns(), self.grouping.length());
        let level_count = self.codebooks.level_count();
        let codebook_count = if self.codebooks.count() == 1 { 1 } else { rows };
        let codebooks = Codebooks::from_levels(level_count, (0..codebook_count).map(|i| self.codebooks.levels(i)));
        let scales = self.scales.as_ref().map(|s| &s[..grouping.group_count()]);
        let encoding = Encoding { bit_width: self.bit_width, grouping, scales, codebooks: &codebooks };
        let mut packed = vec![0; encoding.codes_len_bytes()];
        let Ok(()) = Reference.encode(matrix, &encoding, &mut packed);
        if packed != self.packed[..packed.len()] {
            bail!("{}: codes differ from the scalar reference", self.recipe);
        }
        if self.verb == Verb::Decode {
            let mut decoded = vec![0.0; matrix.len()];
            let Ok(()) = Reference.decode(&packed, &encoding, &mut SamplesMut::F32(&mut decoded));
            if decoded != self.decoded[..decoded.len()] {
                bail!("{}: decoded samples differ from the scalar reference", self.recipe);
            }
        }
        let fresh = quantize(&Reference, matrix, &self.recipe)?;
        let designed_per_tensor = self.recipe.codebook == CodebookRule::Lloyd;
        if !designed_per_tensor && (fresh.scales.as_deref() != scales || fresh.codebooks != codebooks) {
            bail!("{}: scales or levels differ from the scalar reference", self.recipe);
        }
        Ok(())
    }

    /// Rate and distortion of the codes in place.
    pub fn quality(&self) -> Quality {
        let Ok(distortion) = self.cpu.distortion(self.matrix, &self.encoding(), &self.packed);
        let scale_count = self.scales.as_ref().map_or(0, Vec::len);
        let side_bits = 32 * (scale_count + self.codebooks.all_levels().len());
        let bits = 8 * self.packed.len() + side_bits;
        Quality {
            rate_bits: bits as f64 / self.matrix.len() as f64,
            mse: distortion.mse(),
            sqnr_db: distortion.sqnr_db(),
        }
    }

    /// Samples in the matrix.
    pub fn sample_count(&self) -> usize {
        self.matrix.len()
    }

    /// Bytes that must cross the memory bus for each sample: read once, written once. Scales are read or written too.
    pub fn bytes_per_sample(&self) -> f64 {
        let samples = self.matrix.len() * self.matrix.samples().dtype().byte_len();
        let scales = 4 * self.scales.as_ref().map_or(0, Vec::len);
        (samples + scales + self.packed.len()) as f64 / self.matrix.len() as f64
    }
}
