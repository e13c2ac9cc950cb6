//! Codes coded to their entropy.
//!
//! One static model for all codes, their frequencies, and asymmetric numeral systems (Duda 2009) with 64-bit state and
//! 32-bit words from the `constriction` crate: the size exceeds n·H by a few words and by the rounding of frequencies
//! to 24 bits, below 1e-4 of the size unless levels are thousands.

use crate::measure::entropy_bits;
use constriction::stream::Decode;
use constriction::stream::model::DefaultContiguousCategoricalEntropyModel as Model;
use constriction::stream::stack::DefaultAnsCoder as Coder;

/// Frequencies add up to 2^24.
const PRECISION: u32 = 24;

/// Levels at most; with more, frequencies of 24 bits would no longer do.
pub const LEVEL_COUNT_MAX: usize = 4096;

/// Codes after coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntropyCoded {
    /// The coded codes; the coder reads them from the end.
    pub words: Vec<u32>,
    /// Frequency of each code over 2^24; 0 for one that does not occur.
    pub frequencies: Vec<u32>,
    /// How many codes were coded.
    pub code_count: usize,
}

/// Why codes were refused, or could not be recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntropyCodingError {
    /// More levels than the model can tell apart.
    #[error("{0} levels; at most {LEVEL_COUNT_MAX} can be coded")]
    LevelCount(usize),
    /// A code is not below the level count.
    #[error("code {index} is {code}; there are {level_count} levels")]
    Code {
        /// Its position.
        index: usize,
        /// The code.
        code: u16,
        /// Levels.
        level_count: usize,
    },
    /// Frequencies do not add up to 2^24, or the words do not end as the coder leaves them.
    #[error("the coded data are damaged")]
    Damaged,
}

impl EntropyCoded {
    /// Codes `codes`, each below `level_count`.
    ///
    /// ```
    /// use quant_core::entropy_coding::EntropyCoded;
    /// let codes: Vec<u16> = (0..80_000).map(|i| if i % 8 == 0 { 1 } else { 0 }).collect();
    /// let coded = EntropyCoded::encode(&codes, 4).unwrap();
    /// assert_eq!(coded.decode().unwrap(), codes);
    /// assert!((coded.payload_bits() as f64 / 80_000.0 - 0.5435644).abs() < 1e-3); // H(1/8)
    /// ```
    pub fn encode(codes: &[u16], level_count: usize) -> Result<Self, EntropyCodingError> {
        if level_count > LEVEL_COUNT_MAX {
            return Err(EntropyCodingError::LevelCount(level_count));
        }
        if let Some(index) = codes.iter().position(|&code| usize::from(code) >= level_count) {
            return Err(EntropyCodingError::Code { index, code: codes[index], level_count });
        }
        let mut counts = vec![0u64; level_count];
        codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
        let model = CodeModel::of_counts(&counts)?;
        let words = model.encode(codes);
        Ok(Self { words, frequencies: model.frequencies, code_count: codes.len() })
    }

    /// The codes.
    pub fn decode(&self) -> Result<Vec<u16>, EntropyCodingError> {
        CodeModel::of_frequencies(self.frequencies.clone())?.decode(self.words.clone(), self.code_count)
    }

    /// Bits of the coded codes.
    pub fn payload_bits(&self) -> u64 {
        32 * self.words.len() as u64
    }

    /// Bits of the model: 24 for each level.
    pub fn model_bits(&self) -> u64 {
        u64::from(PRECISION) * self.frequencies.len() as u64
    }
}

/// One model for many runs of codes, each coded by itself: what is decoded in parts, or by several at once.
#[derive(Clone, Debug)]
pub struct CodeModel {
    frequencies: Vec<u32>,
    /// The codes that occur, ascending.
    used: Vec<u16>,
    /// Position of each code in `used`.
    symbols: Vec<usize>,
    /// None where fewer than two codes occur.
    model: Option<Model>,
}

