//! The versioned block of metadata in a native file: everything needed to decode it.

use std::collections::BTreeMap;

use quant_core::codes::BitWidth;
use quant_core::grouping::GroupLength;
use quant_core::recipe::{Switch, VectorRule};
use quant_core::scale_storage::ScaleStorage;
use serde::{Deserialize, Serialize};

use super::Subject;

/// The key in the safetensors `__metadata__`.
pub const KEY: &str = "quant.manifest";
/// The versions that are read; the least that says all is written.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;

/// What a native file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// One of [`VERSIONS`]: 2 where a tensor has a switch or outliers, which readers of 1 do not know; 3 where one has
    /// vectors.
    pub version: u32,
    /// Program and version that wrote the file.
    pub generator: String,
    /// The recipe, in words.
    pub recipe: String,
    /// The quantized tensors by name; all others are stored as they were.
    pub tensors: BTreeMap<String, QuantizedTensor>,
}

/// How one tensor is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizedTensor {
    /// Its shape before quantization.
    pub shape: Vec<usize>,
    /// Its dtype before quantization: `F32`, `F16`, `BF16`, or a GGUF type that was read as F32.
    pub dtype: String,
    /// The dtype that it decodes to unless another is asked for.
    pub decoded_dtype: String,
    /// The recipe, in words.
    pub method: String,
    /// Bits of a code, or of an index of a codevector.
    pub bit_width: u32,
    /// Matrices in the tensor: 1, or the number of experts.
    pub matrix_count: usize,
    /// Rows of each matrix as quantized.
    pub rows: usize,
    /// Columns of each matrix as quantized.
    pub columns: usize,
    /// Codebooks of each matrix: 1, one per row, the shapes that groups choose among, or the stages of all parts.
    pub codebook_count: usize,
    /// Whether the stored tensor is the transpose of the matrix.
    pub transposed: bool,
    /// Which samples share a scale.
    pub group: Group,
    /// How scales are stored.
    pub scales: Scales,
    /// What every group chooses among, where it chooses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub switch: Option<StoredSwitch>,
    /// How points are coded, where points are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vectors: Option<StoredVectors>,
    /// Samples of each matrix that are stored exact.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub outlier_count: usize,
    /// How codes are entropy coded; packed as they are when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entropy: Option<Entropy>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What every group chooses among, as a file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSwitch {
    /// Bits of steps.
    pub step_bits: u8,
    /// Bits of shapes.
    pub shape_bits: u8,
}

impl StoredSwitch {
    /// The same in core, when a selector can store it.
    pub fn checked(self) -> Option<Switch> {
        let Self { step_bits, shape_bits } = self;
        (1..=8).contains(&step_bits.checked_add(shape_bits)?).then_some(Switch { step_bits, shape_bits })
    }
}

/// How points are coded, as a file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVectors {
    /// Samples of a point.
    pub dimension: u32,
    /// Codevectors that add up.
    pub stages: u32,
    /// Codebooks that take turns along a row.
    pub parts: u32,
}

impl StoredVectors {
    /// The same in core with indices of `index_bits`, when there is such a codebook.
    pub fn checked(self, index_bits: u32) -> Option<VectorRule> {
        VectorRule::new(self.dimension, index_bits, self.stages, self.parts)
    }

    fn of(rule: VectorRule) -> Self {
        let [dimension, stages, parts] = [rule.dimension(), rule.stages(), rule.parts()].map(|n| n as u32);
        Self { dimension, stages, parts }
    }
}

/// How the codes of a tensor are entropy coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entropy {
    /// Rows whose codes make a chunk; the last chunk of a matrix may have fewer.
    pub chunk_rows: usize,
    /// 32-bit words of all chunks.
    pub word_count: usize,
    /// Whether each matrix of a fused tensor has frequencies of its own; all share one table otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_frequencies: bool,
}

