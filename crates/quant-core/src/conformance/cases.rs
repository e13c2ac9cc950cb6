//! Inputs that go wrong: lengths beside every power of two in use, samples on every threshold, largest and smallest
//! magnitudes, few distinct values; and the encodings that they meet.

use crate::backend::Encoding;
use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::design::{normal_float::NF4_LEVELS, uniform::integer_levels};
use crate::grouping::{GroupLength, Grouping};
use crate::tensor::{Dtype, Matrix, Samples, flush};
use half::{bf16, f16};
use std::fmt;

/// The number formats.
pub const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// Group lengths: one sample, odd, one AVX-512 register, usual, with a ragged end, and the two open ones.
pub const LENGTHS: [GroupLength; 9] = [
    GroupLength::Samples(64),
    GroupLength::Samples(1),
    GroupLength::Samples(7),
    GroupLength::Samples(16),
    GroupLength::Samples(32),
    GroupLength::Samples(100),
    GroupLength::Samples(256),
    GroupLength::Row,
    GroupLength::Tensor,
];

/// A small deterministic generator (splitmix64, Steele, Lea and Flood 2014).
#[derive(Clone, Copy, Debug)]
pub struct Noise(pub u64);

impl Noise {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// N(0, 1), by Box and Muller (1958).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }
}

/// Bytes without pattern.
pub fn noise_bytes(len: usize) -> Vec<u8> {
    let mut noise = Noise(len as u64);
    (0..len).map(|_| noise.bits() as u8).collect()
}

/// Samples before they are stored in a number format.
#[derive(Clone, Debug)]
pub struct Input {
    name: String,
    rows: usize,
    samples: Vec<f32>,
}

impl Input {
    fn new(name: impl Into<String>, rows: usize, samples: Vec<f32>) -> Self {
        Self { name: name.into(), rows, samples }
    }

    /// The samples in a number format; what does not fit becomes the largest of the format.
    pub fn stored(&self, dtype: Dtype) -> StoredMatrix {
        let input = self.clone();
        let (f16s, bf16s) = match dtype {
            Dtype::F32 => (Vec::new(), Vec::new()),
            Dtype::F16 => {
                let fit = |&x: &f32| if x.is_finite() { x.clamp(-65504.0, 65504.0) } else { x };
                (self.samples.iter().map(|x| f16::from_f32(fit(x))).collect(), Vec::new())
            }
            Dtype::Bf16 => {
                let largest = bf16::MAX.to_f32();
                let fit = |&x: &f32| if x.is_finite() { x.clamp(-largest, largest) } else { x };
                (Vec::new(), self.samples.iter().map(|x| bf16::from_f32(fit(x))).collect())
            }
        };
        StoredMatrix { input, dtype, f16s, bf16s }
    }
}

/// A matrix that owns its samples.
#[derive(Clone, Debug)]
pub struct StoredMatrix {
    input: Input,
    dtype: Dtype,
    f16s: Vec<f16>,
    bf16s: Vec<bf16>,
}

impl StoredMatrix {
    /// All samples.
    pub fn samples(&self) -> Samples<'_> {
        match self.dtype {
            Dtype::F32 => Samples::F32(&self.input.samples),
            Dtype::F16 => Samples::F16(&self.f16s),
            Dtype::Bf16 => Samples::Bf16(&self.bf16s),
        }
    }

    /// The matrix.
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.samples(), self.rows(), self.columns()).expect("rows divide the samples")
    }

    /// The number format.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.input.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.len() / self.rows()
    }

    /// Samples in all; never 0.
    #[expect(clippy::len_without_is_empty, reason = "no input is empty")]
    pub fn len(&self) -> usize {
        self.input.samples.len()
    }

    /// The same matrix with some samples replaced, the first of a place last.
    pub fn with_values(&self, values: Option<[(usize, f32); 2]>) -> Self {
        let mut input = self.input.clone();
        for (index, value) in values.into_iter().flatten().rev() {
            input.samples[index] = value;
        }
        input.stored(self.dtype)
    }
}

impl fmt::Display for StoredMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} × {} {})", self.input.name, self.rows(), self.columns(), self.dtype.name())
    }
}

