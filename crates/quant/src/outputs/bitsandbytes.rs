//! Pre-quantized NF4 and FP4 as transformers and bitsandbytes load them.
//!
//! For a linear layer's `P.weight`: the codes, the first in the *high* nibble, U8 `[n/2, 1]`; `P.weight.absmax`;
//! `P.weight.quant_map`, the library's own 16 levels (it decodes with its built-in ones whatever is stored); nested
//! scales where double-quantized; and `P.weight.quant_state.bitsandbytes__nf4`, JSON as bytes. The scale may be
//! negative: the library multiplies by what it finds.

use quant_core::design::{float_format, normal_float};
use quant_core::double_quant::{NESTED_LENGTH, dynamic_levels};
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::quantize::Quantized;
use quant_core::recipe::{CodebookRule, Recipe};
use quant_core::scale_storage::{ScaleStorage, StoredScales};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::native::f32_bytes;
use super::{Piece, Subject};
use crate::error::Error;
use crate::plan::Matrices;

/// Block lengths that bitsandbytes 0.50 accepts.
pub const BLOCK_LENGTHS: [usize; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];

/// Heads that may be tied to the embedding, and so have no tensor that tells they are dense.
pub const TIED_HEADS: [&str; 3] = ["lm_head", "cls.predictions.decoder", "embed_out"];

/// The `__metadata__` key that lists tensors whose source holds the transpose, as GPT-2's does.
pub const TRANSPOSED_KEY: &str = "quant.transposed";

/// Room for the quant state's JSON beyond its fixed text: the offset is known only after the header is laid out.
const OFFSET_ROOM: usize = 32;

pub(super) fn check_recipe(recipe: &Recipe) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::refused(format!("--to bitsandbytes holds 4-bit nf4 and fp4 only: {why}")));
    if !matches!(recipe.codebook, CodebookRule::NormalFloat | CodebookRule::Float) || recipe.bit_width.bits() != 4 {
        return refuse(&format!("{} was asked for", recipe.family_name()));
    }
    if !recipe.is_plain() {
        return refuse(&format!("it has no room for steps or outliers; {recipe} was asked for"));
    }
    if !matches!(recipe.scale_storage, ScaleStorage::F32 | ScaleStorage::Double) {
        return refuse(&format!("its scales are f32 or quantized twice; {recipe} was asked for"));
    }
    match block_length(recipe) {
        Some(n) if BLOCK_LENGTHS.contains(&n) => Ok(()),
        _ => refuse("its blocks have 32, 64, 128, 256, 512, 1024, 2048 or 4096 samples; choose one with --group"),
    }
}

pub(super) fn reason_against(name: &str, matrices: &Matrices, recipe: &Recipe) -> Option<String> {
    let block = block_length(recipe).expect("the recipe was checked");
    if matrices.count > 1 {
        Some("bitsandbytes cannot hold fused expert tensors".into())
    } else if is_numbered_expert(name) {
        Some("transformers fuses experts when it loads them, and bitsandbytes cannot hold fused ones".into())
    } else if is_never_linear(name) {
        Some("transformers does not load embeddings, norms, heads, routers and T5's wo as 4-bit layers".into())
    } else if !name.ends_with(".weight") {
        Some("bitsandbytes holds linear layers only, whose names end in .weight".into())
    } else if !matrices.columns.is_multiple_of(block) {
        // Blocks are cut from the flat tensor, and the AVX-512 decoder of the library is wrong when they straddle rows.
        Some(format!("{} input channels are not a multiple of the block of {block}", matrices.columns))
    } else {
        None
    }
}

/// `….experts.3.…`
fn is_numbered_expert(name: &str) -> bool {
    let after = name.split(".experts.").nth(1).unwrap_or("");
    after.starts_with(|c: char| c.is_ascii_digit())
}

/// Tensors that a loader never makes 4-bit, whatever the caller's `--skip` says.
fn is_never_linear(name: &str) -> bool {
    let has = ["embed", "router", "wte.", "wpe.", "norm", "lm_head", ".ln_"].iter().any(|part| name.contains(part));
    has || ["shared.weight", ".wo.weight", ".gate.weight"].iter().any(|end| name.ends_with(end))
}

fn block_length(recipe: &Recipe) -> Option<usize> {
    match recipe.group {
        GroupLength::Samples(n) => Some(n),
        GroupLength::Row | GroupLength::Tensor => None,
    }
}

/// `nf4` or `fp4`.
pub fn quant_type(recipe: &Recipe) -> &'static str {
    if recipe.codebook == CodebookRule::NormalFloat { "nf4" } else { "fp4" }
}

/// The 16 levels in the library's code order.
pub fn quant_map(quant_type: &str) -> [f32; 16] {
    if quant_type == "nf4" { normal_float::NF4_LEVELS } else { float_format::BITSANDBYTES_FP4_CODE_ORDER }
}

/// The library's code of each of ours: identical for NF4, unsorted for FP4.
fn code_map(levels: &[f32], quant_type: &str) -> [u8; 16] {
    let map = quant_map(quant_type);
    let code = |i: usize| map.iter().position(|&level| level == levels[i]).expect("the built-in levels") as u8;
    std::array::from_fn(code)
}

