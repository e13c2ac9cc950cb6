//! The files of an output: laid out before the first weight is read, then filled piece by piece.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::checkpoint::layout::{LayoutError, SafetensorsLayout};
use crate::checkpoint::{Checkpoint, Source, StoredDtype};
use crate::error::Error;
use crate::outputs::bitsandbytes::{TIED_HEADS, TRANSPOSED_KEY};
use crate::outputs::manifest::{KEY, Manifest, QuantizedTensor};
use crate::outputs::{Piece, Subject, Target, any_precision, bitsandbytes, dense, gguf, lut_b};
use crate::pipeline::Options;
use crate::plan::{Action, Plan};

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Bytes copied at a time.
const COPY_LEN: usize = 8 << 20;

/// Where one piece goes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    file: usize,
    offset: u64,
    len: u64,
}

/// One file to be.
#[derive(Debug)]
struct OutputFile {
    name: String,
    header: Vec<u8>,
    len: u64,
}

/// The files of an output.
#[derive(Debug)]
pub(crate) struct OutputFiles {
    files: Vec<OutputFile>,
    /// For each tensor the slots of its pieces.
    slots: Vec<Vec<Slot>>,
    /// Small files written whole: index, config.
    texts: Vec<(String, String)>,
    /// Files of the source folder carried over, relative.
    carried: Vec<PathBuf>,
    single: Option<String>,
    /// Whether ggml blocks are carried over as they are; safetensors has no word for them.
    keeps_blocks: bool,
}

/// A safetensors file to lay out.
pub(crate) struct FilePlan {
    /// Its name, relative to the output folder.
    pub name: String,
    /// The tensors in it.
    pub tensors: Vec<usize>,
    /// Its `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

impl OutputFiles {
    /// Lays out `plans`; `pieces` are the stored tensors of each tensor. `single` names the one file of an output that
    /// is a file itself.
    pub fn new(plans: Vec<FilePlan>, pieces: &[Vec<Piece>], single: Option<String>) -> Result<Self, Error> {
        let slots = vec![vec![]; pieces.len()];
        let mut laid_out = Self { files: vec![], slots, texts: vec![], carried: vec![], single, keeps_blocks: false };
        for plan in plans {
            laid_out.lay_out(plan, pieces)?;
        }
        // A loader looks for model.safetensors or an index, and for nothing else.
        let is_folder = laid_out.single.is_none();
        if is_folder && (laid_out.files.len() > 1 || laid_out.files[0].name != "model.safetensors") {
            laid_out.add_index(pieces);
        }
        Ok(laid_out)
    }

    /// The files of a quantized checkpoint.
    pub fn of_run(checkpoint: &Checkpoint, plan: &Plan, options: &Options, output: &Path) -> Result<Self, Error> {
        if options.target == Target::Gguf {
            return Self::of_gguf(gguf::layout(checkpoint, plan, &options.recipe, output)?, output);
        }
        let plans = file_plans(checkpoint, |shard| metadata(checkpoint, plan, options, shard));
        let single = single_name(checkpoint, output)?;
        let mut files = Self::new(plans, &all_pieces(checkpoint, plan, options), single)?;
        if checkpoint.source() == Source::Folder {
            files.carried = checkpoint.side_files().to_vec();
        }
        if options.target == Target::AnyPrecision {
            files.replace_config(&any_precision::config(checkpoint, plan, &options.recipe)?);
        }
        if options.target == Target::LutB {
            let config = checkpoint.config().expect("the target was checked to have one");
            files.replace_config(&lut_b::config(config, dense_modules(checkpoint, plan)));
        }
        if options.target == Target::Bitsandbytes {
            let config = checkpoint.config().expect("the target was checked to have one");
            files.replace_config(&bitsandbytes::config(config, &options.recipe, dense_modules(checkpoint, plan)));
        }
        Ok(files)
    }

