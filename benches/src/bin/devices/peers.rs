//! What do Python packages take for the same, in the same rounds?

use crate::data::{COLUMNS, Data};
use crate::workloads::Workload;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A Python process that has the samples, and does a workload when asked.
pub struct Peers {
    process: RefCell<(Child, BufReader<ChildStdout>)>,
    /// Where the samples lie for it.
    file: PathBuf,
    /// What it said of itself: device, versions, and which peer does which workload.
    greeting: Value,
    /// Mean squared errors, and reasons of refusals, by peer and workload.
    errors: RefCell<BTreeMap<(String, String), Value>>,
}

/// Workloads that peers know, as the table has them; bytes that must move for each sample.
const WORKLOADS: [(&str, f64); 5] = [
    ("memory copy", 8.0),
    ("absmax + encode nf4, 64", 4.5625),
    ("decode nf4, group 64", 4.5625),
    ("vectors, d = 8, k = 256", 4.0),
    ("vectors, d = 128, k = 1024", 4.0),
];

impl Peers {
    /// Starts `script` with `python`, which finds the samples in `folder`.
    pub fn start(data: &Data, [python, script, folder]: [&Path; 3]) -> Result<Self> {
        let file = folder.join("samples.f32");
        std::fs::create_dir_all(folder)?;
        std::fs::write(&file, bytemuck::cast_slice(&data.samples)).context("samples cannot be handed to peers")?;
        let mut command = Command::new(python);
        command.arg(script).arg(&file).args([COLUMNS.to_string(), data.fitted().rows().to_string()]);
        // Threads that wait by spinning slow torch's own next step by a factor of 3, and whoever has the next turn.
        command.env("OMP_WAIT_POLICY", "passive");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut answers = BufReader::new(process.stdout.take().context("its output was asked for")?);
        let mut line = String::new();
        let greeting = answers.read_line(&mut line).ok().and_then(|_| serde_json::from_str(&line).ok());
        let Some(greeting) = greeting else {
            drop(process.stdin.take());
            let _ = (process.wait(), std::fs::remove_file(&file));
            bail!("the peers did not start");
        };
        Ok(Self { process: RefCell::new((process, answers)), file, greeting, errors: RefCell::default() })
    }

    /// Whether they run on a GPU; else on the processor.
    pub fn is_on_gpu(&self) -> bool {
        self.greeting["is_on_gpu"] == true
    }

    /// All that they know, one for each peer.
    pub fn workloads(&self, data: &Data) -> Vec<Workload<'_>> {
        let mut list = Vec::new();
        for pair in self.greeting["workloads"].as_array().into_iter().flatten() {
            let (peer, asked) = (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
            let Some((name, bytes)) = WORKLOADS.iter().find(|(name, _)| *name == asked) else { continue };
            let samples = if name.starts_with("vectors") { data.fitted().len() } else { data.samples.len() };
            let workload = Workload::told(name, *bytes, samples, move || self.ask(peer, name));
            list.push(Workload { peer: Some(peer.to_owned()), ..workload });
        }
        list
    }

    /// Seconds of one run; not a number where the peer refuses, which it is asked once only.
    fn ask(&self, peer: &str, name: &str) -> f64 {
        let key = (peer.to_owned(), name.to_owned());
        if self.errors.borrow().get(&key).is_some_and(Value::is_string) {
            return f64::NAN;
        }
        let answer = self.answer(&json!([peer, name])).unwrap_or_else(|fault| json!({"refused": fault.to_string()}));
        let refused = answer["refused"].is_string();
        let error = if refused { &answer["refused"] } else { &answer["mse"] };
        self.errors.borrow_mut().insert(key, error.clone());
        answer["seconds"].as_f64().unwrap_or(f64::NAN)
    }

    fn answer(&self, request: &Value) -> Result<Value> {
        let (process, answers) = &mut *self.process.borrow_mut();
        writeln!(process.stdin.as_mut().context("its input was asked for")?, "{request}")?;
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            bail!("the peers' process ended");
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Mean squared error of what a peer found.
    pub fn mse(&self, peer: &str, name: &str) -> Option<f64> {
        self.errors.borrow().get(&(peer.to_owned(), name.to_owned()))?.as_f64()
    }

    /// Ends the process; what it said of itself, and what was refused and why.
    pub fn finish(self) -> Value {
        let (mut process, answers) = self.process.into_inner();
        drop((process.stdin.take(), answers));
        // It ends with its input; what it says then, and whether the file can be removed, changes no figure.
        let _ = (process.wait(), std::fs::remove_file(&self.file));
        let errors = self.errors.into_inner();
        let refused =
            errors.iter().filter_map(|((peer, name), why)| Some(format!("{peer}, {name}: {}", why.as_str()?)));
        let mut facts = self.greeting;
        facts["refused"] = json!(refused.collect::<Vec<_>>());
        facts
    }
}
