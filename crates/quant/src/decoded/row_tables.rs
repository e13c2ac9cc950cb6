//! How are the layouts of SqueezeLLM and any-precision found in a checkpoint, and decoded? A table of levels per output
//! channel, in any order.

use half::f16;
use quant_core::backend::SamplesMut;
use quant_core::codes::{BitWidth, unpack_row};
use quant_core::tensor::Dtype;

use super::find::Finder;
use super::{DecodedCheckpoint, DecodedTensor, Form, floats, refused};
use crate::checkpoint::{AlignedBytes, TensorEntry};
use crate::error::Error;
use crate::outputs::{any_precision, squeezellm};
use crate::transpose::transposed;

/// The stored tensors of a layer.
#[derive(Clone, Debug)]
pub(super) struct RowTables {
    rows: usize,
    columns: usize,
    bits: usize,
    pub(super) codes: usize,
    table: usize,
    /// Whether codes are planes, and levels f16: any-precision's.
    is_planes: bool,
    /// Row starts, columns and values of the outliers.
    sparse: Option<[usize; 3]>,
}

impl Finder<'_> {
    /// The layers in either layout: they have codes under one name, and tables under different ones.
    pub(super) fn row_tables(&mut self) -> Result<Vec<DecodedTensor>, Error> {
        let all = self.checkpoint.tensors().iter().enumerate();
        let ending = format!(".{}", squeezellm::CODES);
        let layers = all.filter_map(|(i, t)| t.name.strip_suffix(&ending).map(|layer| (i, layer.to_owned())));
        let layers: Vec<(usize, String)> = layers.collect();
        let mut found = Vec::new();
        for (codes, layer) in layers {
            let planes = *any_precision::BITS.start()..=*any_precision::BITS.end();
            let tables: Vec<usize> = planes.filter(|bits| self.has(&layer, &any_precision_table(*bits))).collect();
            if self.has(&layer, squeezellm::TABLE) {
                found.push(self.squeezellm(codes, &layer)?);
            } else if !tables.is_empty() {
                found.push(self.any_precision(codes, &layer, &tables)?);
            }
        }
        Ok(found)
    }

    fn squeezellm(&mut self, codes: usize, layer: &str) -> Result<DecodedTensor, Error> {
        let table = self.part_of(layer, squeezellm::TABLE)?;
        let entries = self.checkpoint.tensors();
        let [words, rows] = self.shape(codes, "I32")?;
        let [table_rows, levels] = self.shape(table, "F32")?;
        let refuse = |at: usize, why: String| Err(refused(self.checkpoint, entries[at].shard, &entries[at].name, &why));
        let bits = levels.trailing_zeros() as usize;
        if table_rows != rows || !levels.is_power_of_two() || !squeezellm::BITS.contains(&bits) {
            return refuse(table, format!("shape [{table_rows}, {levels}]; [{rows}, 8] or [{rows}, 16] expected"));
        }
        if words == 0 || words % bits != 0 {
            return refuse(codes, format!("{words} rows of words; a multiple of {bits} expected for {bits} bits"));
        }
        if self.has(layer, "full_rows") || self.has(layer, "full_row_indices") {
            return refuse(
                codes,
                "has full rows beside the outliers (SqueezeLLM's hybrid kernel), which are not read".into(),
            );
        }
        let mut pieces = vec![codes, table];
        let is_sparse = self.has(layer, squeezellm::VALUES);
        let sparse = if is_sparse { Some(self.sparse(layer, rows)?) } else { None };
        pieces.extend(sparse.iter().flatten());
        pieces.extend(self.optional(layer, squeezellm::START_ROWS));
        let columns = (words / bits).saturating_mul(32);
        let form = RowTables { rows, columns, bits, codes, table, is_planes: false, sparse };
        let dtype = config_dtype(self.checkpoint.config()).unwrap_or(Dtype::F32);
        let outliers = if is_sparse { ", outliers" } else { "" };
        self.decoded(layer, form, dtype, format!("SqueezeLLM {bits} bits{outliers}"), &pieces)
    }

    /// Row starts, columns and values.
    fn sparse(&mut self, layer: &str, rows: usize) -> Result<[usize; 3], Error> {
        let names = [squeezellm::ROWS, squeezellm::COLUMNS, squeezellm::VALUES];
        let [starts, columns, values] = names.map(|name| self.part_of(layer, name));
        let (starts, columns, values) = (starts?, columns?, values?);
        let [count] = self.shape(values, "F32")?;
        for (index, wanted) in [(starts, rows + 1), (columns, count)] {
            let [actual] = self.shape(index, "I32")?;
            if actual != wanted {
                let entry = &self.checkpoint.tensors()[index];
                let why = format!("shape [{actual}]; [{wanted}] expected");
                return Err(refused(self.checkpoint, entry.shard, &entry.name, &why));
            }
        }
        Ok([starts, columns, values])
    }

    fn any_precision(&mut self, codes: usize, layer: &str, tables: &[usize]) -> Result<DecodedTensor, Error> {
        let [planes, rows, words] = self.shape(codes, "I32")?;
        let refuse = |name: &str, why: &str| {
            let entry = &self.checkpoint.tensors()[codes];
            Err(refused(self.checkpoint, entry.shard, name, why))
        };
        if !tables.contains(&planes) || words == 0 {
            let (name, widths) = (&self.checkpoint.tensors()[codes].name, tables);
            return refuse(name, &format!("{planes} planes of {words} words; its tables are for {widths:?} bits"));
        }
        let mut pieces = vec![codes];
        for bits in tables {
            let index = self.part_of(layer, &any_precision_table(*bits))?;
            let shape: [usize; 2] = self.shape(index, "F16")?;
            if shape != [rows, 1 << bits] {
                let why = format!("shape {shape:?}; [{rows}, {}] expected", 1 << bits);
                return refuse(&self.checkpoint.tensors()[index].name, &why);
            }
            pieces.push(index);
        }
        let table = self.part_of(layer, &any_precision_table(planes))?;
        let Some(columns) = words.checked_mul(32) else {
            return refuse(&self.checkpoint.tensors()[codes].name, "its columns are beyond what can be addressed");
        };
        let form = RowTables { rows, columns, bits: planes, codes, table, is_planes: true, sparse: None };
        self.decoded(layer, form, Dtype::F16, format!("any-precision {planes} bits"), &pieces)
    }

    fn decoded(
        &mut self,
        layer: &str,
        form: RowTables,
        dtype: Dtype,
        method: String,
        pieces: &[usize],
    ) -> Result<DecodedTensor, Error> {
        let (name, shard) = (format!("{layer}.weight"), self.checkpoint.tensors()[form.codes].shard);
        if self.has(layer, "weight") {
            return Err(refused(self.checkpoint, shard, &name, "is there both quantized and dense"));
        }
        if form.rows.checked_mul(form.columns).and_then(|n| n.checked_mul(8)).is_none_or(|n| n == 0) {
            let why = format!("{} x {} weights", form.rows, form.columns);
            return Err(refused(self.checkpoint, shard, &name, &why));
        }
        self.taken.insert(form.codes);
        Ok(DecodedTensor {
            shape: vec![form.rows, form.columns],
            dtype: dtype.name().into(),
            method,
            stored_len_bytes: self.stored_len(pieces),
            decoded_dtype: Some(dtype),
            shard,
            name,
            form: Form::RowTables(Box::new(form)),
        })
    }

    pub(super) fn has(&self, layer: &str, part: &str) -> bool {
        self.by_name.contains_key(format!("{layer}.{part}").as_str())
    }

    fn optional(&mut self, layer: &str, part: &str) -> Option<usize> {
        self.take(&format!("{layer}.{part}"))
    }

    pub(super) fn part_of(&mut self, layer: &str, part: &str) -> Result<usize, Error> {
        let name = format!("{layer}.{part}");
        let path = self.checkpoint.path().display();
        self.take(&name).ok_or_else(|| Error::refused(format!("{path}: tensor \"{name}\" is missing")))
    }

    /// The shape of a stored tensor, of this dtype and so many axes.
    pub(super) fn shape<const AXES: usize>(&self, index: usize, dtype: &str) -> Result<[usize; AXES], Error> {
        let entry: &TensorEntry = &self.checkpoint.tensors()[index];
        let refuse = |why: String| refused(self.checkpoint, entry.shard, &entry.name, &why);
        if entry.dtype.name() != dtype {
            return Err(refuse(format!("dtype {}; {dtype} expected", entry.dtype.name())));
        }
        let shape = entry.shape.as_slice().try_into();
        shape.map_err(|_| refuse(format!("shape {:?}; {AXES} axes expected", entry.shape)))
    }
}