/// All inputs.
pub fn inputs() -> Vec<Input> {
    let mut noise = Noise(1);
    let mut normal = |len: usize| (0..len).map(|_| noise.normal()).collect::<Vec<f32>>();
    let lengths = [1, 6, 7, 8, 15, 17, 63, 64, 65, 255, 257, 1023, 1025];
    let mut list: Vec<Input> = lengths.map(|len| Input::new(format!("{len} normal"), 1, normal(len))).into();
    list.push(Input::new("ragged rows", 5, normal(5 * 77)));
    list.push(Input::new("even rows", 3, normal(3 * 192)));
    list.push(Input::new("narrow rows", 33, normal(33 * 3)));
    list.push(Input::new("all equal", 2, vec![0.75; 2 * 70]));
    list.push(Input::new("all zero", 2, vec![0.0; 2 * 70]));
    list.push(Input::new("two values", 2, (0..150).map(|i| if i % 3 == 0 { -1.0 } else { 0.5 }).collect()));
    list.push(Input::new("few values", 1, (0..200).map(|i| (i % 5) as f32 - 1.5).collect()));
    list.push(Input::new("one outlier", 2, normal(256).into_iter().chain([1000.0, 0.0]).collect()));
    list.push(Input::new("extremes", 2, extremes()));
    list.push(Input::new("tiny", 2, normal(140).iter().map(|x| x * 4.0 * f32::MIN_POSITIVE).collect()));
    list.push(Input::new("huge", 2, normal(140).iter().map(|x| x * 8e37).collect()));
    list
}

/// Normal samples in rows.
pub fn normal_rows(rows: usize, columns: usize) -> Input {
    let mut noise = Noise(columns as u64);
    Input::new("normal rows", rows, (0..rows * columns).map(|_| noise.normal()).collect())
}

fn extremes() -> Vec<f32> {
    let small = f32::MIN_POSITIVE;
    let list =
        [0.0, 1e-45, 1e-39, small.next_down(), small, small.next_up(), 1e-20, 1e-5, 1.0, 65504.0, 1e30, f32::MAX];
    list.into_iter().flat_map(|x| [x, -x]).cycle().take(140).collect()
}

/// An encoding but for the matrix it is for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bits of a code.
    pub bits: u32,
    /// Levels of a codebook.
    pub level_count: usize,
    /// One codebook per row.
    pub per_row: bool,
    /// Which samples share a scale; none for no scales.
    pub length: Option<GroupLength>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { bits: 4, level_count: 16, per_row: false, length: Some(GroupLength::Samples(64)) }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bits, level_count, per_row, length } = self;
        write!(f, "{bits} bits, {level_count} levels, per row {per_row}, {length:?}")
    }
}

/// All plans: every bit width, codebooks that are not full, every group length.
pub fn plans() -> Vec<Plan> {
    let widths = (1..=8).flat_map(|bits| {
        let full = Plan { bits, level_count: 1 << bits, ..Plan::default() };
        [full, Plan { per_row: true, length: None, ..full }]
    });
    let counts = [(1, 1), (2, 3), (3, 5), (4, 9), (4, 2), (5, 17), (6, 33), (7, 65), (8, 3), (8, 200)];
    let short = counts.map(|(bits, level_count)| Plan { bits, level_count, ..Plan::default() });
    let lengths = LENGTHS.map(|length| Plan { length: Some(length), ..Plan::default() });
    let wide = [GroupLength::Samples(7), GroupLength::Row].map(|length| Plan {
        bits: 8,
        level_count: 256,
        length: Some(length),
        ..Plan::default()
    });
    let own = [None, Some(GroupLength::Samples(32))].map(|length| Plan { per_row: true, length, ..Plan::default() });
    widths.chain(short).chain(lengths).chain(wide).chain(own).collect()
}

impl Plan {
    /// Levels: NF4, integers, or random ones; a repeated level and a short codebook among those of rows.
    pub fn codebooks(&self, matrix: &StoredMatrix) -> Codebooks {
        let count = if self.per_row { matrix.rows() } else { 1 };
        let codebook = |row: usize| match (self.level_count, self.per_row) {
            (16, false) => NF4_LEVELS.to_vec(),
            (256, false) => integer_levels(8),
            _ => random_levels(self.level_count, row),
        };
        Codebooks::from_levels(self.level_count, (0..count).map(codebook))
    }

