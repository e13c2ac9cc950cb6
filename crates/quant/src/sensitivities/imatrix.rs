//! How is an importance matrix of llama.cpp read? E[x²] of input channels, in its old binary form or in GGUF.
//!
//! The old form: a count of entries, then for each the length of its name, the name, a number of calls, the number of values and
//! the values, mean squares times calls, all as 32-bit little-endian numbers. In GGUF: for each tensor `P` the sums of squares
//! `P.in_sum2` and the numbers of tokens `P.counts`, one row for each expert. Names are those of GGUF models.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::{Checkpoint, Source};
use crate::error::Error;

/// Weights of input channels by tensor.
pub(super) type PerColumn = BTreeMap<String, Vec<f32>>;

const SUMS: &str = ".in_sum2";

/// Reads an importance matrix; `None` when the file is something else.
pub(super) fn read(path: &Path) -> Result<Option<PerColumn>, Error> {
    if path.extension().is_some_and(|e| e == "dat") {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let refuse = || Error::refused(format!("{}: not an importance matrix: it ends too early", path.display()));
        return entries(&bytes).ok_or_else(refuse).map(Some);
    }
    if path.extension().is_none_or(|e| e != "gguf") {
        return Ok(None);
    }
    let file = Checkpoint::open(path)?;
    let sums: Vec<usize> = (0..file.tensors().len()).filter(|&i| file.tensors()[i].name.ends_with(SUMS)).collect();
    if file.source() != Source::Gguf || sums.is_empty() {
        let why = format!("not an importance matrix: no tensor is called *{SUMS}");
        return Err(Error::refused(format!("{}: {why}", path.display())));
    }
    sums.into_iter().map(|index| of_gguf(&file, path, index)).collect::<Result<_, _>>().map(Some)
}

fn of_gguf(file: &Checkpoint, path: &Path, index: usize) -> Result<(String, Vec<f32>), Error> {
    let name = file.tensors()[index].name.strip_suffix(SUMS).expect("it was chosen by its ending");
    let refuse = |why: &str| Error::refused(format!("{}: tensor \"{name}\": {why}", path.display()));
    let counts = file.tensors().iter().position(|t| t.name == format!("{name}.counts"));
    let counts = counts.ok_or_else(|| refuse("its counts are missing"))?;
    let floats = |index: usize| match file.tensors()[index].dtype.float() {
        Some(_) => super::read(file, index),
        None => Err(refuse("its sums and counts are not floats")),
    };
    let (mut sums, counts) = (floats(index)?, floats(counts)?);
    if counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
        return Err(refuse("there is not one count for each row of sums"));
    }
    let width = sums.len() / counts.len();
    for (row, count) in sums.chunks_mut(width.max(1)).zip(counts) {
        // An expert that saw no token: its channels are alike.
        row.iter_mut().for_each(|sum| *sum = if count > 0.0 { *sum / count } else { 1.0 });
    }
    Ok((name.to_owned(), sums))
}

/// All entries of the old form; what follows them, the name of the data, is of no matter.
fn entries(bytes: &[u8]) -> Option<PerColumn> {
    let mut rest = bytes;
    let mut take = |len: usize| {
        let (taken, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(taken)
    };
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let count = word(take(4)?);
    let mut found = PerColumn::new();
    for _ in 0..count {
        let len = word(take(4)?) as usize;
        let name = String::from_utf8(take(len)?.to_vec()).ok()?;
        let calls = word(take(4)?).max(1) as f32;
        let len = word(take(4)?) as usize;
        let values = take(len.checked_mul(4)?)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b) / calls);
        found.insert(name, values.collect());
    }
    Some(found)
}

/// The name in GGUF files of a linear layer of a decoder in a Hugging Face folder.
pub(super) fn gguf_name(name: &str) -> Option<String> {
    const PLACES: [(&str, &str); 7] = [
        ("self_attn.q_proj.weight", "attn_q"),
        ("self_attn.k_proj.weight", "attn_k"),
        ("self_attn.v_proj.weight", "attn_v"),
        ("self_attn.o_proj.weight", "attn_output"),
        ("mlp.gate_proj.weight", "ffn_gate"),
        ("mlp.up_proj.weight", "ffn_up"),
        ("mlp.down_proj.weight", "ffn_down"),
    ];
    let (layer, place) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, gguf) = PLACES.iter().find(|(known, _)| *known == place)?;
    layer.bytes().all(|b| b.is_ascii_digit()).then(|| format!("blk.{layer}.{gguf}.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old_form() -> Vec<u8> {
        let words = |list: &[u32]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let floats = |list: &[f32]| list.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        [words(&[2]), words(&[1]), b"a".to_vec(), words(&[4, 2]), floats(&[8.0, 2.0]), words(&[1]), b"b".to_vec()]
            .into_iter()
            .chain([words(&[0, 1]), floats(&[3.0]), words(&[7, 4]), b"text".to_vec()])
            .flatten()
            .collect()
    }

    #[test]
    fn the_old_form_is_read_and_its_cuts_are_refused() {
        let found = entries(&old_form()).unwrap();
        assert_eq!((&found["a"][..], &found["b"][..]), (&[2.0, 0.5][..], &[3.0][..]));
        let end = old_form().len() - 12;
        assert!((0..end).all(|len| entries(&old_form()[..len]).is_none()));
        assert!(entries(&old_form()[..end]).is_some());
    }

    #[test]
    fn names_of_hugging_face_are_those_of_gguf() {
        assert_eq!(gguf_name("model.layers.17.mlp.up_proj.weight").unwrap(), "blk.17.ffn_up.weight");
        assert_eq!(gguf_name("model.layers.x.mlp.up_proj.weight"), None);
        assert_eq!(gguf_name("lm_head.weight"), None);
    }
}
