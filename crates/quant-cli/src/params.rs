//! Named numbers (`--param nu=5`) for sources and designers; a name that nobody asked for is refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use quant::Error;

/// The numbers given, and the names that were asked for.
#[derive(Debug)]
pub struct Params {
    given: Vec<(String, f64)>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl Params {
    /// Numbers as typed; a name given twice counts as typed last.
    pub fn new(given: &[(String, f64)]) -> Self {
        Self { given: given.to_vec(), asked: RefCell::default() }
    }

    /// The number called `name`, if given.
    pub fn optional(&self, name: &'static str) -> Option<f64> {
        self.asked.borrow_mut().insert(name);
        self.given.iter().rev().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// The number called `name`, or `default`.
    pub fn get(&self, name: &'static str, default: f64) -> f64 {
        self.optional(name).unwrap_or(default)
    }

    /// A whole number called `name`, or `default`.
    pub fn count(&self, name: &'static str, default: usize) -> Result<usize, Error> {
        match self.optional(name) {
            None => Ok(default),
            Some(x) if x.fract() == 0.0 && (0.0..=1e9).contains(&x) => Ok(x as usize),
            Some(x) => Err(Error::Refused(format!("{name} is {x}; it must be a whole number"))),
        }
    }

    /// Refuses names that neither the source nor the designer asked for.
    pub fn finish(&self) -> Result<(), Error> {
        let asked = self.asked.borrow();
        let Some((name, _)) = self.given.iter().find(|(n, _)| !asked.contains(n.as_str())) else { return Ok(()) };
        let known: Vec<&str> = asked.iter().copied().collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        Err(Error::Refused(format!("--param {name}: neither the source nor the designer has it; known here: {known}")))
    }
}