    /// The groups of the scales, where there are any.
    pub fn grouping(&self, matrix: &StoredMatrix) -> Option<Grouping> {
        self.length.map(|length| Grouping::new(matrix.rows(), matrix.columns(), length))
    }

    /// Scales of either sign, zeros, smallest and large ones among them.
    pub fn scales(&self, matrix: &StoredMatrix) -> Option<Vec<f32>> {
        let grouping = self.grouping(matrix)?;
        let mut noise = Noise(grouping.group_count() as u64);
        let scale = |group: usize| match group % 11 {
            3 => 0.0,
            5 => f32::MIN_POSITIVE,
            7 => -1e30,
            9 => -0.0,
            _ => flush(noise.normal()),
        };
        Some((0..grouping.group_count()).map(scale).collect())
    }

    /// The encoding of a matrix.
    pub fn encoding<'a>(
        &self,
        matrix: &StoredMatrix,
        codebooks: &'a Codebooks,
        scales: Option<&'a [f32]>,
    ) -> Encoding<'a> {
        let length = self.length.unwrap_or(GroupLength::Tensor);
        let grouping = Grouping::new(matrix.rows(), matrix.columns(), length);
        Encoding { bit_width: BitWidth::new(self.bits).expect("1 to 8 bits"), grouping, scales, codebooks }
    }

    /// One row per scale with every scaled threshold and its neighbours, and the scales.
    pub fn on_thresholds(&self) -> (Input, Vec<f32>) {
        let scales = vec![1.0, -1.0, 0.37, -0.0421, 3.0e-38, 1e38, 0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE];
        let codebooks = self.codebooks(&Input::new("", 1, vec![0.0]).stored(Dtype::F32));
        let finite = |&&t: &&f32| t.is_finite();
        let row = |&scale: &f32| {
            let scaled = move |&t: &f32| flush((t * scale).clamp(f32::MIN, f32::MAX));
            let beside = |t: f32| [t, t.next_up(), t.next_down()].map(|x| x.clamp(f32::MIN, f32::MAX));
            codebooks.thresholds(0).iter().filter(finite).map(scaled).flat_map(beside).chain([0.0]).collect::<Vec<_>>()
        };
        (Input::new("on thresholds", scales.len(), scales.iter().flat_map(row).collect()), scales)
    }
}

fn random_levels(count: usize, row: usize) -> Vec<f32> {
    let mut noise = Noise(1000 * count as u64 + row as u64);
    let mut levels: Vec<f32> = (0..count).map(|_| noise.normal()).collect();
    levels.sort_by(f32::total_cmp);
    match row % 3 {
        1 if count > 2 => levels[count / 2] = levels[count / 2 - 1],
        2 if count > 1 => levels.truncate(count / 2),
        _ => {}
    }
    levels
}

/// Searches: levels, whether negative scales are tried, group length.
pub fn searches() -> Vec<(Vec<f32>, bool, GroupLength)> {
    let nf4 = NF4_LEVELS.to_vec();
    vec![
        (nf4.clone(), true, GroupLength::Samples(64)),
        (nf4.clone(), false, GroupLength::Samples(32)),
        (nf4.clone(), true, GroupLength::Samples(7)),
        (nf4.clone(), true, GroupLength::Samples(100)),
        (nf4.clone(), true, GroupLength::Samples(256)),
        (nf4.clone(), true, GroupLength::Row),
        (nf4, false, GroupLength::Tensor),
        (integer_levels(4), true, GroupLength::Samples(64)),
        (integer_levels(3), true, GroupLength::Samples(64)),
        (integer_levels(2), true, GroupLength::Samples(16)),
        (integer_levels(5), true, GroupLength::Samples(64)),
        (random_levels(16, 0), true, GroupLength::Samples(64)),
        (random_levels(15, 0), false, GroupLength::Samples(64)),
        (vec![1.0], true, GroupLength::Samples(64)),
        (vec![0.9, 1.0], true, GroupLength::Samples(64)),
        (vec![-1.0, 1.0], false, GroupLength::Samples(64)),
        (vec![-3.0, 0.0], true, GroupLength::Samples(128)),
        (integer_levels(8), false, GroupLength::Samples(64)),
    ]
}
