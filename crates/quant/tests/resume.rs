//! A run that stops anywhere and is resumed ends in the same bytes.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{model, options, refused, run, tree};
use quant::checkpoint::Checkpoint;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::pipeline::{self, Options, Progress};
use quant::report::TensorReport;
use quant::sensitivities::Sensitivities;
use tempfile::tempdir;

/// Stops the run after some tensors, the way a kill would: without cleaning up.
struct StopAfter(AtomicUsize);

impl Progress for StopAfter {
    fn finished(&self, _: &TensorReport, _: u64) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            panic!("stopped on purpose");
        }
    }
}

fn stop_after(tensors: usize, input: &Path, output: &Path, options: &Options) {
    let checkpoint = Checkpoint::open(input).unwrap();
    let device = Device::cpu(Some(1)).unwrap();
    let progress = StopAfter(AtomicUsize::new(tensors));
    let stopped = catch_unwind(AssertUnwindSafe(|| pipeline::run(&checkpoint, output, options, &device, &progress)));
    assert!(stopped.is_err() && !output.exists(), "stopped before OUT had its name");
}

fn resuming(preset: &str) -> Options {
    Options { resume: true, ..options(preset) }
}

#[test]
fn a_stopped_run_resumes_to_the_same_bytes_and_figures() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let whole = dir.path().join("whole");
    let report = run(&input, &whole, &options("kmeans4-row")).unwrap();
    for tensors in 1..=11 {
        let output = dir.path().join(format!("stopped-{tensors}"));
        stop_after(tensors, &input, &output, &options("kmeans4-row"));
        let resumed = run(&input, &output, &resuming("kmeans4-row")).unwrap();
        assert!(tree(&output) == tree(&whole), "after {tensors}");
        assert_eq!(resumed.tensors, report.tensors);
        assert_eq!(resumed.totals.codes_hash, report.totals.codes_hash);
        assert!(!dir.path().join(format!("stopped-{tensors}.journal")).exists());
    }
}

#[test]
fn what_a_run_has_not_finished_is_not_read() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    stop_after(3, &input, &dir.path().join("out"), &options("nf4"));
    for path in ["out.partial", "out.partial/", "out.partial/model-00001-of-00002.safetensors"] {
        let error = DecodedCheckpoint::open(&dir.path().join(path)).unwrap_err();
        assert!(error.is_refused_input() && error.to_string().contains("has not come to its end"), "{path}: {error}");
    }
    let partial = dir.path().join("out.partial");
    refused(run(&partial, &dir.path().join("again"), &options("nf4")), &["has not come to its end", "out"]);
    refused(Sensitivities::open(&partial), &["has not come to its end"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&partial, dir.path().join("link")).unwrap();
        refused(DecodedCheckpoint::open(&dir.path().join("link")), &["out.partial", "has not come to its end"]);
    }
    // Another program's folder of that name is as good as any.
    let foreign = model(&dir.path().join("foreign.partial"));
    assert!(DecodedCheckpoint::open(&foreign).is_ok());
}

#[test]
fn damage_done_between_the_runs_is_found_and_redone() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let (whole, output) = (dir.path().join("whole"), dir.path().join("out"));
    run(&input, &whole, &options("nf4")).unwrap();
    stop_after(9, &input, &output, &options("nf4"));
    let shard = dir.path().join("out.partial/model-00001-of-00002.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xAA);
    std::fs::write(&shard, &bytes).unwrap();
    let journal = dir.path().join("out.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 30]).unwrap();
    run(&input, &output, &resuming("nf4")).unwrap();
    assert!(tree(&output) == tree(&whole));
}

#[test]
fn only_the_same_run_can_be_resumed() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    stop_after(3, &input, &output, &options("nf4"));
    let message = |result: Result<_, quant::Error>| match result {
        Ok::<quant::report::Report, _>(_) => panic!("should have been refused"),
        Err(error) => error.to_string(),
    };
    let plain = message(run(&input, &output, &options("nf4")));
    assert!(plain.contains("unfinished run") && plain.contains("--resume"), "{plain}");
    let other = message(run(&input, &output, &resuming("nf3")));
    assert!(other.contains("cannot resume") && other.contains("nf4") && other.contains("nf3"), "{other}");
    let shard = input.join("model-00001-of-00002.safetensors");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes).unwrap();
    let changed = message(run(&input, &output, &resuming("nf4")));
    assert!(changed.contains("the input has changed"), "{changed}");
    let discarding = Options { overwrite: true, ..options("nf4") };
    run(&input, &output, &discarding).unwrap();
}

#[test]
fn a_run_killed_after_its_rename_is_finished_by_resume() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    stop_after(12, &input, &output, &options("nf4"));
    let journal = std::fs::read(dir.path().join("out.journal")).unwrap();
    let report = run(&input, &output, &resuming("nf4")).unwrap();
    std::fs::write(dir.path().join("out.journal"), journal).unwrap();
    let before = tree(&output);
    let again = run(&input, &output, &resuming("nf4")).unwrap();
    assert_eq!(again.tensors, report.tensors);
    assert!(tree(&output) == before && !dir.path().join("out.journal").exists());
}
