//! What to do to a matrix: which codebook, how many bits, which samples share a scale, how scales are chosen and stored.
//!
//! The axes are orthogonal; a preset is a name for a point on them. Codebook × groups × how scales are chosen × how they
//! are stored × what is kept exact; sensitivity weights are data and are given beside the recipe.

mod check;
mod error;
mod published;
mod switch;
mod text;
mod vectors;

use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::design::{float_format, normal_float, uniform};
use crate::grouping::GroupLength;
use crate::scale::ScaleRule;
use crate::scale_storage::ScaleStorage;

pub use error::RecipeError;
pub use switch::Switch;
pub use vectors::VectorRule;

/// The levels of llama.cpp's `IQ4_NL` (its `kvalues_iq4nl`), a compile-time constant in every one of its backends.
pub const IQ4_NL_LEVELS: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Samples in a block of llama.cpp's `IQ4_NL`, `Q4_0` and `Q8_0`.
pub const GGML_BLOCK_LEN: usize = 32;

/// The longest group that levels are designed for as blocks.
const BLOCK_LEN_MAX: usize = 4096;

/// The family whose groups choose among codebooks.
const SWITCHED: &str = "switched";

/// The family whose codes have a given entropy.
const ENTROPY_CONSTRAINED: &str = "ecsq";

/// Where the levels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodebookRule {
    /// NormalFloat: fixed, the quantiles of a Gaussian.
    NormalFloat,
    /// Student-float: fixed, the quantiles of Student's t with 5 degrees of freedom.
    StudentFloat,
    /// The levels of least error for Gaussian samples over the largest magnitude of their group: fixed for a group length.
    BlockNormalFloat,
    /// A small floating-point format: fixed; at 4 bits the table of bitsandbytes.
    Float,
    /// The signed integers: fixed, uniform.
    Integer,
    /// The 16 levels that llama.cpp's `IQ4_NL` is decoded with: fixed.
    Iq4Nl,
    /// Designed from the samples of the whole matrix: least squared error.
    Lloyd,
    /// Exact 1-D k-means of every row.
    KmeansRow,
    /// Designed from the samples of the whole matrix: least squared error found at an entropy of the codes, which are
    /// entropy coded.
    EntropyConstrained {
        /// The entropy in hundredths of a bit.
        rate: u16,
    },
    /// Codebooks of points, designed from the samples of the whole matrix.
    Vectors(VectorRule),
}

impl CodebookRule {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::NormalFloat, "nf", ""),
        (Self::StudentFloat, "sf", ""),
        (Self::BlockNormalFloat, "bnf", ""),
        (Self::Float, "fp", ""),
        (Self::Integer, "int", ""),
        (Self::Iq4Nl, "iq", "_nl"),
        (Self::Lloyd, "lloyd", ""),
        (Self::KmeansRow, "kmeans", "-row"),
    ];

    /// True when levels do not depend on the samples.
    pub fn is_fixed(self) -> bool {
        !matches!(self, Self::Lloyd | Self::KmeansRow | Self::EntropyConstrained { .. } | Self::Vectors(_))
    }

    /// The levels of a fixed codebook for groups of `group_len` samples, ascending; `None` for a designed one.
    fn fixed_levels(self, bit_width: BitWidth, group_len: usize) -> Option<Vec<f32>> {
        let bits = bit_width.bits() as u32;
        match self {
            Self::NormalFloat => Some(normal_float::levels(bits)),
            Self::StudentFloat => Some(normal_float::student_levels_f32(bits)),
            Self::BlockNormalFloat => Some(normal_float::block_levels_f32(bits, group_len)),
            Self::Float => Some(float_format::fp_levels(bits)),
            Self::Integer => Some(uniform::integer_levels(bits)),
            Self::Iq4Nl => Some(IQ4_NL_LEVELS.to_vec()),
            Self::Lloyd | Self::KmeansRow | Self::EntropyConstrained { .. } | Self::Vectors(_) => None,
        }
    }

    /// Whether codes are worth storing only when they are entropy coded.
    pub fn is_entropy_coded(self) -> bool {
        matches!(self, Self::EntropyConstrained { .. })
    }
}

/// A complete instruction. Build one with [`Recipe::preset`] and change it with the `with_` methods, which check it; one whose
/// fields were set by hand is checked by [`Recipe::check`] when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Where the levels come from.
    pub codebook: CodebookRule,
    /// Bits of a code, 2 to 8.
    pub bit_width: BitWidth,
    /// Which samples share a scale.
    pub group: GroupLength,
    /// How a scale is chosen; `None` where levels are in the unit of the samples and no scale is stored.
    pub scale: Option<ScaleRule>,
    /// In which numbers scales are stored. Beside f16 scales integers are whole ones, as in blocks of llama.cpp.
    pub scale_storage: ScaleStorage,
    /// What every group chooses among, instead of having a scale of its own.
    pub switch: Option<Switch>,
    /// Which samples are kept exact beside the codes.
    pub outliers: Option<OutlierRule>,
}

