//! Reports as JSON for programs.

use std::path::{Path, PathBuf};

use quant::report::{Report, TensorReport};
use serde::Serialize;
use serde_json::{Value, json};

/// Writes what `value` makes to the file asked for, or to stdout for `-`. True when stdout was used.
pub fn write_if_asked(path: Option<&Path>, value: impl FnOnce() -> Value) -> anyhow::Result<bool> {
    let Some(path) = path else { return Ok(false) };
    let text = serde_json::to_string_pretty(&value()).expect("plain data") + "\n";
    if path == Path::new("-") {
        print!("{text}");
        return Ok(true);
    }
    quant::whole::write(path, text.as_bytes())?;
    Ok(false)
}

/// Refuses, before any work, a place for the report that is missing or taken by something of value.
pub fn check_place(path: Option<&Path>, taken: &[&Path]) -> Result<(), quant::Error> {
    check_place_of("--json", path.filter(|p| *p != Path::new("-")), taken)
}

/// [`check_place`] of what another `option` asks to be written.
pub fn check_place_of(option: &str, path: Option<&Path>, taken: &[&Path]) -> Result<(), quant::Error> {
    let Some(path) = path else { return Ok(()) };
    let refuse = |why: String| Err(quant::Error::Refused(format!("{option} {}: {why}", path.display())));
    if path.is_dir() {
        return refuse("is a folder".into());
    }
    if let Some(parent) = std::path::absolute(path).ok().as_deref().and_then(Path::parent).filter(|p| !p.is_dir()) {
        return refuse(format!("the folder {} does not exist; create it first", parent.display()));
    }
    match taken.iter().find(|t| resolved(path) == resolved(t)) {
        Some(taken) => refuse(format!("is {}, which the report must not replace", taken.display())),
        None => Ok(()),
    }
}

/// The absolute path that links lead to, whether or not something is there.
fn resolved(path: &Path) -> PathBuf {
    let mut path = std::path::absolute(path).unwrap_or(path.to_owned());
    // As many links as Linux follows.
    for _ in 0..40 {
        let Ok(target) = path.read_link() else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (path.canonicalize(), parent, path.file_name()) {
        (Ok(resolved), ..) => resolved,
        (_, Some(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// Any plain data.
pub fn plain(data: &impl Serialize) -> Value {
    serde_json::to_value(data).expect("plain data")
}

/// A run's report: totals, then tensors.
pub fn report(report: &Report) -> Value {
    json!({"totals": plain(&report.totals), "tensors": report.tensors.iter().map(tensor).collect::<Vec<_>>()})
}

/// A dry run's report: tensors only, with rates and no errors.
pub fn plan(tensors: &[TensorReport]) -> Value {
    let planned = |t: &TensorReport| {
        let mut value = tensor(t);
        let fields = value.as_object_mut().expect("a tensor report is an object");
        ["mse", "sqnr_db", "entropy_bits", "error_max", "codes_hash"].iter().for_each(|key| {
            fields.shift_remove(*key);
        });
        value
    };
    json!({"dry_run": true, "tensors": tensors.iter().map(planned).collect::<Vec<_>>()})
}

/// One tensor, with the sums that a reader may want and without the counts of each code.
fn tensor(tensor: &TensorReport) -> Value {
    let mut value = plain(tensor);
    let fields = value.as_object_mut().expect("a tensor report is an object");
    fields.shift_remove("sums");
    fields.insert("weight_count".into(), json!(tensor.sums.weight_count));
    fields.insert("error_max".into(), json!(tensor.sums.error_max));
    if !tensor.sums.codes_hash.is_empty() {
        fields.insert("codes_hash".into(), json!(tensor.sums.codes_hash));
    }
    value
}
