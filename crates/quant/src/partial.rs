//! Output that is never half written under its final name, and can be continued after a kill.
//!
//! A run writes into `OUT.partial/` and keeps a journal `OUT.journal` beside it: one JSON line that identifies the run,
//! then one per finished tensor with its report and a checksum of each piece written. At the end the folder (or the
//! one file in it) is renamed to OUT and the journal is removed. A resumed run trusts a journalled tensor only when the
//! bytes in the partial output still have the recorded checksums.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::places::publish;
use crate::report::TensorReport;

/// What identifies a run: two runs with equal identities write equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the program.
    pub version: String,
    /// Fingerprint of the input.
    pub input: String,
    /// The recipe, the target and the choice of tensors, in words.
    pub instruction: String,
}

/// One finished tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Position in the checkpoint.
    pub tensor: usize,
    /// CRC-32 of each piece.
    pub checksums: Vec<u32>,
    /// Seconds since the run, or this part of it, began.
    pub seconds: f64,
    /// What to report.
    pub report: TensorReport,
}

/// An output in the making.
#[derive(Debug)]
pub struct Partial {
    output: PathBuf,
    folder: PathBuf,
    journal_path: PathBuf,
    journal: File,
    /// The journal that was there before, held until this run ends: whoever has opened it meanwhile is refused too.
    _before: Option<File>,
}

/// Work found in an earlier run's journal.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Finished tensors by position.
    pub finished: HashMap<usize, Finished>,
    /// Seconds that earlier parts of the run took.
    pub seconds: f64,
}

impl Earlier {
    /// The reports of all finished tensors, in the checkpoint's order.
    pub fn into_reports(self) -> Vec<TensorReport> {
        let mut finished: Vec<Finished> = self.finished.into_values().collect();
        finished.sort_by_key(|f| f.tensor);
        finished.into_iter().map(|f| f.report).collect()
    }
}

/// `output` with `suffix` added to its last name.
pub(crate) fn beside(output: &Path, suffix: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Partial {
    /// Starts an output, or continues one with `resume`, or starts over with `discard`. Refuses an unfinished run that
    /// nobody asked to continue or to discard, one that is still at work, and a folder of that name that is no run of ours.
    pub fn open(output: &Path, identity: &Identity, resume: bool, discard: bool) -> Result<(Self, Earlier), Error> {
        let (folder, journal_path) = (beside(output, ".partial"), beside(output, ".journal"));
        let (mut earlier, mut before) = (Earlier::default(), None);
        if folder.exists() || journal_path.exists() {
            refuse_foreign(&folder, &journal_path)?;
            before = Some(File::open(&journal_path).map_err(Error::io("open", &journal_path))?);
            before.iter().try_for_each(|journal| lock(journal, &folder))?;
            earlier = match (resume, discard) {
                (false, false) => {
                    return Err(Error::refused(format!(
                        "{}: an unfinished run is there; continue it with --resume or discard it with --overwrite",
                        folder.display()
                    )));
                }
                (true, false) => read_journal(&journal_path, identity)?,
                (true, true) => read_journal(&journal_path, identity).unwrap_or_default(),
                (false, true) => Earlier::default(),
            };
            if earlier.finished.is_empty() {
                remove(&folder, &journal_path)?;
            }
        }
        // The journal comes first and goes last: a folder without one is never ours.
        let journal = start_journal(&journal_path, identity, &earlier)?;
        lock(&journal, &folder)?;
        fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        Ok((Self { output: output.to_owned(), folder, journal_path, journal, _before: before }, earlier))
    }

    /// A run of this identity that was killed after OUT got its name and before its journal was removed: tidies up.
    pub fn finished_before(output: &Path, identity: &Identity, tensor_count: usize) -> Result<Option<Earlier>, Error> {
        let (folder, journal_path) = (beside(output, ".partial"), beside(output, ".journal"));
        if !output.exists() || !journal_path.exists() {
            return Ok(None);
        }
        let earlier = read_journal(&journal_path, identity)?;
        let emptied = fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
        if earlier.finished.len() < tensor_count || !emptied {
            return Ok(None);
        }
        remove(&folder, &journal_path)?;
        Ok(Some(earlier))
    }

    /// The folder to write into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records a finished tensor.
    pub fn record(&mut self, finished: &Finished) -> Result<(), Error> {
        let mut line = serde_json::to_string(finished).expect("a record is plain data");
        line.push('\n');
        self.journal.write_all(line.as_bytes()).map_err(Error::io("write", &self.journal_path))
    }

    /// Removes everything written so far.
    pub fn discard(self) -> Result<(), Error> {
        remove(&self.folder, &self.journal_path)
    }

    /// Moves the output to its final name: the folder itself, or the one file `single` in it.
    pub fn finish(self, single: Option<&str>) -> Result<(), Error> {
        let from = single.map_or(self.folder.clone(), |name| self.folder.join(name));
        sync_tree(&from)?;
        publish(&from, &self.output)?;
        remove(&self.folder, &self.journal_path)
    }
}

/// Refuses a run that another process, or another thread, is at. File systems that know no locks let everybody pass; so
/// does Windows, whose locks would keep us from reading the journal ourselves.
fn lock(journal: &File, folder: &Path) -> Result<(), Error> {
    if cfg!(unix) && matches!(journal.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(Error::refused(format!("{}: another run is writing it; wait for its end", folder.display())));
    }
    Ok(())
}

fn remove(folder: &Path, journal: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io("remove the folder", folder))?;
    }
    if journal.exists() {
        fs::remove_file(journal).map_err(Error::io("remove", journal))?;
    }
    Ok(())
}