/// Which samples are kept exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutlierRule {
    /// How many of a million samples.
    pub per_million: u32,
    /// Whether those of largest weight · x² are kept; those of largest |x| otherwise.
    pub by_sensitivity: bool,
}

impl OutlierRule {
    /// Samples that are kept of `sample_count`, rounded to nearest.
    pub fn count(self, sample_count: usize) -> usize {
        ((sample_count as u64 * u64::from(self.per_million) + 500_000) / 1_000_000) as usize
    }
}

impl Recipe {
    /// The preset called `name`: a family (`nf`, `fp`, `int`, `lloyd`, `kmeans…-row`) with its bits.
    ///
    /// Fixed codebooks default to groups of 64 samples with signed scale search; designed ones to no scale at all. `ecsq` has
    /// the entropy of its codes after its name: `ecsq4.25`.
    ///
    /// ```
    /// use quant_core::recipe::Recipe;
    /// assert_eq!(Recipe::preset("nf4").unwrap().to_string(), "nf4 group 64 signed-search");
    /// assert_eq!(Recipe::preset("kmeans3-row").unwrap().to_string(), "kmeans3-row");
    /// assert!(Recipe::preset("nf9").is_err());
    /// ```
    pub fn preset(name: &str) -> Result<Self, RecipeError> {
        match name {
            "iq4_nl" => return Ok(Self::ggml(CodebookRule::Iq4Nl, 4, ScaleRule::SignedSearch)),
            "q4_0" => return Ok(Self::ggml(CodebookRule::Integer, 4, ScaleRule::SignedSearch)),
            "q8_0" => return Ok(Self::ggml(CodebookRule::Integer, 8, ScaleRule::Absmax)),
            _ => {}
        }
        if let Some(words) = published::words(name) {
            return words.parse().map_err(|_| RecipeError::UnknownPreset(name.into()));
        }
        if let Some(bits) = name.strip_prefix(SWITCHED).and_then(|bits| bits.parse().ok()) {
            return Self::switched(bits).ok_or_else(|| RecipeError::UnknownPreset(name.into()));
        }
        if let Some(bits) = name.strip_prefix(ENTROPY_CONSTRAINED).and_then(|bits| bits.parse().ok()) {
            return Self::entropy_constrained(bits);
        }
        if let Some(recipe) = Self::vectors(name) {
            return recipe;
        }
        let unknown = || RecipeError::UnknownPreset(name.into());
        let family = |(rule, prefix, suffix): &(CodebookRule, &str, &str)| {
            let bits: u32 = name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
            Some((*rule, bits))
        };
        let (codebook, bits) = CodebookRule::ALL.iter().find_map(family).ok_or_else(unknown)?;
        if !(2..=8).contains(&bits) || codebook == CodebookRule::Iq4Nl {
            return Err(unknown());
        }
        let group = match codebook {
            CodebookRule::Lloyd => GroupLength::Tensor,
            CodebookRule::KmeansRow => GroupLength::Row,
            _ => GroupLength::Samples(64),
        };
        let bit_width = BitWidth::new(bits).expect("2 to 8 was checked");
        let scale = codebook.is_fixed().then_some(ScaleRule::SignedSearch);
        Ok(Self { scale, ..Self::plain(codebook, bit_width, group) })
    }

    fn plain(codebook: CodebookRule, bit_width: BitWidth, group: GroupLength) -> Self {
        let (scale, scale_storage, switch, outliers) = (None, ScaleStorage::F32, None, None);
        Self { codebook, bit_width, group, scale, scale_storage, switch, outliers }
    }

    /// Groups of 16 that choose among 16 steps times 8 shapes, or times 4 below 4 bits, where a group has less to tell:
    /// 7/16 or 6/16 bits a sample. On N(0,1) at 4 bits, 32 × 4, 16 × 8 and 8 × 16 are within 0.16 dB of one another.
    fn switched(bits: u32) -> Option<Self> {
        let bit_width = BitWidth::new(bits).ok().filter(|_| bits >= 2)?;
        let switch = Switch { step_bits: 4, shape_bits: if bits >= 4 { 3 } else { 2 } };
        let plain = Self::plain(CodebookRule::Lloyd, bit_width, GroupLength::Samples(16));
        Some(Self { switch: Some(switch), ..plain })
    }

