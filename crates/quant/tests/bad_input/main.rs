//! Every way a checkpoint can be bad, and that the message names the file, the tensor where there is one, and the reason.

mod gguf;
mod index;
mod place;
mod safetensors;
#[path = "../samples/mod.rs"]
mod samples;

use quant::checkpoint::Checkpoint;

/// Files to write, what to open, and what the message must say.
struct Case {
    name: &'static str,
    files: Vec<(String, Vec<u8>)>,
    /// Relative to the folder of the files; empty for the folder itself.
    open: &'static str,
    /// Parts of the message in their order, the file's name first.
    says: &'static [&'static str],
}

/// One bad file.
fn file(name: &'static str, open: &'static str, content: Vec<u8>, says: &'static [&'static str]) -> Case {
    Case { name, files: vec![(open.to_owned(), content)], open, says }
}

/// A folder.
fn folder(name: &'static str, files: &[(&str, &[u8])], says: &'static [&'static str]) -> Case {
    let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
    Case { name, files, open: "", says }
}

/// The message that opening the case's path, or else reading its tensors, gives.
fn refusal(case: &Case) -> String {
    let place = tempfile::tempdir().unwrap();
    for (name, content) in &case.files {
        std::fs::write(place.path().join(name), content).unwrap();
    }
    let opened = Checkpoint::open(&place.path().join(case.open));
    let read = opened.and_then(|checkpoint| {
        (0..checkpoint.tensors().len()).try_for_each(|tensor| checkpoint.read_samples(tensor).map(drop))
    });
    let error = read.expect_err(case.name);
    assert!(error.is_refused_input(), "{}: {error}", case.name);
    let message = error.to_string();
    assert!(message.contains(place.path().to_str().unwrap()), "{}: no path in {message}", case.name);
    message
}

/// True when `parts` occur in `message` one after the other.
fn in_order(message: &str, parts: &[&str]) -> bool {
    let rest = parts.iter().try_fold(message, |rest, part| rest.split_once(part).map(|(_, rest)| rest));
    rest.is_some()
}

fn check(cases: Vec<Case>, count_min: usize) {
    assert!(cases.len() >= count_min, "only {} cases", cases.len());
    let wrong = cases.iter().filter_map(|case| {
        let message = refusal(case);
        (!in_order(&message, case.says)).then(|| format!("{}: {message}\n  expected {:?}", case.name, case.says))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn places() {
    check(place::cases(), 14);
}

#[test]
fn safetensors_files() {
    check(safetensors::cases(), 35);
}

#[test]
fn indexes() {
    check(index::cases(), 23);
}

#[test]
fn gguf_files() {
    check(gguf::cases(), 38);
}