pub(super) fn pieces(subject: &Subject<'_>) -> Vec<Piece> {
    let (m, recipe, name) = (&subject.matrices, subject.recipe, &subject.entry.name);
    let piece = |suffix: &str, dtype, shape| Piece::new(format!("{name}{suffix}"), dtype, shape);
    let groups = Grouping::new(m.rows, m.columns, recipe.group).group_count();
    let scale_dtype = if recipe.scale_storage == ScaleStorage::Double { Dtype::U8 } else { Dtype::F32 };
    let mut pieces = vec![
        piece("", Dtype::U8, vec![m.rows * m.columns / 2, 1]),
        piece(".absmax", scale_dtype, vec![groups]),
        piece(".quant_map", Dtype::F32, vec![16]),
    ];
    if recipe.scale_storage == ScaleStorage::Double {
        pieces.push(piece(".nested_absmax", Dtype::F32, vec![groups.div_ceil(NESTED_LENGTH)]));
        pieces.push(piece(".nested_quant_map", Dtype::F32, vec![256]));
    }
    let state = format!(".quant_state.bitsandbytes__{}", quant_type(recipe));
    pieces.push(piece(&state, Dtype::U8, vec![state_len(subject)]));
    pieces
}

pub(super) fn bytes(subject: &Subject<'_>, quantized: &[Quantized]) -> Vec<Vec<u8>> {
    let [matrix] = quantized else { panic!("fused tensors were refused") };
    let quant_type = quant_type(subject.recipe);
    let map = code_map(matrix.codebooks.levels(0), quant_type);
    let mut bytes = vec![high_nibble_first(&matrix.packed, &map)];
    let twice = match &matrix.stored_scales {
        Some(StoredScales::Double(twice)) => Some(twice),
        _ => None,
    };
    match twice {
        None => bytes.push(f32_bytes(matrix.scales.as_deref().expect("fixed codebooks have scales"))),
        Some(twice) => bytes.push(twice.codes.clone()),
    }
    bytes.push(f32_bytes(&quant_map(quant_type)));
    if let Some(twice) = twice {
        bytes.push(f32_bytes(&twice.nested_scales));
        bytes.push(f32_bytes(&dynamic_levels()));
    }
    let offset = twice.map(|twice| twice.offset);
    let mut state = quant_state(subject, offset).to_string();
    // Trailing spaces are white space to every JSON parser.
    state.extend(std::iter::repeat_n(' ', state_len(subject) - state.len()));
    bytes.push(state.into_bytes());
    bytes
}

fn high_nibble_first(packed: &[u8], map: &[u8; 16]) -> Vec<u8> {
    packed.iter().map(|byte| map[usize::from(byte & 15)] << 4 | map[usize::from(byte >> 4)]).collect()
}

fn state_len(subject: &Subject<'_>) -> usize {
    quant_state(subject, (subject.recipe.scale_storage == ScaleStorage::Double).then_some(0.0)).to_string().len()
        + OFFSET_ROOM
}

fn quant_state(subject: &Subject<'_>, offset: Option<f32>) -> Value {
    let dtype = match subject.entry.dtype.float() {
        Some(quant_core::tensor::Dtype::F16) => "float16",
        Some(quant_core::tensor::Dtype::Bf16) => "bfloat16",
        _ => "float32",
    };
    let mut state = json!({
        "quant_type": quant_type(subject.recipe),
        "blocksize": block_length(subject.recipe),
        "dtype": dtype,
        "shape": [subject.matrices.rows, subject.matrices.columns],
    });
    if let Some(offset) = offset {
        state["nested_blocksize"] = json!(NESTED_LENGTH);
        state["nested_dtype"] = json!("float32");
        state["nested_offset"] = json!(f64::from(offset));
    }
    state
}

/// `config.json` with the `quantization_config` that makes transformers load the folder; `dense_modules` are the layers
/// that a loader must not expect quantized.
pub fn config(original: &Value, recipe: &Recipe, dense_modules: Vec<String>) -> Value {
    let mut config = original.clone();
    let compute = ["dtype", "torch_dtype"].iter().find_map(|key| original[*key].as_str()).unwrap_or("float32");
    config["quantization_config"] = json!({
        "quant_method": "bitsandbytes",
        "load_in_4bit": true,
        "load_in_8bit": false,
        "bnb_4bit_quant_type": quant_type(recipe),
        "bnb_4bit_use_double_quant": recipe.scale_storage == ScaleStorage::Double,
        "bnb_4bit_compute_dtype": compute,
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": dense_modules,
    });
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_swap_and_fp4_codes_are_renumbered() {
        let identity = code_map(&normal_float::NF4_LEVELS, "nf4");
        assert_eq!(high_nibble_first(&[0x21], &identity), [0x12]);
        let recipe = Recipe::preset("fp4").unwrap();
        let codebooks = recipe.fixed_codebooks().unwrap();
        let map = code_map(codebooks.levels(0), "fp4");
        for (ours, theirs) in map.iter().enumerate() {
            assert_eq!(codebooks.levels(0)[ours], quant_map("fp4")[usize::from(*theirs)]);
        }
    }

    #[test]
    fn other_recipes_are_refused() {
        let refused = |recipe: Recipe| check_recipe(&recipe).unwrap_err().to_string();
        assert!(refused(Recipe::preset("nf3").unwrap()).contains("nf3 was asked for"));
        assert!(refused(Recipe::preset("int4").unwrap()).contains("int4"));
        let rows = Recipe::preset("nf4").unwrap().with_group(GroupLength::Row).unwrap();
        assert!(refused(rows).contains("32, 64"));
    }
}