/// Refuses to read what a run has not finished: tensors that it has not come to are zeros there.
pub(crate) fn refuse_unfinished(path: &Path) -> Result<(), Error> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for place in [Some(path.as_path()), path.parent()].into_iter().flatten() {
        if place.extension().is_some_and(|ending| ending == "partial") && is_of_a_run(&place.with_extension("journal"))
        {
            let (path, output) = (path.display(), place.with_extension(""));
            return Err(Error::refused(format!(
                "{path}: written by a run that has not come to its end; repeat its command (`quant quantize` with --resume) \
                 and read {}",
                output.display()
            )));
        }
    }
    Ok(())
}

fn is_of_a_run(journal: &Path) -> bool {
    let first = File::open(journal).ok().and_then(|file| BufReader::new(file).lines().next()?.ok());
    first.is_some_and(|line| serde_json::from_str::<Identity>(&line).is_ok())
}

/// Refuses a folder or a file that happens to have the name of an unfinished run.
fn refuse_foreign(folder: &Path, journal: &Path) -> Result<(), Error> {
    if is_of_a_run(journal) {
        return Ok(());
    }
    let path = if folder.exists() { folder } else { journal };
    Err(Error::refused(format!(
        "{}: exists and is not an unfinished run of this program; move it away or give OUT another name",
        path.display()
    )))
}

/// Writes the journal anew from what was read of it, so that a line cut short by a kill does not stay in the middle.
fn start_journal(path: &Path, identity: &Identity, earlier: &Earlier) -> Result<File, Error> {
    let mut text = serde_json::to_string(identity).expect("an identity is plain data") + "\n";
    let mut finished: Vec<_> = earlier.finished.values().collect();
    finished.sort_by_key(|f| f.tensor);
    for record in finished {
        text += &serde_json::to_string(record).expect("a record is plain data");
        text.push('\n');
    }
    let fresh = beside(path, ".new");
    fs::write(&fresh, text).map_err(Error::io("write", &fresh))?;
    fs::rename(&fresh, path).map_err(Error::io("rename", path))?;
    OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))
}

fn read_journal(path: &Path, identity: &Identity) -> Result<Earlier, Error> {
    let Ok(file) = File::open(path) else { return Ok(Earlier::default()) };
    let mut lines = BufReader::new(file).lines();
    let Some(Ok(first)) = lines.next() else { return Ok(Earlier::default()) };
    let known: Option<Identity> = serde_json::from_str(&first).ok();
    if known.as_ref() != Some(identity) {
        let was = known.map_or("an unreadable journal".into(), |k| difference(&k, identity));
        return Err(Error::refused(format!(
            "{}: cannot resume: {was}; use the same input and options, or discard it with --overwrite",
            path.display()
        )));
    }
    let mut earlier = Earlier::default();
    for record in lines.map_while(Result::ok).map_while(|line| serde_json::from_str::<Finished>(&line).ok()) {
        earlier.seconds = earlier.seconds.max(record.seconds);
        earlier.finished.insert(record.tensor, record);
    }
    Ok(earlier)
}

fn difference(was: &Identity, is: &Identity) -> String {
    if was.instruction != is.instruction {
        format!("the unfinished run was \"{}\", this one is \"{}\"", was.instruction, is.instruction)
    } else if was.version != is.version {
        format!("the unfinished run was made by version {}, this is {}", was.version, is.version)
    } else {
        "the input has changed since".into()
    }
}

/// Makes file contents durable before the rename that publishes them.
fn sync_tree(path: &Path) -> Result<(), Error> {
    if !path.is_dir() {
        return File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("sync", path));
    }
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        sync_tree(&entry.map_err(Error::io("list", path))?.path())?;
    }
    Ok(())
}