fn any_precision_table(bits: usize) -> String {
    format!("{}{bits}", any_precision::TABLE)
}

/// What the configuration says that weights are.
pub(super) fn config_dtype(config: Option<&serde_json::Value>) -> Option<Dtype> {
    let config = config?;
    match ["dtype", "torch_dtype"].iter().find_map(|key| config[*key].as_str())? {
        "float16" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::Bf16),
        _ => None,
    }
}

/// The weights of a layer: the level that each code names, and outliers added to it in f32, as the kernels do.
pub(super) fn read(
    checkpoint: &DecodedCheckpoint,
    tensor: &DecodedTensor,
    form: &RowTables,
    dtype: Dtype,
) -> Result<AlignedBytes, Error> {
    let stored = &checkpoint.checkpoint;
    let table = stored.read_raw(form.table)?;
    let levels: Vec<f32> = match form.is_planes {
        true => table.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        false => floats(&table),
    };
    if let Some(index) = levels.iter().position(|y| !y.is_finite()) {
        return Err(checkpoint.refused(tensor, &format!("level {index} of its table is not finite")));
    }
    let (rows, columns, bits) = (form.rows, form.columns, form.bits);
    let words = stored.read_raw(form.codes)?;
    let outliers = form.sparse.map(|parts| sparse(checkpoint, tensor, form, parts)).transpose()?;
    let mut bytes = AlignedBytes::zeroed(rows * columns * dtype.byte_len());
    let mut samples = SamplesMut::from_bytes(&mut bytes, dtype).expect("the buffer is aligned");
    let (mut codes, mut weights) = (vec![0; columns], vec![0.0f32; columns]);
    let packed = if form.is_planes { None } else { Some(transposed(&words, columns / 32 * bits, rows, 4)) };
    for row in 0..rows {
        match &packed {
            None => any_precision::codes_of_row(bytemuck::cast_slice(&words), rows, row, bits, &mut codes),
            Some(packed) => {
                let len = columns / 8 * bits;
                let width = BitWidth::new(bits as u32).expect("3 or 4");
                unpack_row(&packed[row * len..][..len], width, &mut codes);
            }
        }
        let levels = &levels[row << bits..][..1 << bits];
        weights.iter_mut().zip(&codes).for_each(|(weight, &code)| *weight = levels[usize::from(code)]);
        if let Some(outliers) = &outliers {
            for at in outliers.starts[row]..outliers.starts[row + 1] {
                weights[outliers.columns[at]] += outliers.values[at];
            }
        }
        weights.iter().enumerate().for_each(|(i, &weight)| samples.set(row * columns + i, weight));
    }
    Ok(bytes)
}