/// Which samples share a scale, as a file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// This many samples of a row.
    Samples(usize),
    /// A row.
    Row,
    /// A matrix.
    Tensor,
}

/// How scales are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scales {
    /// There are none.
    None,
    /// One f32 per group.
    F32,
    /// One f16 per group.
    F16,
    /// One E4M3 number per group, and one f32.
    E4m3,
    /// 8-bit codes, nested scales and an offset.
    Double,
    /// One bf16 per row; groups choose a step, or points are coded.
    Rows,
}

impl Manifest {
    /// A manifest with no tensor yet.
    pub fn new(recipe: &impl std::fmt::Display) -> Self {
        let generator = concat!("quant ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { version: *VERSIONS.start(), generator, recipe: recipe.to_string(), tensors: BTreeMap::new() }
    }

    /// Adds a tensor.
    pub fn insert(&mut self, name: String, tensor: QuantizedTensor) {
        if tensor.switch.is_some() || tensor.outlier_count > 0 {
            self.version = self.version.max(2);
        }
        if tensor.vectors.is_some() || matches!(tensor.scales, Scales::F16 | Scales::E4m3) {
            self.version = 3;
        }
        self.tensors.insert(name, tensor);
    }
}

impl QuantizedTensor {
    /// The description of a tensor about to be written.
    pub fn of(subject: &Subject<'_>) -> Self {
        let (m, recipe) = (&subject.matrices, subject.recipe);
        let decoded = subject.entry.dtype.float().expect("only float tensors are quantized");
        let vectors = recipe.codebook.vectors();
        let codebook_count = match (recipe.switch, vectors) {
            (_, Some(rule)) => rule.parts() * rule.stages(),
            (Some(switch), None) => switch.shape_count(),
            (None, None) => recipe.codebook_count(m.rows),
        };
        Self {
            shape: subject.entry.shape.clone(),
            dtype: subject.entry.dtype.name(),
            decoded_dtype: decoded.name().to_owned(),
            method: recipe.to_string(),
            bit_width: vectors.map_or(recipe.bit_width.bits(), VectorRule::index_bits) as u32,
            matrix_count: m.count,
            rows: m.rows,
            columns: m.columns,
            codebook_count,
            transposed: m.transposed,
            group: Group::from(recipe.group),
            switch: recipe.switch.map(|Switch { step_bits, shape_bits }| StoredSwitch { step_bits, shape_bits }),
            vectors: vectors.map(StoredVectors::of),
            outlier_count: recipe.outliers.map_or(0, |rule| rule.count(m.rows * m.columns)),
            scales: match (recipe.scale, recipe.scale_storage) {
                _ if recipe.switch.is_some() || vectors.is_some() => Scales::Rows,
                (None, _) => Scales::None,
                (Some(_), ScaleStorage::F32) => Scales::F32,
                (Some(_), ScaleStorage::F16) => Scales::F16,
                (Some(_), ScaleStorage::E4m3) => Scales::E4m3,
                (Some(_), ScaleStorage::Double) => Scales::Double,
            },
            entropy: None,
        }
    }

    /// Which codebooks of points, checked; `None` where there are none or they contradict themselves.
    pub fn vector_rule(&self) -> Option<VectorRule> {
        self.vectors?.checked(self.bit_width)
    }

    /// Bits of a code, checked.
    pub fn bit_width(&self) -> Option<BitWidth> {
        BitWidth::new(self.bit_width).ok()
    }
}

impl From<GroupLength> for Group {
    fn from(length: GroupLength) -> Self {
        match length {
            GroupLength::Samples(n) => Self::Samples(n),
            GroupLength::Row => Self::Row,
            GroupLength::Tensor => Self::Tensor,
        }
    }
}

impl From<Group> for GroupLength {
    fn from(group: Group) -> Self {
        match group {
            Group::Samples(n) => Self::Samples(n),
            Group::Row => Self::Row,
            Group::Tensor => Self::Tensor,
        }
    }
}
