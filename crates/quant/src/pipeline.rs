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
use crate::error::Error;
use crate::files::OutputFiles;
use crate::outputs::{Subject, Target};
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
        Self { recipe, exceptions, sensitivities, target, selection, strict: false, resume: false, overwrite: false }
    }

    /// The recipe of tensor `name`.
    pub fn recipe_of(&self, name: &str) -> &Recipe {
        self.exceptions.get(name).unwrap_or(&self.recipe)
    }

    /// The recipe in words, for reports.
    pub fn recipe_text(&self) -> String {
        let plan = match self.exceptions.len() {
            0 => String::new(),
            n => format!(", and a plan for {n} tensors"),
        };
        let weights = self.sensitivities.as_ref().map_or(String::new(), |s| format!(", weighted by {}", s.origin()));
        format!("{}{plan}{weights}", self.recipe)
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

/// Memory that a run of this checkpoint promises to stay below: 3 × the largest tensor as f32 + 200 MB.
pub fn peak_memory_bound_bytes(checkpoint: &Checkpoint) -> u64 {
    let weights = checkpoint.tensors().iter().map(|t| t.shape.iter().product::<usize>() as u64).max();
    12 * weights.unwrap_or(0) + 200_000_000
}

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
                TensorReport::planned(name, shape, &dtype, recipe.to_string(), bits)
            }
        }
    };
    let tensors = checkpoint.tensors().iter().zip(&plan.actions).map(report).collect();
    Ok(DryRun { tensors, output_len_bytes: files.data_len_bytes() })
}

fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<Plan, Error> {
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
        let seconds = earlier.seconds;
        return Ok(Report::new(earlier.into_reports(), circumstances(seconds)));
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
    let seconds = job.seconds();
    files.carry_side_files(checkpoint, job.partial.folder())?;
    job.partial.finish(files.single())?;
    Ok(Report::new(tensors, circumstances(seconds)))
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
        peak_memory_bound_bytes: peak_memory_bound_bytes(checkpoint),
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
    Identity {
        version: env!("CARGO_PKG_VERSION").into(),
        input: format!("{} {}", checkpoint.fingerprint(), modified(checkpoint)),
        instruction: format!("{} to {:?}, choice of tensors {choice:08x}{weights}", options.recipe, options.target),
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
                let (checkpoint, target) = (self.checkpoint, &self.options.target);
                let weights = self.options.sensitivities.as_ref().map(|s| s.of(&subject)).transpose()?.flatten();
                let done = with_backend!(device, backend => {
                    crate::work::quantize_tensor(backend, checkpoint, &subject, weights.as_deref(), target, bytes)
                })?;
                (self.files.write(folder, index, &done.pieces)?, done.report)
            }
            None => (vec![self.files.copy(folder, index, self.checkpoint, index)?], self.dense_report(index)),
        };
        Ok(Finished { tensor: index, checksums, seconds: self.seconds(), report })
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
