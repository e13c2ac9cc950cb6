//! Why was a recipe refused?

/// Why a recipe was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// No such preset.
    #[error(
        "unknown preset \"{0}\"; presets are nf4, nf3, sf4, bnf4, fp4, int4, lloyd4, lloyd3, switched4, switched3, kmeans4-row, kmeans3-row, any4, easyquant4, squeezellm4, each with 2 to 8 bits, ecsq4.25 and the like with 1 to 6, vq2x8, vq8x8x2, vq4x8p2 and the like, and iq4_nl, q4_0, q8_0"
    )]
    UnknownPreset(String),
    /// A codebook of points that there is not.
    #[error(
        "unknown preset \"{0}\"; codebooks of points are vqDxB, vqDxBxS or either with pP after it: D 2, 4 or 8 samples a point, B 2 to 12 bits an index, S 1 to 4 codevectors that add up, P 1 to 8 codebooks that take turns"
    )]
    VectorName(String),
    /// What is for codes of single samples.
    #[error(
        "{name} codes points and has a scale for each row; it takes no other bits, groups, scales, steps or shapes"
    )]
    Vectors {
        /// The recipe's name.
        name: String,
    },
    /// Fewer than 2 or more than 8 bits.
    #[error("{0} bits per code; the allowed range is 2 to 8")]
    BitsOutOfRange(u32),
    /// An entropy that is too low or too high.
    #[error("an entropy of {0} bits per code; the allowed range is 1 to 6")]
    RateOutOfRange(String),
    /// Groups where there are none.
    #[error("{name} has one codebook and no scales; its only group is the tensor")]
    NoGroups {
        /// The recipe's name.
        name: String,
    },
    /// A group whose length says nothing where levels depend on it.
    #[error("{name} has levels for a group length, from 2 to {most} samples; use a group such as 64")]
    NeedsLength {
        /// The recipe's name.
        name: String,
        /// The longest group.
        most: usize,
    },
    /// A codebook that exists at one width only.
    #[error("{name} has 4 bits and no others")]
    BitsFixed {
        /// The recipe's name.
        name: String,
    },
    /// f16 scales that would be quantized once more.
    #[error("{name} is a block of llama.cpp with an f16 scale; it has no room for anything else")]
    HalfScales {
        /// The recipe's name.
        name: String,
    },
    /// A switch that no selector can store.
    #[error("{step_bits} step bits and {shape_bits} shape bits; the allowed range of their sum is 1 to 8")]
    SwitchBits {
        /// Bits of steps asked for.
        step_bits: u32,
        /// Bits of shapes asked for.
        shape_bits: u32,
    },
    /// A switch where it has no meaning.
    #[error("{name}: {why}")]
    NoSwitch {
        /// The recipe's name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A fraction of outliers that is none.
    #[error("outliers: a fraction of {0}; the allowed range is 0.000001 to 0.1")]
    OutlierFraction(String),
    /// A word that no recipe has, or one that lacks what belongs to it.
    #[error("recipe \"{text}\": \"{word}\" is not understood here")]
    Word {
        /// The recipe as written.
        text: String,
        /// The word.
        word: String,
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
    /// No scale rule where levels are not in the unit of the samples.
    #[error("{name} has levels that mean nothing without scales; choose a scale rule: absmax, search or signed-search")]
    NeedsScales {
        /// The recipe's name.
        name: String,
    },
}
