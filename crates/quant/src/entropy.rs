//! Codes of native files, entropy coded and back.
//!
//! A finished native file is coded once more: how many words codes take is known only when they are there, and a file
//! begins with the places of all its tensors. Codes go through a spool file, so that no more than some chunks are held.
//! One model for each matrix; chunks of whole rows are coded by themselves, so that they can be decoded side by side.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use quant_core::codes::{BitWidth, pack_row, unpack_row};
use quant_core::entropy_coding::{CodeModel, EntropyCodingError};

use crate::checkpoint::layout::SafetensorsLayout;
use crate::checkpoint::{Checkpoint, StoredDtype};
use crate::error::Error;
use crate::outputs::Piece;
use crate::outputs::manifest::{Entropy, KEY, Manifest, QuantizedTensor};
use crate::outputs::native::{CHUNK_LEN_MAX, CHUNKS, CODES, FREQUENCIES, WORDS, stored_pieces};

/// Codes of a chunk at least: what a chunk adds, two words of the coder and one of its length, is then below 1e-3 of it.
const CHUNK_LEN: usize = 1 << 16;
/// What the method of a tensor ends in when its codes are entropy coded.
pub(crate) const MARK: &str = " entropy-coded";
/// Bytes copied at a time.
const COPY_LEN: u64 = 8 << 20;

/// What coding made of one tensor.
struct Coded {
    /// The tensor that the codes are of.
    name: String,
    entropy: Entropy,
    chunks: Vec<u32>,
    frequencies: Vec<u32>,
    /// Where its words are in the spool.
    place: Range<u64>,
}