    /// One GGUF file.
    pub fn of_gguf(layout: gguf::Layout, output: &Path) -> Result<Self, Error> {
        let slot = |p: &quant_gguf::TensorPlace| Slot { file: 0, offset: p.offset, len: p.byte_len };
        let slots = layout.places.iter().map(|place| place.iter().map(slot).collect()).collect();
        let name = file_name(output)?;
        let files = vec![OutputFile { name: name.clone(), len: layout.byte_len, header: layout.header }];
        Ok(Self { files, slots, texts: vec![], carried: vec![], single: Some(name), keeps_blocks: true })
    }

    /// Carries `side_files` of the source folder over.
    pub fn carry(&mut self, side_files: &[PathBuf]) {
        self.carried = side_files.to_vec();
    }

    /// Writes `config` as config.json instead of carrying the source's over.
    pub fn replace_config(&mut self, config: &serde_json::Value) {
        let text = serde_json::to_string_pretty(config).expect("plain data") + "\n";
        self.texts.push(("config.json".into(), text));
        self.carried.retain(|path| path != Path::new("config.json"));
    }

    fn lay_out(&mut self, plan: FilePlan, pieces: &[Vec<Piece>]) -> Result<(), Error> {
        let file = self.files.len();
        let refused = |name: &str, error: LayoutError| Error::refused(format!("{name}: {error}"));
        let mut layout = SafetensorsLayout::new(plan.metadata);
        let mut positions = Vec::new();
        for &tensor in &plan.tensors {
            for Piece { name, dtype, shape } in &pieces[tensor] {
                let position = layout.add(name, *dtype, shape).map_err(|e| refused(&plan.name, e))?;
                positions.push((tensor, position));
            }
        }
        let laid_out = layout.finish().map_err(|e| refused(&plan.name, e))?;
        for (tensor, position) in positions {
            let slot = &laid_out.slots[position];
            self.slots[tensor].push(Slot { file, offset: slot.offset, len: slot.byte_len });
        }
        let name = self.single.clone().unwrap_or(plan.name);
        self.files.push(OutputFile { name, len: laid_out.byte_len, header: laid_out.header });
        Ok(())
    }

    fn add_index(&mut self, pieces: &[Vec<Piece>]) {
        let mut weight_map = BTreeMap::new();
        for (pieces, slots) in pieces.iter().zip(&self.slots) {
            for (piece, slot) in pieces.iter().zip(slots) {
                weight_map.insert(piece.name.as_str(), self.files[slot.file].name.as_str());
            }
        }
        let index = json!({"metadata": {"total_size": self.data_len_bytes()}, "weight_map": weight_map});
        let text = serde_json::to_string_pretty(&index).expect("plain data") + "\n";
        self.texts.push(("model.safetensors.index.json".into(), text));
    }

    /// Bytes of all tensors.
    pub fn data_len_bytes(&self) -> u64 {
        self.slots.iter().flatten().map(|slot| slot.len).sum()
    }

    /// The one file that is the output, where the output is a file.
    pub fn single(&self) -> Option<&str> {
        self.single.as_deref()
    }

