//! Which codebooks of points: how many samples make a point, how long is an index, how many codevectors add up?

use super::{CodebookRule, Recipe, RecipeError};
use crate::codes::BitWidth;
use crate::grouping::GroupLength;

/// Samples of a point.
const DIMENSIONS: [u8; 3] = [2, 4, 8];

/// The longest index: 4096 codevectors of 8 samples take 64 KiB.
const INDEX_BITS_MAX: u8 = 12;

/// Codevectors that add up, at most.
const STAGES_MAX: u8 = 4;

/// Codebooks that take turns, at most.
const PARTS_MAX: u8 = 8;

/// Points of d neighbouring samples of a row, each stored as `stages` indices of `index_bits` bits whose codevectors add
/// up; `parts` such codebooks take turns along a row. Rate: `stages · index_bits / d` bits a sample. See
/// [`crate::vectors`].
///
/// ```
/// use quant_core::recipe::VectorRule;
/// let rule = VectorRule::new(8, 8, 2, 1).unwrap();
/// assert_eq!(rule.to_string(), "vq8x8x2");
/// assert_eq!(rule.row_len_bytes(20), 6); // three points of two bytes, the last with four samples that are not decoded
/// assert!(VectorRule::new(3, 8, 1, 1).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VectorRule {
    dimension: u8,
    index_bits: u8,
    stages: u8,
    parts: u8,
}

impl VectorRule {
    /// Checks: `dimension` 2, 4 or 8; `index_bits` 2 to 12; `stages` 1 to 4; `parts` 1 to 8.
    pub fn new(dimension: u32, index_bits: u32, stages: u32, parts: u32) -> Option<Self> {
        let small = |value: u32, least: u8, most: u8| u8::try_from(value).ok().filter(|v| (least..=most).contains(v));
        Some(Self {
            dimension: small(dimension, 2, 8).filter(|d| DIMENSIONS.contains(d))?,
            index_bits: small(index_bits, 2, INDEX_BITS_MAX)?,
            stages: small(stages, 1, STAGES_MAX)?,
            parts: small(parts, 1, PARTS_MAX)?,
        })
    }

    /// One stage, one part, and shorter indices: what a designer goes through on its way. `bits` are 1 to 12.
    pub(crate) fn one_stage(self, bits: usize) -> Self {
        Self { index_bits: bits as u8, stages: 1, parts: 1, ..self }
    }

    /// All stages of one part.
    pub(crate) fn one_part(self) -> Self {
        Self { parts: 1, ..self }
    }

    /// Samples of a point: d.
    pub fn dimension(self) -> usize {
        self.dimension.into()
    }

    /// Bits of an index.
    pub fn index_bits(self) -> usize {
        self.index_bits.into()
    }

    /// Indices of a point, whose codevectors add up.
    pub fn stages(self) -> usize {
        self.stages.into()
    }

    /// Codebooks that take turns along a row: point j has number j mod `parts`.
    pub fn parts(self) -> usize {
        self.parts.into()
    }

    /// Codevectors of a codebook: 2^index_bits.
    pub fn codevector_count(self) -> usize {
        1 << self.index_bits
    }

    /// Samples of all codevectors of all stages and parts.
    pub fn table_len(self) -> usize {
        self.parts() * self.stages() * self.codevector_count() * self.dimension()
    }

    /// Points of a row of `columns` samples; the last may be filled up with zeros that are not decoded.
    pub fn points_per_row(self, columns: usize) -> usize {
        columns.div_ceil(self.dimension())
    }

    /// Indices of a row.
    pub fn indices_per_row(self, columns: usize) -> usize {
        self.points_per_row(columns) * self.stages()
    }

    /// Bytes of the packed indices of a row.
    pub fn row_len_bytes(self, columns: usize) -> usize {
        (self.indices_per_row(columns) * self.index_bits()).div_ceil(8)
    }

    /// Reads `vqDxB`, `vqDxBxS`, either with `pP` after it; `None` for a name of another kind.
    fn parse(name: &str) -> Option<Option<Self>> {
        let text = name.strip_prefix("vq").filter(|text| text.starts_with(|c: char| c.is_ascii_digit()))?;
        let (text, parts) = text.split_once('p').unwrap_or((text, "1"));
        let numbers: Option<Vec<u32>> = text.split('x').chain([parts]).map(|n| n.parse().ok()).collect();
        Some(match numbers.as_deref() {
            Some(&[dimension, bits, parts]) => Self::new(dimension, bits, 1, parts),
            Some(&[dimension, bits, stages, parts]) => Self::new(dimension, bits, stages, parts),
            _ => None,
        })
    }
}

impl std::fmt::Display for VectorRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "vq{}x{}", self.dimension, self.index_bits)?;
        if self.stages > 1 {
            write!(f, "x{}", self.stages)?;
        }
        if self.parts > 1 { write!(f, "p{}", self.parts) } else { Ok(()) }
    }
}

impl CodebookRule {
    /// Which points, where points are what is coded.
    pub fn vectors(self) -> Option<VectorRule> {
        if let Self::Vectors(rule) = self { Some(rule) } else { None }
    }
}

impl Recipe {
    /// The preset called `name` where that begins as one of points does.
    pub(super) fn vectors(name: &str) -> Option<Result<Self, RecipeError>> {
        let rule = match VectorRule::parse(name)? {
            Some(rule) => rule,
            None => return Some(Err(RecipeError::VectorName(name.into()))),
        };
        // Codes are not what these store; no reader of such a recipe asks for their bits.
        let bit_width = BitWidth::new(u32::from(rule.index_bits.min(8))).expect("2 to 8");
        Some(Ok(Self::plain(CodebookRule::Vectors(rule), bit_width, GroupLength::Row)))
    }

    /// Points take nothing that is for codes of single samples.
    pub(super) fn refuse_vectors(&self) -> Result<(), RecipeError> {
        match self.codebook.vectors() {
            Some(rule) => Err(RecipeError::Vectors { name: rule.to_string() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for name in ["vq2x8", "vq4x12", "vq8x8x2", "vq8x2x4p8", "vq4x8p2", "vq4x8p2 outliers 0.001"] {
            assert_eq!(name.parse::<Recipe>().unwrap().to_string(), name);
        }
        for name in
            ["vq2", "vq3x8", "vq2x1", "vq2x13", "vq2x8x5", "vq2x8x0", "vq2x8p9", "vq2x8x", "vq2x8p", "vq2x8x2x2"]
        {
            let refused = name.parse::<Recipe>().unwrap_err();
            assert_eq!(refused, RecipeError::VectorName(name.into()));
        }
        assert_eq!("vq".parse::<Recipe>(), Err(RecipeError::UnknownPreset("vq".into())));
    }

    #[test]
    fn what_is_for_codes_of_samples_is_refused() {
        let recipe = Recipe::preset("vq4x8").unwrap();
        let refused = Err(RecipeError::Vectors { name: "vq4x8".into() });
        assert_eq!(recipe.with_bits(4), refused);
        assert_eq!(recipe.with_group(GroupLength::Samples(64)), refused);
        assert_eq!(recipe.with_scale(crate::scale::ScaleRule::Absmax), refused);
        assert_eq!(recipe.with_double_quant(), refused);
        assert_eq!(recipe.with_switch(4, 0), refused);
        assert!(!recipe.is_plain());
    }
}
