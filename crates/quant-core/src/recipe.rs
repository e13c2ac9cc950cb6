//! What to do to a matrix: which codebook, how many bits, which samples share a scale, how scales are chosen and stored.
//!
//! The axes are orthogonal; a preset is a name for a point on them.

use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::design::{float_format, normal_float, uniform};
use crate::grouping::GroupLength;
use crate::scale::ScaleRule;

/// The levels of llama.cpp's `IQ4_NL` (its `kvalues_iq4nl`), a compile-time constant in every one of its backends.
pub const IQ4_NL_LEVELS: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Samples in a block of llama.cpp's `IQ4_NL`, `Q4_0` and `Q8_0`.
pub const GGML_BLOCK_LEN: usize = 32;

/// Where the levels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodebookRule {
    /// NormalFloat: fixed, the quantiles of a Gaussian.
    NormalFloat,
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
}

impl CodebookRule {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::NormalFloat, "nf", ""),
        (Self::Float, "fp", ""),
        (Self::Integer, "int", ""),
        (Self::Iq4Nl, "iq", "_nl"),
        (Self::Lloyd, "lloyd", ""),
        (Self::KmeansRow, "kmeans", "-row"),
    ];

    /// True when levels do not depend on the samples.
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::NormalFloat | Self::Float | Self::Integer | Self::Iq4Nl)
    }

    /// The levels of a fixed codebook, ascending; `None` for a designed one.
    pub fn fixed_levels(self, bit_width: BitWidth) -> Option<Vec<f32>> {
        let bits = bit_width.bits() as u32;
        match self {
            Self::NormalFloat => Some(normal_float::levels(bits)),
            Self::Float => Some(float_format::fp_levels(bits)),
            Self::Integer => Some(uniform::integer_levels(bits)),
            Self::Iq4Nl => Some(IQ4_NL_LEVELS.to_vec()),
            Self::Lloyd | Self::KmeansRow => None,
        }
    }
}

/// A complete instruction. Build one with [`Recipe::preset`] and change it with the `with_` methods, which check it.
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
    /// Whether scales are quantized in their turn.
    pub double_quant: bool,
    /// Whether scales are rounded to f16, and integers are whole ones: what blocks of llama.cpp hold.
    pub half_scales: bool,
}

/// Why a recipe was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// No such preset.
    #[error(
        "unknown preset \"{0}\"; presets are nf4, nf3, fp4, int4, lloyd4, lloyd3, kmeans4-row, kmeans3-row, each with 2 to 8 bits, and iq4_nl, q4_0, q8_0"
    )]
    UnknownPreset(String),
    /// Fewer than 2 or more than 8 bits.
    #[error("{0} bits per code; the allowed range is 2 to 8")]
    BitsOutOfRange(u32),
    /// A codebook that exists at one width only.
    #[error("{name} has 4 bits and no others")]
    BitsFixed {
        /// The recipe's name.
        name: String,
    },
    /// f16 scales that would be quantized once more.
    #[error("{name} stores its scales as f16; they are not quantized once more")]
    HalfScales {
        /// The recipe's name.
        name: String,
    },
    /// A group of no sample.
    #[error("a group of 0 samples; a group has at least 1 sample")]
    EmptyGroup,
    /// A scale rule where there is no scale.
    #[error(
        "{name} stores no scales at this group length, so there is none to choose or to quantize; use a group of samples such as 64"
    )]
    NoScales {
        /// The recipe's name.
        name: String,
    },
}

impl Recipe {
    /// The preset called `name`: a family (`nf`, `fp`, `int`, `lloyd`, `kmeans…-row`) with its bits.
    ///
    /// Fixed codebooks default to groups of 64 samples with signed scale search; designed ones to no scale at all.
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
        Ok(Self { codebook, bit_width, group, scale, double_quant: false, half_scales: false })
    }

    /// What a block of llama.cpp holds.
    fn ggml(codebook: CodebookRule, bits: u32, rule: ScaleRule) -> Self {
        let bit_width = BitWidth::new(bits).expect("4 or 8");
        let group = GroupLength::Samples(GGML_BLOCK_LEN);
        Self { codebook, bit_width, group, scale: Some(rule), double_quant: false, half_scales: true }
    }

    /// The same with another bit width.
    pub fn with_bits(mut self, bits: u32) -> Result<Self, RecipeError> {
        if !(2..=8).contains(&bits) {
            return Err(RecipeError::BitsOutOfRange(bits));
        }
        if self.codebook == CodebookRule::Iq4Nl && bits != 4 {
            return Err(RecipeError::BitsFixed { name: self.family_name() });
        }
        self.bit_width = BitWidth::new(bits).expect("2 to 8 was checked");
        Ok(self)
    }

    /// The same with other groups. A designed codebook gains absmax scales when a scale is shared by less than what
    /// shares the codebook, and loses them otherwise.
    pub fn with_group(mut self, group: GroupLength) -> Result<Self, RecipeError> {
        if group == GroupLength::Samples(0) {
            return Err(RecipeError::EmptyGroup);
        }
        self.group = group;
        if !self.codebook.is_fixed() {
            self.scale = self.needs_scales().then_some(ScaleRule::Absmax);
        }
        Ok(self)
    }

    /// The same with another scale rule.
    pub fn with_scale(mut self, rule: ScaleRule) -> Result<Self, RecipeError> {
        if !self.needs_scales() {
            return Err(RecipeError::NoScales { name: self.family_name() });
        }
        self.scale = Some(rule);
        Ok(self)
    }

    /// The same with scales quantized in their turn.
    pub fn with_double_quant(mut self) -> Result<Self, RecipeError> {
        if !self.needs_scales() {
            return Err(RecipeError::NoScales { name: self.family_name() });
        }
        if self.half_scales {
            return Err(RecipeError::HalfScales { name: self.family_name() });
        }
        self.double_quant = true;
        Ok(self)
    }

    /// Whether a scale says something that the codebook does not.
    fn needs_scales(&self) -> bool {
        let shared_with_codebook = match self.codebook {
            CodebookRule::Lloyd => self.group == GroupLength::Tensor,
            CodebookRule::KmeansRow => matches!(self.group, GroupLength::Row | GroupLength::Tensor),
            _ => false,
        };
        !shared_with_codebook
    }

    /// Family and bits: `nf4`, `kmeans3-row`.
    pub fn family_name(&self) -> String {
        if self.half_scales && self.codebook == CodebookRule::Integer {
            return format!("q{}_0", self.bit_width.bits());
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
        let mut levels = self.codebook.fixed_levels(self.bit_width)?;
        if self.half_scales && self.codebook == CodebookRule::Integer {
            // Whole numbers: an f16 scale times one of them is exact in f32, as in the runtime.
            let half = (levels.len() / 2) as f32;
            levels = (0..levels.len()).map(|code| code as f32 - half).collect();
        }
        Some(Codebooks::from_levels(self.bit_width.level_count(), [levels]))
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.family_name())?;
        let Some(scale) = self.scale else { return Ok(()) };
        match self.group {
            GroupLength::Samples(n) => write!(f, " group {n}")?,
            GroupLength::Row => write!(f, " group row")?,
            GroupLength::Tensor => write!(f, " group tensor")?,
        }
        write!(f, " {}", scale.name())?;
        match (self.double_quant, self.half_scales) {
            (true, _) => write!(f, " double-quant"),
            (false, true) => write!(f, " f16-scales"),
            (false, false) => Ok(()),
        }
    }
}