    /// One codebook for the matrix, with codes of an entropy of `rate` bits, 1 to 6, in steps of 0.01; codes are two bits
    /// wider, so that tails have levels of their own.
    fn entropy_constrained(rate: f64) -> Result<Self, RecipeError> {
        if !(1.0..=6.0).contains(&rate) {
            return Err(RecipeError::RateOutOfRange(rate.to_string()));
        }
        let rate = (100.0 * rate).round() as u16;
        let bit_width = BitWidth::new(u32::from(rate.div_ceil(100)) + 2).expect("3 to 8");
        Ok(Self::plain(CodebookRule::EntropyConstrained { rate }, bit_width, GroupLength::Tensor))
    }

    /// What a block of llama.cpp holds.
    fn ggml(codebook: CodebookRule, bits: u32, rule: ScaleRule) -> Self {
        let bit_width = BitWidth::new(bits).expect("4 or 8");
        let group = GroupLength::Samples(GGML_BLOCK_LEN);
        Self { scale: Some(rule), scale_storage: ScaleStorage::F16, ..Self::plain(codebook, bit_width, group) }
    }

    /// The same with another bit width; where codes are entropy coded, with that entropy.
    pub fn with_bits(mut self, bits: u32) -> Result<Self, RecipeError> {
        if !(2..=8).contains(&bits) {
            return Err(RecipeError::BitsOutOfRange(bits));
        }
        self.refuse_vectors()?;
        if self.codebook.is_entropy_coded() {
            let Self { codebook, bit_width, .. } = Self::entropy_constrained(bits.into())?;
            return Ok(Self { codebook, bit_width, ..self });
        }
        if self.codebook == CodebookRule::Iq4Nl && bits != 4 {
            return Err(RecipeError::BitsFixed { name: self.family_name() });
        }
        self.bit_width = BitWidth::new(bits).expect("2 to 8 was checked");
        Ok(self)
    }

    /// The same with other groups. A designed codebook gains searched scales when a scale is shared by less than what
    /// shares the codebook, and loses them otherwise.
    pub fn with_group(mut self, group: GroupLength) -> Result<Self, RecipeError> {
        if group == GroupLength::Samples(0) {
            return Err(RecipeError::EmptyGroup);
        }
        self.refuse_vectors()?;
        if self.switch.is_some() && !matches!(group, GroupLength::Samples(_)) {
            let why = "groups that choose a step are runs of samples; use a group such as 16";
            return Err(RecipeError::NoSwitch { name: self.family_name(), why });
        }
        if self.codebook.is_entropy_coded() && group != GroupLength::Tensor {
            return Err(RecipeError::NoGroups { name: self.family_name() });
        }
        let has_length = matches!(group, GroupLength::Samples(2..=BLOCK_LEN_MAX));
        if self.codebook == CodebookRule::BlockNormalFloat && !has_length {
            return Err(RecipeError::NeedsLength { name: self.family_name(), most: BLOCK_LEN_MAX });
        }
        self.group = group;
        if !self.codebook.is_fixed() && self.switch.is_none() {
            self.scale = self.needs_scales().then_some(ScaleRule::SignedSearch);
            self.scale_storage = if self.scale.is_some() { self.scale_storage } else { ScaleStorage::F32 };
        }
        Ok(self)
    }

    /// The same with another scale rule.
    pub fn with_scale(mut self, rule: ScaleRule) -> Result<Self, RecipeError> {
        self.refuse_without_scales()?;
        self.scale = Some(rule);
        Ok(self)
    }

    /// The same with scales quantized in their turn.
    pub fn with_double_quant(self) -> Result<Self, RecipeError> {
        self.with_scale_storage(ScaleStorage::Double)
    }

    /// The same with scales stored in other numbers.
    pub fn with_scale_storage(mut self, storage: ScaleStorage) -> Result<Self, RecipeError> {
        self.refuse_without_scales()?;
        if self.has_half_scales_only() && storage != ScaleStorage::F16 {
            return Err(RecipeError::HalfScales { name: self.family_name() });
        }
        self.scale_storage = storage;
        Ok(self)
    }

    /// Whether scales can be stored as f16 and as nothing else, as in blocks of llama.cpp.
    pub fn has_half_scales_only(&self) -> bool {
        self.is_ggml_block() || self.codebook == CodebookRule::Iq4Nl
    }

    /// Whether its codes and scales are what a block of llama.cpp holds.
    fn is_ggml_block(&self) -> bool {
        let is_ggml = match self.codebook {
            CodebookRule::Integer => [4, 8].contains(&self.bit_width.bits()),
            other => other == CodebookRule::Iq4Nl,
        };
        is_ggml && self.scale_storage == ScaleStorage::F16 && self.group == GroupLength::Samples(GGML_BLOCK_LEN)
    }

