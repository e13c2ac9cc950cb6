//! The main job: a checkpoint in, a quantized checkpoint out.
//!
//! One thread reads the next tensor while the device quantizes the present one; pieces are written at offsets laid out
//! beforehand. Resident at any moment: two tensors as stored, and the codes of one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use quant_core::recipe::Recipe;

use crate::checkpoint::{AlignedBytes, Checkpoint};
use crate::device::{Device, with_backend};
use crate::entropy;
use crate::error::Error;
use crate::feedback::ErrorFeedback;
use crate::files::OutputFiles;
pub use crate::memory::peak_memory_bound_bytes;
use crate::outputs::{Subject, Target, gguf};
use crate::partial::{Earlier, Finished, Identity, Partial};
use crate::plan::{Action, Plan};
use crate::report::{Circumstances, Report, TensorReport};
use crate::select::Selection;
use crate::sensitivities::Sensitivities;

/// Everything a run is told.
#[derive(Debug)]
pub struct Options {
    /// How to quantize.
    pub recipe: Recipe,
    /// Tensors with a recipe of their own.
    pub exceptions: BTreeMap<String, Recipe>,
    /// What errors weigh, where that is known.
    pub sensitivities: Option<Sensitivities>,
    /// What to write.
    pub target: Target,
    /// Which tensors.
    pub selection: Selection,
    /// Whether and how errors of rounding are made up for.
    pub error_feedback: Option<ErrorFeedback>,
    /// Code the codes of native output to their entropy.
    pub entropy: bool,
    /// Refuse to leave a wanted tensor dense.
    pub strict: bool,
    /// Continue an unfinished run.
    pub resume: bool,
    /// Replace an earlier output, and discard an unfinished run.
    pub overwrite: bool,
}

impl Options {
    /// Native output, default selection, nothing special.
    pub fn new(recipe: Recipe) -> Self {
        let (target, selection) = (Target::Native, Selection::default());
        let (exceptions, sensitivities) = (BTreeMap::new(), None);
        Self {
            recipe,
            exceptions,
            sensitivities,
            target,
            selection,
            error_feedback: None,
            entropy: false,
            strict: false,
            resume: false,
            overwrite: false,
        }
    }

    /// The recipe of tensor `name`.
    pub fn recipe_of(&self, name: &str) -> &Recipe {
        self.exceptions.get(name).unwrap_or(&self.recipe)
    }

    /// Every recipe that some tensor may get.
    pub(crate) fn recipes(&self) -> impl Iterator<Item = &Recipe> {
        self.exceptions.values().chain([&self.recipe])
    }

    /// The recipe in words, for reports.
    pub fn recipe_text(&self) -> String {
        let plan = match self.exceptions.len() {
            0 => String::new(),
            n => format!(", and a plan for {n} tensors"),
        };
        let weights = self.sensitivities.as_ref().map_or(String::new(), |s| format!(", weighted by {}", s.origin()));
        format!("{}{plan}{weights}{}", self.recipe, self.suffix())
    }

    /// What is done to a tensor beside its recipe, in words.
    pub(crate) fn suffix(&self) -> String {
        let feedback = self.error_feedback.as_ref().map_or(String::new(), |f| format!(" {}", f.words()));
        if self.codes_entropy() { feedback + entropy::MARK } else { feedback }
    }

    /// Whether codes are coded to their entropy: where it was asked for, or a recipe is meant for it.
    pub fn codes_entropy(&self) -> bool {
        self.target == Target::Native && (self.entropy || self.recipes().any(|r| r.codebook.is_entropy_coded()))
    }
}

/// What a run tells while it works. All methods do nothing by default.
pub trait Progress: Sync {
    /// The plan is made: `tensor_count` tensors of `byte_len` bytes in all, of which `done` bytes are there already.
    fn begin(&self, tensor_count: usize, byte_len: u64, done: u64) {
        let _ = (tensor_count, byte_len, done);
    }
    /// A tensor is begun.
    fn tensor(&self, name: &str) {
        let _ = name;
    }
    /// A tensor is done; `byte_len` bytes of the source are behind us.
    fn finished(&self, report: &TensorReport, byte_len: u64) {
        let _ = (report, byte_len);
    }
}