/// Outliers by row.
struct Sparse {
    starts: Vec<usize>,
    columns: Vec<usize>,
    values: Vec<f32>,
}

/// The outliers, checked.
fn sparse(
    checkpoint: &DecodedCheckpoint,
    tensor: &DecodedTensor,
    form: &RowTables,
    [starts, columns, values]: [usize; 3],
) -> Result<Sparse, Error> {
    let stored = &checkpoint.checkpoint;
    let numbers = |index: usize| -> Result<Vec<usize>, Error> {
        let bytes = stored.read_raw(index)?;
        // A negative number becomes one that no check below lets pass.
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) as usize).collect())
    };
    let (starts, columns, values) = (numbers(starts)?, numbers(columns)?, floats(&stored.read_raw(values)?));
    if !starts.is_sorted() || (starts.first(), starts.last()) != (Some(&0), Some(&values.len())) {
        let why = "the row starts of its outliers do not ascend from 0 to their number";
        return Err(checkpoint.refused(tensor, why));
    }
    if let Some(index) = columns.iter().position(|&column| column >= form.columns) {
        let why = format!("outlier {index} is in column {}; it has {}", columns[index] as i32, form.columns);
        return Err(checkpoint.refused(tensor, &why));
    }
    match values.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(checkpoint.refused(tensor, &format!("outlier {index} is not finite"))),
        None => Ok(Sparse { starts, columns, values }),
    }
}
