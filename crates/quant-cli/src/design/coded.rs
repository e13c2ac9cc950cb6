//! What the codes of a file's samples take when they are coded to their entropy, by coding them.

use quant_core::codebook::Codebook;
use quant_core::entropy_coding::{EntropyCoded, LEVEL_COUNT_MAX, ideal_bits};
use serde_json::{Value, json};

/// Sizes in bits.
pub struct Coded {
    code_count: usize,
    payload_bits: u64,
    model_bits: u64,
    ideal_bits: f64,
}

/// Codes all samples, and decodes them again; none for more levels than the coder takes.
pub fn measure(values: &[f64], codebook: &Codebook) -> Option<Coded> {
    let level_count = codebook.levels().len();
    if level_count > LEVEL_COUNT_MAX {
        return None;
    }
    let codes: Vec<u16> = values.iter().map(|&x| codebook.encode(x) as u16).collect();
    let mut counts = vec![0u64; level_count];
    codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
    let coded = EntropyCoded::encode(&codes, level_count).expect("codes are below the level count");
    assert_eq!(coded.decode().as_ref(), Ok(&codes), "entropy coding is exact");
    Some(Coded {
        code_count: codes.len(),
        payload_bits: coded.payload_bits(),
        model_bits: coded.model_bits(),
        ideal_bits: ideal_bits(&counts),
    })
}

impl Coded {
    fn excess_percent(&self) -> f64 {
        let ideal = self.ideal_bits + self.model_bits as f64;
        100.0 * ((self.payload_bits + self.model_bits) as f64 / ideal - 1.0)
    }

    /// A line for people.
    pub fn text(&self) -> String {
        format!(
            "{} bits and a model of {} for {} codes, {:.4} bits each; n·H and model {:+.3} %",
            self.payload_bits,
            self.model_bits,
            self.code_count,
            self.payload_bits as f64 / self.code_count as f64,
            self.excess_percent()
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "code_count": self.code_count,
            "payload_bits": self.payload_bits,
            "model_bits": self.model_bits,
            "ideal_bits": self.ideal_bits,
            "excess_percent": self.excess_percent(),
        })
    }
}