/// Tells nothing.
#[derive(Debug)]
pub struct Silent;
impl Progress for Silent {}

/// What a run will make, told before a weight is read.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// Every tensor, with its rate and without its error.
    pub tensors: Vec<TensorReport>,
    /// Bytes of tensor data that the run will write.
    pub output_len_bytes: u64,
}

/// Sizes and rates without reading a weight.
pub fn dry_run(checkpoint: &Checkpoint, options: &Options) -> Result<DryRun, Error> {
    let plan = plan(checkpoint, options)?;
    let files = OutputFiles::of_run(checkpoint, &plan, options, Path::new("output"))?;
    let report = |(entry, action): (&crate::checkpoint::TensorEntry, &Action)| {
        let (name, shape, dtype) = (&entry.name, &entry.shape, entry.dtype.name());
        match action {
            Action::Dense { reason, substituted } => TensorReport::dense(
                name,
                shape,
                &dtype,
                8 * options.target.carried_len_bytes(entry),
                reason.clone(),
                *substituted,
            ),
            Action::Quantize(matrices, recipe) => {
                let bits = options.target.rate_bits(&Subject { entry, matrices: *matrices, recipe });
                TensorReport::planned(name, shape, &dtype, format!("{recipe}{}", options.suffix()), bits)
            }
        }
    };
    let tensors = checkpoint.tensors().iter().zip(&plan.actions).map(report).collect();
    Ok(DryRun { tensors, output_len_bytes: files.data_len_bytes() })
}

fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<Plan, Error> {
    crate::conflicts::refuse(options)?;
    crate::plan::refuse_quantized(checkpoint)?;
    crate::transformed::refuse_foreign_target(checkpoint, &options.target)?;
    let plan = Plan::new(checkpoint, options)?;
    if let Some(sensitivities) = &options.sensitivities {
        sensitivities.check(checkpoint, &plan)?;
    }
    Ok(plan)
}

