//! The ggml tensor types: id, name, block geometry, and which of them can be decoded.

use candle_core::quantized::GgmlDType;

/// How the weights of a GGUF tensor are stored.
///
/// The names and ids are those of `ggml.h`; removed ids (4, 5, 31–33, 36–38) are unknown.
#[allow(non_camel_case_types, reason = "the field's names, kept letter for letter")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the name is all there is to say; the geometry is in `TABLE`")]
pub enum GgmlType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ2_XXS,
    IQ2_XS,
    IQ3_XXS,
    IQ1_S,
    IQ4_NL,
    IQ3_S,
    IQ2_S,
    IQ4_XS,
    I8,
    I16,
    I32,
    I64,
    F64,
    IQ1_M,
    BF16,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
}

/// What there is to know of one type.
struct Row {
    ggml_type: GgmlType,
    id: u32,
    name: &'static str,
    /// Weights in one block.
    block_len: usize,
    /// Bytes of one block.
    block_byte_len: usize,
    /// candle's decoder; `None` where it has none. IQ4_NL is decoded here.
    ///
    /// Q8_1 has one, but is left out: it never occurs in files, and readers disagree on its size (36 or 40 bytes).
    decoder: Option<GgmlDType>,
}

macro_rules! table {
    ($($ty:ident $id:literal $block_len:literal $byte_len:literal $decoder:expr;)*) => {
        /// One row for each type, ids and sizes as in ggml's `type_traits`.
        const TABLE: &[Row] = &[$(Row {
            ggml_type: GgmlType::$ty,
            id: $id,
            name: stringify!($ty),
            block_len: $block_len,
            block_byte_len: $byte_len,
            decoder: $decoder,
        }),*];
    };
}

table! {
    F32      0   1   4 Some(GgmlDType::F32);
    F16      1   1   2 Some(GgmlDType::F16);
    Q4_0     2  32  18 Some(GgmlDType::Q4_0);
    Q4_1     3  32  20 Some(GgmlDType::Q4_1);
    Q5_0     6  32  22 Some(GgmlDType::Q5_0);
    Q5_1     7  32  24 Some(GgmlDType::Q5_1);
    Q8_0     8  32  34 Some(GgmlDType::Q8_0);
    Q8_1     9  32  36 None;
    Q2_K    10 256  84 Some(GgmlDType::Q2K);
    Q3_K    11 256 110 Some(GgmlDType::Q3K);
    Q4_K    12 256 144 Some(GgmlDType::Q4K);
    Q5_K    13 256 176 Some(GgmlDType::Q5K);
    Q6_K    14 256 210 Some(GgmlDType::Q6K);
    Q8_K    15 256 292 Some(GgmlDType::Q8K);
    IQ2_XXS 16 256  66 None;
    IQ2_XS  17 256  74 None;
    IQ3_XXS 18 256  98 None;
    IQ1_S   19 256  50 None;
    IQ4_NL  20  32  18 None;
    IQ3_S   21 256 110 None;
    IQ2_S   22 256  82 None;
    IQ4_XS  23 256 136 None;
    I8      24   1   1 None;
    I16     25   1   2 None;
    I32     26   1   4 None;
    I64     27   1   8 None;
    F64     28   1   8 None;
    IQ1_M   29 256  56 None;
    BF16    30   1   2 Some(GgmlDType::BF16);
    TQ1_0   34 256  54 None;
    TQ2_0   35 256  66 None;
    MXFP4   39  32  17 None;
    NVFP4   40  64  36 None;
    Q1_0    41 128  18 None;
}

impl GgmlType {
    /// The type with this id in a file; `None` when it is not known.
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.id == id).map(|row| row.ggml_type)
    }

    /// The id written to files.
    pub fn id(self) -> u32 {
        self.row().id
    }

    /// The name as in `ggml.h`, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Weights in one block; a row of a tensor is a whole number of blocks.
    pub fn block_len(self) -> usize {
        self.row().block_len
    }

    /// Bytes of one block.
    pub fn block_byte_len(self) -> usize {
        self.row().block_byte_len
    }

    /// True when [`crate::dequantize`] can turn this type into f32.
    pub fn is_decodable(self) -> bool {
        self == Self::IQ4_NL || self.row().decoder.is_some()
    }

    /// candle's name for the type, where candle decodes it.
    pub(crate) fn decoder(self) -> Option<GgmlDType> {
        self.row().decoder
    }

    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.ggml_type == self).expect("TABLE has a row for each variant")
    }
}

/// Every known type's name, for messages that list what is allowed.
pub(crate) fn known_names() -> String {
    let names: Vec<String> = TABLE.iter().map(|row| format!("{} ({})", row.name, row.id)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_lead_back() {
        for row in TABLE {
            assert_eq!(GgmlType::from_id(row.id), Some(row.ggml_type), "{}", row.name);
            assert_eq!(row.ggml_type.id(), row.id);
        }
    }

    #[test]
    fn geometry_equals_candles() {
        for row in TABLE {
            if let Some(dtype) = row.decoder {
                assert_eq!(
                    (row.block_len, row.block_byte_len),
                    (dtype.block_size(), dtype.type_size()),
                    "{}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn removed_ids_are_unknown() {
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 42, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), None);
        }
    }
}