    /// The same with groups that choose among 2^`step_bits` scales times 2^`shape_bits` codebooks.
    pub fn with_switch(mut self, step_bits: u32, shape_bits: u32) -> Result<Self, RecipeError> {
        self.refuse_vectors()?;
        let refuse = |why| Err(RecipeError::NoSwitch { name: self.family_name(), why });
        if !(1..=8).contains(&step_bits.saturating_add(shape_bits)) {
            return Err(RecipeError::SwitchBits { step_bits, shape_bits });
        }
        let is_its_own = self.codebook == CodebookRule::KmeansRow || self.codebook.is_entropy_coded();
        if is_its_own || self.scale_storage != ScaleStorage::F32 {
            return refuse("has scales or codebooks of its own; steps are for nf, fp, int, lloyd and switched");
        }
        if self.codebook.is_fixed() && shape_bits > 0 {
            return refuse("has one fixed codebook and no shapes to choose; use 0 shape bits, or lloyd or switched");
        }
        if !matches!(self.group, GroupLength::Samples(_)) {
            return refuse("groups that choose a step are runs of samples; use a group such as 16");
        }
        self.scale = None;
        self.switch = Some(Switch { step_bits: step_bits as u8, shape_bits: shape_bits as u8 });
        Ok(self)
    }

    /// The same with the share `fraction` of samples kept exact: those of largest weight · x² when `by_sensitivity`, of
    /// largest |x| otherwise.
    pub fn with_outliers(mut self, fraction: f64, by_sensitivity: bool) -> Result<Self, RecipeError> {
        if !(1e-6..=0.1).contains(&fraction) {
            return Err(RecipeError::OutlierFraction(fraction.to_string()));
        }
        self.outliers = Some(OutlierRule { per_million: (fraction * 1e6).round() as u32, by_sensitivity });
        Ok(self)
    }

    /// Whether what is stored is codes, levels and at most one f32, f16 or doubly quantized scale for each group: all
    /// that formats of other programs can hold.
    pub fn is_plain(&self) -> bool {
        self.switch.is_none() && self.outliers.is_none() && self.codebook.vectors().is_none()
    }

    fn refuse_without_scales(&self) -> Result<(), RecipeError> {
        self.refuse_vectors()?;
        match (self.needs_scales(), self.codebook.is_entropy_coded()) {
            (true, _) => Ok(()),
            (false, true) => Err(RecipeError::NoGroups { name: self.family_name() }),
            (false, false) => Err(RecipeError::NoScales { name: self.family_name() }),
        }
    }

    /// Whether a scale says something that the codebook does not.
    fn needs_scales(&self) -> bool {
        if self.switch.is_some() {
            return false;
        }
        let shared_with_codebook = match self.codebook {
            CodebookRule::Lloyd | CodebookRule::EntropyConstrained { .. } => self.group == GroupLength::Tensor,
            CodebookRule::KmeansRow => matches!(self.group, GroupLength::Row | GroupLength::Tensor),
            _ => false,
        };
        !shared_with_codebook
    }

    /// Family and bits: `nf4`, `kmeans3-row`.
    pub fn family_name(&self) -> String {
        if self.is_ggml_block() && self.codebook == CodebookRule::Integer {
            return format!("q{}_0", self.bit_width.bits());
        }
        if self.codebook == CodebookRule::Lloyd && self.switch.is_some() {
            return format!("{SWITCHED}{}", self.bit_width.bits());
        }
        if let CodebookRule::EntropyConstrained { rate } = self.codebook {
            return format!("{ENTROPY_CONSTRAINED}{}", f64::from(rate) / 100.0);
        }
        if let CodebookRule::Vectors(rule) = self.codebook {
            return rule.to_string();
        }
        let (_, prefix, suffix) =
            CodebookRule::ALL.iter().find(|(rule, ..)| *rule == self.codebook).expect("every rule is listed");
        format!("{prefix}{}{suffix}", self.bit_width.bits())
    }

    /// How many codebooks a matrix of `rows` rows gets.
    pub fn codebook_count(&self, rows: usize) -> usize {
        if self.codebook == CodebookRule::KmeansRow { rows } else { 1 }
    }

    /// The fixed codebook, stored; `None` for a designed one.
    pub fn fixed_codebooks(&self) -> Option<Codebooks> {
        let group_len = if let GroupLength::Samples(n) = self.group { n } else { 0 };
        let mut levels = self.codebook.fixed_levels(self.bit_width, group_len)?;
        if self.scale_storage == ScaleStorage::F16 && self.codebook == CodebookRule::Integer {
            // Whole numbers: an f16 scale times one of them is exact in f32, as in the runtime.
            let half = (levels.len() / 2) as f32;
            levels = (0..levels.len()).map(|code| code as f32 - half).collect();
        }
        Some(Codebooks::from_levels(self.bit_width.level_count(), [levels]))
    }
}