    /// Makes the files with their headers and full lengths; with `keep`, files that have them already stay.
    pub fn create(&self, folder: &Path, keep: bool) -> Result<(), Error> {
        for file in &self.files {
            let path = folder.join(&file.name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create the folder", parent))?;
            }
            let handle = OpenOptions::new().write(true).create(true).truncate(!keep).open(&path);
            let handle = handle.map_err(Error::io("create", &path))?;
            handle.set_len(file.len).map_err(Error::io("make room in", &path))?;
            write_all_at(&handle, &file.header, 0).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// Whether the pieces of `tensor` are there with these checksums.
    pub fn holds(&self, folder: &Path, tensor: usize, checksums: &[u32]) -> bool {
        let slots = &self.slots[tensor];
        slots.len() == checksums.len()
            && slots.iter().zip(checksums).all(|(slot, &sum)| self.checksum(folder, slot).is_ok_and(|s| s == sum))
    }

    fn checksum(&self, folder: &Path, slot: &Slot) -> std::io::Result<u32> {
        use std::io::{Seek, SeekFrom};
        let mut file = File::open(folder.join(&self.files[slot.file].name))?;
        file.seek(SeekFrom::Start(slot.offset))?;
        let (mut hasher, mut rest) = (crc32fast::Hasher::new(), slot.len);
        let mut buffer = vec![0; COPY_LEN.min(slot.len as usize)];
        while rest > 0 {
            let part = (buffer.len() as u64).min(rest) as usize;
            file.read_exact(&mut buffer[..part])?;
            hasher.update(&buffer[..part]);
            rest -= part as u64;
        }
        Ok(hasher.finalize())
    }

    fn open(&self, folder: &Path, slot: &Slot) -> Result<(PathBuf, File), Error> {
        let path = folder.join(&self.files[slot.file].name);
        let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
        Ok((path, file))
    }

    /// Writes the pieces of `tensor`; returns their checksums.
    pub fn write<B: std::ops::Deref<Target = [u8]>>(
        &self,
        folder: &Path,
        tensor: usize,
        pieces: &[B],
    ) -> Result<Vec<u32>, Error> {
        let slots = &self.slots[tensor];
        assert_eq!(slots.len(), pieces.len(), "one slot per piece");
        let mut checksums = Vec::new();
        for (slot, bytes) in slots.iter().zip(pieces) {
            assert_eq!(slot.len, bytes.len() as u64, "pieces have the length that was laid out");
            let (path, file) = self.open(folder, slot)?;
            write_all_at(&file, bytes, slot.offset).map_err(Error::io("write", &path))?;
            checksums.push(crc32fast::hash(bytes));
        }
        Ok(checksums)
    }

    /// Copies tensor `source` of the checkpoint as it is to where `tensor` goes; returns its checksum.
    pub fn copy(&self, folder: &Path, tensor: usize, checkpoint: &Checkpoint, source: usize) -> Result<u32, Error> {
        let slot = &self.slots[tensor][0];
        let dtype = &checkpoint.tensors()[source].dtype;
        if matches!(dtype, StoredDtype::Ggml(_)) && dtype.float().is_some() && !self.keeps_blocks {
            return Ok(self.write(folder, tensor, &[checkpoint.read_samples(source)?])?[0]);
        }
        let (path, file) = self.open(folder, slot)?;
        let mut buffer = vec![0; COPY_LEN.min(slot.len as usize)];
        let (mut hasher, mut start) = (crc32fast::Hasher::new(), 0);
        while start < slot.len {
            let end = (start + COPY_LEN as u64).min(slot.len);
            let part = &mut buffer[..(end - start) as usize];
            checkpoint.read_raw_range(source, start..end, part)?;
            write_all_at(&file, part, slot.offset + start).map_err(Error::io("write", &path))?;
            hasher.update(part);
            start = end;
        }
        Ok(hasher.finalize())
    }

    /// Carries over config, tokenizer and whatever else the source folder holds, and writes index and config.
    pub fn carry_side_files(&self, checkpoint: &Checkpoint, folder: &Path) -> Result<(), Error> {
        for relative in &self.carried {
            let (from, to) = (checkpoint.path().join(relative), folder.join(relative));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create the folder", parent))?;
            }
            // A read-only copy that a killed run left cannot be written over.
            let _ = fs::remove_file(&to);
            fs::copy(&from, &to).map_err(Error::io("copy here", &to))?;
        }
        for (name, text) in &self.texts {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// The safetensors files.
    pub fn safetensors_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str()).filter(|_| !self.keeps_blocks)
    }

    /// Every file name that the output will have at its top level.
    pub fn names(&self) -> Vec<PathBuf> {
        let files = self.files.iter().map(|f| PathBuf::from(&f.name));
        let texts = self.texts.iter().map(|(name, _)| PathBuf::from(name));
        files.chain(texts).chain(self.carried.iter().cloned()).collect()
    }
}

fn file_name(output: &Path) -> Result<String, Error> {
    match output.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => Err(Error::refused(format!("{}: not the name of a file to write", output.display()))),
    }
}

/// One output file per shard, of the same name.
pub(crate) fn file_plans(
    checkpoint: &Checkpoint,
    metadata: impl Fn(usize) -> BTreeMap<String, String>,
) -> Vec<FilePlan> {
    let tensors_of = |shard: usize| {
        let all = checkpoint.tensors().iter().enumerate();
        all.filter(|(_, t)| t.shard == shard).map(|(i, _)| i).collect()
    };
    let plan = |(index, shard): (usize, &crate::checkpoint::Shard)| FilePlan {
        name: shard.file_name.clone(),
        tensors: tensors_of(index),
        metadata: metadata(index),
    };
    checkpoint.shards().iter().enumerate().map(plan).collect()
}

/// The name of the one file of an output whose source is not a folder.
pub(crate) fn single_name(checkpoint: &Checkpoint, output: &Path) -> Result<Option<String>, Error> {
    if checkpoint.source() != Source::Folder && output.extension().is_some_and(|e| e == "gguf") {
        let why = "the output is a safetensors file; end OUT in .safetensors";
        return Err(Error::refused(format!("{}: {why}", output.display())));
    }
    (checkpoint.source() != Source::Folder).then(|| file_name(output)).transpose()
}

fn all_pieces(checkpoint: &Checkpoint, plan: &Plan, options: &Options) -> Vec<Vec<Piece>> {
    let pieces = |(entry, action): (&crate::checkpoint::TensorEntry, &Action)| match action {
        Action::Quantize(matrices, recipe) => options.target.pieces(&Subject { entry, matrices: *matrices, recipe }),
        Action::Dense { .. } => {
            let dtype = dense::carried_dtype(entry);
            vec![Piece::new(entry.name.clone(), dtype, entry.shape.clone())]
        }
    };
    checkpoint.tensors().iter().zip(&plan.actions).map(pieces).collect()
}

fn metadata(checkpoint: &Checkpoint, plan: &Plan, options: &Options, shard: usize) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    if checkpoint.source() != Source::Gguf {
        metadata.extend(checkpoint.shards()[shard].metadata.clone());
    }
    match options.target {
        Target::Bitsandbytes => {
            metadata.insert("format".into(), "pt".into());
            let transposed = transposed_names(checkpoint, plan, shard);
            if !transposed.is_empty() {
                metadata.insert(TRANSPOSED_KEY.into(), serde_json::to_string(&transposed).expect("plain data"));
            }
        }
        Target::SqueezeLlm | Target::AnyPrecision | Target::LutB => {
            metadata.insert("format".into(), "pt".into());
        }
        Target::Dense { .. } | Target::Gguf => {}
        Target::Native => {
            let mut manifest = Manifest::new(&options.recipe_text());
            for (entry, action) in checkpoint.tensors().iter().zip(&plan.actions).filter(|(t, _)| t.shard == shard) {
                if let Action::Quantize(matrices, recipe) = action {
                    let subject = Subject { entry, matrices: *matrices, recipe };
                    manifest.insert(entry.name.clone(), QuantizedTensor::of(&subject));
                }
            }
            metadata.insert(KEY.into(), serde_json::to_string(&manifest).expect("plain data"));
        }
    }
    metadata
}

/// The quantized tensors of a shard whose source holds the transpose: bitsandbytes' layout has no word for it.
fn transposed_names(checkpoint: &Checkpoint, plan: &Plan, shard: usize) -> Vec<String> {
    let all = checkpoint.tensors().iter().zip(&plan.actions).filter(|(t, _)| t.shard == shard);
    let is_transposed = |action: &Action| matches!(action, Action::Quantize(m, _) if m.transposed);
    all.filter(|(_, action)| is_transposed(action)).map(|(t, _)| t.name.clone()).collect()
}

/// Layers that a bitsandbytes loader must not expect quantized: every dense matrix, and `lm_head`, without which a
/// message-less assertion stops transformers.
fn dense_modules(checkpoint: &Checkpoint, plan: &Plan) -> Vec<String> {
    let mut modules: Vec<String> = TIED_HEADS.map(str::to_owned).into();
    for (entry, action) in checkpoint.tensors().iter().zip(&plan.actions) {
        if matches!(action, Action::Dense { .. }) && entry.shape.len() == 2 {
            modules.extend(entry.name.strip_suffix(".weight").map(str::to_owned));
        }
    }
    let mut seen = std::collections::HashSet::new();
    modules.retain(|module| seen.insert(module.clone()));
    modules
}