/// Quantizes `checkpoint` into `output`: a folder for a folder, a file for a file.
pub fn run(
    checkpoint: &Checkpoint,
    output: &Path,
    options: &Options,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Report, Error> {
    let start = Instant::now();
    let output = &crate::places::normalised(output);
    let plan = plan(checkpoint, options)?;
    let files = OutputFiles::of_run(checkpoint, &plan, options, output)?;
    let identity = identity(checkpoint, options, &plan);
    let circumstances = |seconds| circumstances(checkpoint, options, &files, device, seconds);
    if options.resume
        && let Some(earlier) = Partial::finished_before(output, &identity, checkpoint.tensors().len())?
    {
        let mut circumstances = circumstances(earlier.seconds);
        let reports = earlier.into_reports();
        if options.codes_entropy() {
            circumstances.output_len_bytes = reports.iter().map(|t| t.sums.stored_bits / 8).sum();
        }
        return Ok(Report::new(reports, circumstances));
    }
    crate::places::refuse_collisions(checkpoint, output, options.overwrite)?;
    crate::places::refuse_to_lose(output, &files)?;
    let (partial, earlier) = Partial::open(output, &identity, options.resume, options.overwrite)?;
    let mut job = Job { checkpoint, plan: &plan, options, files: &files, partial, start, earlier };
    files.create(job.partial.folder(), !job.earlier.finished.is_empty())?;
    let tensors = match job.work(device, progress) {
        Ok(tensors) => tensors,
        // The same input will be refused again: there is nothing to resume.
        Err(error) if error.is_refused_input() => return job.partial.discard().and(Err(error)),
        Err(error) => return Err(error),
    };
    files.carry_side_files(checkpoint, job.partial.folder())?;
    let mut circumstances = circumstances(0.0);
    let tensors = if options.codes_entropy() { job.recode(tensors, &mut circumstances, device)? } else { tensors };
    circumstances.seconds = job.seconds();
    job.partial.finish(files.single())?;
    Ok(Report::new(tensors, circumstances))
}

fn circumstances(
    checkpoint: &Checkpoint,
    options: &Options,
    files: &OutputFiles,
    device: &Device,
    seconds: f64,
) -> Circumstances {
    Circumstances {
        source_len_bytes: checkpoint.tensors().iter().map(|t| t.byte_len).sum(),
        output_len_bytes: files.data_len_bytes(),
        seconds,
        peak_memory_bound_bytes: peak_memory_bound_bytes(checkpoint, options),
        recipe: options.recipe_text(),
        target: options.target.name().into(),
        device: with_backend!(device, backend => quant_core::backend::Backend::name(backend)),
    }
}

fn identity(checkpoint: &Checkpoint, options: &Options, plan: &Plan) -> Identity {
    let text = |action: &Action| match action {
        Action::Quantize(_, recipe) => recipe.to_string(),
        Action::Dense { .. } => String::new(),
    };
    let choice = crc32fast::hash(plan.actions.iter().map(text).collect::<Vec<_>>().join("\n").as_bytes());
    let weights = options.sensitivities.as_ref().map_or(String::new(), |s| format!(", {}", s.fingerprint()));
    let feedback = options.error_feedback.as_ref().map_or_else(String::new, |f| format!(", {}", f.identity()));
    let entropy = if options.codes_entropy() { ", entropy coded" } else { "" };
    Identity {
        version: env!("CARGO_PKG_VERSION").into(),
        input: format!("{} {}", checkpoint.fingerprint(), modified(checkpoint)),
        instruction: format!(
            "{} to {:?}, choice of tensors {choice:08x}{weights}{feedback}{entropy}",
            options.recipe, options.target
        ),
    }
}

/// When the input files were last changed: a fingerprint reads headers, not weights.
fn modified(checkpoint: &Checkpoint) -> String {
    let time = |shard: &crate::checkpoint::Shard| {
        let modified = std::fs::metadata(&shard.path).and_then(|m| m.modified()).ok();
        let since = modified.and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or("-".into(), |s| s.as_nanos().to_string())
    };
    checkpoint.shards().iter().map(time).collect::<Vec<_>>().join(" ")
}

struct Job<'a> {
    checkpoint: &'a Checkpoint,
    plan: &'a Plan,
    options: &'a Options,
    files: &'a OutputFiles,
    partial: Partial,
    start: Instant,
    earlier: Earlier,
}