impl CodeModel {
    /// The model of codes that occur so often.
    pub fn of_counts(counts: &[u64]) -> Result<Self, EntropyCodingError> {
        Self::of_frequencies(rounded_frequencies(counts))
    }

    /// The model that [`Self::frequencies`] describes.
    pub fn of_frequencies(frequencies: Vec<u32>) -> Result<Self, EntropyCodingError> {
        let level_count = frequencies.len();
        if level_count > LEVEL_COUNT_MAX {
            return Err(EntropyCodingError::LevelCount(level_count));
        }
        let sum: u64 = frequencies.iter().map(|&f| u64::from(f)).sum();
        if sum != 0 && sum != 1 << PRECISION {
            return Err(EntropyCodingError::Damaged);
        }
        let used: Vec<u16> = (0..level_count).filter(|&k| frequencies[k] > 0).map(|k| k as u16).collect();
        let mut symbols = vec![0; level_count];
        used.iter().enumerate().for_each(|(index, &code)| symbols[usize::from(code)] = index);
        let nonzero = used.iter().map(|&code| frequencies[usize::from(code)]);
        let model = (used.len() > 1).then(|| Model::from_nonzero_fixed_point_probabilities(nonzero, false));
        let model = model.transpose().map_err(|()| EntropyCodingError::Damaged)?;
        Ok(Self { frequencies, used, symbols, model })
    }

    /// Frequency of each code over 2^24; 0 for one that does not occur.
    pub fn frequencies(&self) -> &[u32] {
        &self.frequencies
    }

    /// Codes a run.
    ///
    /// # Panics
    /// When a code is among them that does not occur in the model.
    pub fn encode<C: Copy + Into<u16>>(&self, codes: &[C]) -> Vec<u32> {
        let Some(model) = &self.model else { return Vec::new() };
        let mut coder = Coder::new();
        let symbols = codes.iter().map(|&code| self.symbols[usize::from(code.into())]);
        coder.encode_iid_symbols_reverse(symbols, model).expect("every code that occurs has a frequency");
        coder.into_compressed().expect("a vector takes every word")
    }

    /// The `count` codes of a run.
    pub fn decode(&self, words: Vec<u32>, count: usize) -> Result<Vec<u16>, EntropyCodingError> {
        let Some(model) = &self.model else {
            let only = self.used.first().copied().unwrap_or(0);
            return if words.is_empty() { Ok(vec![only; count]) } else { Err(EntropyCodingError::Damaged) };
        };
        let mut coder = Coder::from_compressed(words).map_err(|_| EntropyCodingError::Damaged)?;
        let symbols = coder.decode_iid_symbols(count, model);
        let codes: Result<Vec<u16>, _> = symbols.map(|s| s.map(|s| self.used[s])).collect();
        let codes = codes.map_err(|_| EntropyCodingError::Damaged)?;
        // A coder that has decoded all is as it was before the first code.
        if coder.is_empty() { Ok(codes) } else { Err(EntropyCodingError::Damaged) }
    }
}

/// n·H in bits: what no static code of these codes can go below.
pub fn ideal_bits(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 { 0.0 } else { total as f64 * entropy_bits(counts) }
}