/// Codes the `wanted` tensors of the native file `path` anew; returns the bytes that each of the tensors takes whose codes became fewer.
pub(crate) fn recode(
    path: &Path,
    threads: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, u64>, Error> {
    let checkpoint = Checkpoint::open(path)?;
    let text = checkpoint.shards()[0].metadata.get(KEY);
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    let mut manifest: Manifest = serde_json::from_str(text).expect("a manifest that was just written");
    let (spool_path, fresh) = (with_suffix(path, ".spool"), with_suffix(path, ".coded"));
    let spool = File::options().read(true).write(true).create(true).truncate(true).open(&spool_path);
    let mut spool = spool.map_err(Error::io("create", &spool_path))?;
    let mut coded: BTreeMap<String, Coded> = BTreeMap::new();
    let mut lens = BTreeMap::new();
    let mut end = 0;
    // A row longer than a chunk may be stays as it is.
    let fits = |tensor: &QuantizedTensor| tensor.columns <= CHUNK_LEN_MAX;
    let mut writer = BufWriter::new(&mut spool);
    for (name, tensor) in manifest.tensors.iter_mut().filter(|(name, tensor)| wanted(name) && fits(tensor)) {
        let made = code_tensor(&checkpoint, name, tensor, threads, end, &mut |words| {
            writer.write_all(bytemuck::cast_slice(words)).map_err(Error::io("write", &spool_path))
        })?;
        end = made.place.end;
        let packed_len = stored_len(name, tensor);
        tensor.entropy = Some(made.entropy);
        let len = stored_len(name, tensor);
        if len >= packed_len {
            // A table of frequencies costs a small tensor more than its codes give back.
            tensor.entropy = None;
            continue;
        }
        lens.insert(name.clone(), len);
        coded.insert(format!("{name}.{CODES}"), made);
    }
    writer.flush().map_err(Error::io("write", &spool_path))?;
    drop(writer);
    write_file(&checkpoint, &manifest, &coded, &mut spool, &fresh)?;
    fs::remove_file(&spool_path).map_err(Error::io("remove", &spool_path))?;
    fs::rename(&fresh, path).map_err(Error::io("rename", path))?;
    Ok(lens)
}

fn pieces(name: &str, tensor: &QuantizedTensor) -> Vec<Piece> {
    stored_pieces(name, tensor).expect("it describes what was just written")
}

/// Bytes of all pieces of a tensor.
fn stored_len(name: &str, tensor: &QuantizedTensor) -> u64 {
    pieces(name, tensor).iter().map(|piece| piece.byte_len() as u64).sum()
}

/// Names what took the place of the codes of tensors `coded` in the index of a folder's files.
pub(crate) fn recode_index(path: &Path, coded: &BTreeMap<String, u64>, data_len: u64) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("an index that was just written");
    let map = index["weight_map"].as_object_mut().expect("an index maps weights");
    for name in coded.keys() {
        let file = map.remove(&format!("{name}.{CODES}")).expect("its codes were packed");
        [WORDS, CHUNKS, FREQUENCIES].iter().for_each(|part| {
            map.insert(format!("{name}.{part}"), file.clone());
        });
    }
    index["metadata"]["total_size"] = data_len.into();
    let text = serde_json::to_string_pretty(&index).expect("plain data") + "\n";
    fs::write(path, text).map_err(Error::io("write", path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The rows of each chunk of a matrix.
fn chunk_rows(rows: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
}

/// Codes one tensor; `write` takes the words in order.
fn code_tensor(
    checkpoint: &Checkpoint,
    name: &str,
    tensor: &QuantizedTensor,
    threads: usize,
    begin: u64,
    write: &mut dyn FnMut(&[u32]) -> Result<(), Error>,
) -> Result<Coded, Error> {
    let codes = format!("{name}.{CODES}");
    let index = checkpoint.tensors().iter().position(|t| t.name == codes).expect("the manifest was just written");
    let packed = checkpoint.read_raw(index)?;
    let bit_width = tensor.bit_width().expect("a recipe has 2 to 8 bits");
    let rows = Rows { columns: tensor.columns, bit_width, row_len: bit_width.row_len_bytes(tensor.columns) };
    let chunk_len = CHUNK_LEN.div_ceil(tensor.columns.max(1));
    let (mut chunks, mut frequencies, mut word_count) = (Vec::new(), Vec::new(), 0);
    for matrix in 0..tensor.matrix_count {
        let first = matrix * tensor.rows;
        let all: Vec<_> = chunk_rows(tensor.rows, chunk_len).map(|r| first + r.start..first + r.end).collect();
        let counts = in_parallel(&all, threads, |range| rows.counts(&packed, range.clone()));
        let mut total = vec![0u64; bit_width.level_count()];
        counts.iter().for_each(|counts| total.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n));
        let model = CodeModel::of_counts(&total).expect("8 bits at most");
        frequencies.extend_from_slice(model.frequencies());
        for some in all.chunks(8 * threads) {
            for words in in_parallel(some, threads, |range| model.encode(&rows.codes(&packed, range.clone()))) {
                word_count += words.len();
                chunks.push(u32::try_from(words.len()).expect("a chunk has some ten thousand codes"));
                write(&words)?;
            }
        }
    }
    let entropy = Entropy { chunk_rows: chunk_len, word_count, own_frequencies: tensor.matrix_count > 1 };
    let place = begin..begin + 4 * word_count as u64;
    Ok(Coded { name: name.to_owned(), entropy, chunks, frequencies, place })
}

/// How rows of codes are packed.
#[derive(Clone, Copy)]
struct Rows {
    columns: usize,
    bit_width: BitWidth,
    row_len: usize,
}

impl Rows {
    fn codes(self, packed: &[u8], rows: Range<usize>) -> Vec<u8> {
        let mut codes = vec![0; rows.len() * self.columns];
        for (row, codes) in rows.zip(codes.chunks_exact_mut(self.columns)) {
            unpack_row(&packed[row * self.row_len..][..self.row_len], self.bit_width, codes);
        }
        codes
    }

    fn counts(self, packed: &[u8], rows: Range<usize>) -> Vec<u64> {
        let mut counts = vec![0; self.bit_width.level_count()];
        self.codes(packed, rows).iter().for_each(|&code| counts[usize::from(code)] += 1);
        counts
    }
}

/// `work` on all items by some threads, results in order.
fn in_parallel<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let parts: Vec<_> =
            items.chunks(share).map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<R>>())).collect();
        parts.into_iter().flat_map(|part| part.join().expect("no work panics")).collect()
    })
}