impl Job<'_> {
    fn seconds(&self) -> f64 {
        self.earlier.seconds + self.start.elapsed().as_secs_f64()
    }

    /// Works through all tensors that are not there yet; reports in the checkpoint's order.
    fn work(&mut self, device: &Device, progress: &dyn Progress) -> Result<Vec<TensorReport>, Error> {
        let tensors = self.checkpoint.tensors();
        let mut reports: Vec<Option<TensorReport>> = vec![None; tensors.len()];
        let mut done_len = 0;
        for (index, report) in reports.iter_mut().enumerate() {
            if let Some(finished) = self.earlier.finished.get(&index)
                && self.files.holds(self.partial.folder(), index, &finished.checksums)
            {
                *report = Some(finished.report.clone());
                done_len += tensors[index].byte_len;
            }
        }
        progress.begin(tensors.len(), tensors.iter().map(|t| t.byte_len).sum(), done_len);
        let todo: Vec<usize> = (0..tensors.len()).filter(|&i| reports[i].is_none()).collect();
        let checkpoint = self.checkpoint;
        let to_read: Vec<usize> = todo.iter().copied().filter(|&i| self.subject(i).is_some()).collect();
        std::thread::scope(|scope| {
            // A rendezvous: the reader holds one tensor ready and no more.
            let (sender, receiver) = sync_channel(0);
            scope.spawn(move || {
                for index in to_read {
                    if sender.send(checkpoint.read_samples(index)).is_err() {
                        return;
                    }
                }
            });
            for index in todo {
                progress.tensor(&tensors[index].name);
                let finished = self.tensor(index, device, &receiver)?;
                self.partial.record(&finished)?;
                progress.finished(&finished.report, tensors[index].byte_len);
                reports[index] = Some(finished.report);
            }
            Ok::<(), Error>(())
        })?;
        Ok(reports.into_iter().map(|r| r.expect("every tensor was found or made")).collect())
    }

    /// Codes what was written to its entropy, and corrects the rates of the reports.
    fn recode(
        &mut self,
        mut tensors: Vec<TensorReport>,
        circumstances: &mut Circumstances,
        device: &Device,
    ) -> Result<Vec<TensorReport>, Error> {
        let folder = self.partial.folder().to_owned();
        let mut lens = BTreeMap::new();
        let (options, threads) = (self.options, device.thread_count());
        let wanted = |name: &str| options.entropy || options.recipe_of(name).codebook.is_entropy_coded();
        for name in self.files.safetensors_names() {
            lens.extend(entropy::recode(&folder.join(name), threads, &wanted)?);
        }
        for (index, report) in tensors.iter_mut().enumerate() {
            match lens.get(&report.name) {
                Some(len) => {
                    circumstances.output_len_bytes -= report.sums.stored_bits / 8;
                    circumstances.output_len_bytes += len;
                    report.set_stored_bits(8 * len);
                }
                None => match report.method.strip_suffix(entropy::MARK) {
                    Some(packed) => report.method = packed.into(),
                    None => continue,
                },
            }
            // No checksums: a run that is continued from here makes the packed codes again.
            let (checksums, seconds) = (Vec::new(), self.seconds());
            self.partial.record(&Finished { tensor: index, checksums, seconds, report: report.clone() })?;
        }
        let index = folder.join("model.safetensors.index.json");
        entropy::recode_index(&index, &lens, circumstances.output_len_bytes)?;
        Ok(tensors)
    }

    fn subject(&self, index: usize) -> Option<Subject<'_>> {
        let Action::Quantize(matrices, recipe) = &self.plan.actions[index] else { return None };
        Some(Subject { entry: &self.checkpoint.tensors()[index], matrices: *matrices, recipe })
    }

    fn tensor(
        &self,
        index: usize,
        device: &Device,
        receiver: &Receiver<Result<AlignedBytes, crate::checkpoint::CheckpointError>>,
    ) -> Result<Finished, Error> {
        let folder = self.partial.folder();
        let (checksums, report) = match self.subject(index) {
            Some(subject) => {
                let bytes = receiver.recv().expect("the reader sends every tensor or an error")?;
                let weights = self.options.sensitivities.as_ref().map(|s| s.of(&subject)).transpose()?.flatten();
                let done = with_backend!(device, backend => {
                    crate::work::quantize_tensor(backend, self.checkpoint, &subject, weights.as_deref(), self.options, bytes)
                })?;
                (self.files.write(folder, index, &done.pieces)?, done.report)
            }
            None => (self.carry_over(index)?, self.dense_report(index)),
        };
        Ok(Finished { tensor: index, checksums, seconds: self.seconds(), report })
    }

    /// Writes a tensor that is not quantized; returns its checksums.
    fn carry_over(&self, index: usize) -> Result<Vec<u32>, Error> {
        let folder = self.partial.folder();
        let Some(conversion) = &self.plan.conversion else {
            return Ok(vec![self.files.copy(folder, index, self.checkpoint, index)?]);
        };
        let Some(place) = &conversion.places[index] else { return Ok(Vec::new()) };
        let entry = &self.checkpoint.tensors()[index];
        let dtype = entry.dtype.float().expect("the plan refused others");
        let bytes = gguf::dense_bytes(place, &entry.shape, dtype, self.checkpoint.read_samples(index)?);
        self.files.write(folder, index, &[bytes])
    }

    fn dense_report(&self, index: usize) -> TensorReport {
        let entry = &self.checkpoint.tensors()[index];
        let Action::Dense { reason, substituted } = &self.plan.actions[index] else {
            unreachable!("only dense tensors are copied")
        };
        let (dtype, bits) = (entry.dtype.name(), 8 * self.options.target.carried_len_bytes(entry));
        TensorReport::dense(&entry.name, &entry.shape, &dtype, bits, reason.clone(), *substituted)
    }
}