/// ⌊count · 2^24 / total⌋, at least 1 where the code occurs; the most frequent code takes up the difference.
fn rounded_frequencies(counts: &[u64]) -> Vec<u32> {
    let total = u128::from(counts.iter().sum::<u64>());
    if total == 0 {
        return vec![0; counts.len()];
    }
    let share = |&n: &u64| if n == 0 { 0 } else { ((u128::from(n) << PRECISION) / total).max(1) as i64 };
    let mut frequencies: Vec<i64> = counts.iter().map(share).collect();
    let most = (0..counts.len()).max_by_key(|&k| counts[k]).expect("a code occurs");
    frequencies[most] += (1 << PRECISION) - frequencies.iter().sum::<i64>();
    frequencies.into_iter().map(|f| f as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes with shares that fall off by the given ratio, in a scrambled order.
    fn geometric(count: usize, level_count: u16, ratio: f64) -> Vec<u16> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        (0..count).map(|_| ((next().ln() / ratio.ln()) as u16).min(level_count - 1)).collect()
    }

    #[test]
    fn size_is_within_half_a_percent_of_entropy_and_model() {
        for (level_count, ratio) in [(2, 0.1), (16, 0.7), (255, 0.95), (256, 0.5), (4096, 0.999)] {
            let codes = geometric(200_000, level_count, ratio);
            let coded = EntropyCoded::encode(&codes, usize::from(level_count)).unwrap();
            assert_eq!(coded.decode().unwrap(), codes);
            let mut counts = vec![0; usize::from(level_count)];
            codes.iter().for_each(|&c| counts[usize::from(c)] += 1);
            let expected = ideal_bits(&counts) + coded.model_bits() as f64;
            let size = (coded.payload_bits() + coded.model_bits()) as f64;
            assert!((size / expected - 1.0).abs() < 0.005, "{level_count}: {size} for {expected}");
        }
    }

    #[test]
    fn few_codes_and_damaged_words() {
        for codes in [&[][..], &[3], &[3, 3, 3], &[0, 3]] {
            let coded = EntropyCoded::encode(codes, 4).unwrap();
            assert_eq!(coded.decode().unwrap(), codes);
        }
        let error = EntropyCoded::encode(&[0, 4], 4).unwrap_err();
        assert_eq!(error.to_string(), "code 1 is 4; there are 4 levels");
        let mut coded = EntropyCoded::encode(&geometric(100, 4, 0.5), 4).unwrap();
        coded.frequencies[0] += 1;
        assert_eq!(coded.decode(), Err(EntropyCodingError::Damaged));
    }

    /// As docs/format.md has it, without the library.
    fn by_the_specification(coded: &EntropyCoded) -> Vec<u16> {
        let mut words = coded.words.clone();
        let mut state = 0u64;
        for word in [words.pop(), words.pop()].into_iter().flatten() {
            state = state << 32 | u64::from(word);
        }
        let mut decode = || {
            let low = state % (1 << PRECISION);
            let (mut code, mut begin) = (0, 0);
            while low >= begin + u64::from(coded.frequencies[code]) {
                begin += u64::from(coded.frequencies[code]);
                code += 1;
            }
            state = u64::from(coded.frequencies[code]) * (state >> PRECISION) + low - begin;
            if state < 1 << 32 {
                state = words.pop().map_or(state, |word| state << 32 | u64::from(word));
            }
            code as u16
        };
        let codes = (0..coded.code_count).map(|_| decode()).collect();
        assert!(words.is_empty() && state == 0, "{state}");
        codes
    }

    #[test]
    fn words_are_what_the_format_says() {
        for (count, level_count) in [(1, 4), (7, 16), (3000, 16), (3000, 256)] {
            let codes = geometric(count, level_count, 0.8);
            let coded = EntropyCoded::encode(&codes, usize::from(level_count)).unwrap();
            if coded.frequencies.iter().filter(|f| **f > 0).count() > 1 {
                assert_eq!(by_the_specification(&coded), codes);
            }
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let codes = geometric(500, 16, 0.6);
        let coded = EntropyCoded::encode(&codes, 16).unwrap();
        for (word, byte) in (0..coded.words.len()).flat_map(|word| (0..4).map(move |byte| (word, byte))) {
            let mut damaged = coded.clone();
            damaged.words[word] ^= 0x55 << (8 * byte);
            assert_eq!(damaged.decode(), Err(EntropyCodingError::Damaged), "byte {byte} of word {word}");
        }
        // No words at all are a run of the first code: nothing here tells how many there should be.
        for len in 1..coded.words.len() {
            let cut = EntropyCoded { words: coded.words[..len].to_vec(), ..coded.clone() };
            assert_eq!(cut.decode(), Err(EntropyCodingError::Damaged), "cut to {len} words");
        }
    }
}