/// Writes the file again, with words in the place of codes.
fn write_file(
    checkpoint: &Checkpoint,
    manifest: &Manifest,
    coded: &BTreeMap<String, Coded>,
    spool: &mut File,
    fresh: &Path,
) -> Result<(), Error> {
    let mut metadata = checkpoint.shards()[0].metadata.clone();
    metadata.insert(KEY.into(), serde_json::to_string(manifest).expect("plain data"));
    let mut layout = SafetensorsLayout::new(metadata);
    let mut sources = Vec::new();
    for (index, entry) in checkpoint.tensors().iter().enumerate() {
        let StoredDtype::Safetensors(dtype) = entry.dtype else { unreachable!("a safetensors file") };
        let mut add = |name: &str, dtype, shape: &[usize], source| {
            sources.push(source);
            layout.add(name, dtype, shape).map_err(|e| Error::refused(format!("{}: {e}", fresh.display())))
        };
        match coded.get(&entry.name) {
            None => drop(add(&entry.name, dtype, &entry.shape, Source::Stored(index))?),
            Some(made) => {
                let stem = format!("{}.", made.name);
                for piece in pieces(&made.name, &manifest.tensors[&made.name]) {
                    let source = match piece.name.strip_prefix(&stem) {
                        Some(WORDS) => Source::Spool(made.place.clone()),
                        Some(CHUNKS) => Source::Numbers(&made.chunks),
                        Some(FREQUENCIES) => Source::Numbers(&made.frequencies),
                        _ => continue,
                    };
                    add(&piece.name, piece.dtype, &piece.shape, source)?;
                }
            }
        }
    }
    let laid_out = layout.finish().map_err(|e| Error::refused(format!("{}: {e}", fresh.display())))?;
    let mut out = File::create(fresh).map_err(Error::io("create", fresh))?;
    let io = |result: std::io::Result<()>| result.map_err(Error::io("write", fresh));
    io(out.write_all(&laid_out.header))?;
    for (slot, source) in laid_out.slots.iter().zip(sources) {
        io(out.seek(SeekFrom::Start(slot.offset)).map(drop))?;
        match source {
            Source::Numbers(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                io(out.write_all(&bytes))?;
            }
            Source::Spool(range) => {
                io(spool.seek(SeekFrom::Start(range.start)).map(drop))?;
                let mut part = BufReader::new(spool.take(range.end - range.start));
                io(std::io::copy(&mut part, &mut out).map(drop))?;
            }
            Source::Stored(index) => copy_stored(checkpoint, index, slot.byte_len, &mut out, fresh)?,
        }
    }
    io(out.set_len(laid_out.byte_len))
}

/// Copies a tensor as it is, some of it at a time.
fn copy_stored(checkpoint: &Checkpoint, index: usize, len: u64, out: &mut File, path: &Path) -> Result<(), Error> {
    let (mut start, mut buffer) = (0, vec![0; COPY_LEN.min(len) as usize]);
    while start < len {
        let end = (start + COPY_LEN).min(len);
        let part = &mut buffer[..(end - start) as usize];
        checkpoint.read_raw_range(index, start..end, part)?;
        out.write_all(part).map_err(Error::io("write", path))?;
        start = end;
    }
    Ok(())
}

/// Where the bytes of a tensor come from.
enum Source<'a> {
    Stored(usize),
    Spool(Range<u64>),
    Numbers(&'a [u32]),
}

/// Packs the codes of a tensor again: `words` and `chunks` as stored.
pub(crate) fn packed_codes(
    tensor: &QuantizedTensor,
    entropy: Entropy,
    words: &[u32],
    chunks: &[u32],
    frequencies: &[u32],
    threads: usize,
) -> Result<Vec<u8>, EntropyCodingError> {
    let bit_width = tensor.bit_width().expect("checked when opened");
    let models = frequencies.chunks_exact(bit_width.level_count()).map(|f| CodeModel::of_frequencies(f.to_vec()));
    let models = models.collect::<Result<Vec<_>, _>>()?;
    // One for each matrix, or one for all.
    let of_matrix = |matrix: usize| {
        let model = &models[matrix % models.len()];
        chunk_rows(tensor.rows, entropy.chunk_rows).map(move |rows| (model, rows))
    };
    let (mut parts, mut rest) = (Vec::new(), words);
    for ((model, rows), &len) in (0..tensor.matrix_count).flat_map(of_matrix).zip(chunks) {
        let (part, after) = rest.split_at_checked(len as usize).ok_or(EntropyCodingError::Damaged)?;
        parts.push((model, rows.len(), part));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(EntropyCodingError::Damaged);
    }
    let row_len = bit_width.row_len_bytes(tensor.columns);
    let unpack = |(model, rows, words): &(&CodeModel, usize, &[u32])| {
        let codes = model.decode(words.to_vec(), rows * tensor.columns)?;
        let codes: Vec<u8> = codes.into_iter().map(|code| code as u8).collect();
        let mut packed = vec![0; rows * row_len];
        for (codes, packed) in codes.chunks_exact(tensor.columns).zip(packed.chunks_exact_mut(row_len)) {
            pack_row(codes, bit_width, packed);
        }
        Ok(packed)
    };
    // A code that is certain takes no words: what a small file claims must find room before any of it is made.
    let mut packed = Vec::new();
    let len = tensor.matrix_count * tensor.rows * row_len;
    packed.try_reserve_exact(len).map_err(|_| EntropyCodingError::Damaged)?;
    for parts in parts.chunks(8 * threads.max(1)) {
        for part in in_parallel(parts, threads, unpack) {
            packed.extend(part?);
        }
    }
    Ok(packed)
}
