//! How codes are packed: `bit_width` bits each, low bits first, every row starting on a byte of its own.
//!
//! Code `i` of a row occupies bits `i·b … i·b + b − 1` of the row, bit `n` being bit `n mod 8` of byte `n / 8`. At
//! 4 bits the first code is the low nibble.

/// The bits of one code, 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BitWidth(u8);

/// A bit width outside 1…8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bits per code; the allowed range is 1 to 8")]
pub struct BitWidthOutOfRange(pub u32);

impl BitWidth {
    /// Checks the range 1…8.
    pub fn new(bits: u32) -> Result<Self, BitWidthOutOfRange> {
        if (1..=8).contains(&bits) { Ok(Self(bits as u8)) } else { Err(BitWidthOutOfRange(bits)) }
    }

    /// Bits of one code.
    pub fn bits(self) -> usize {
        usize::from(self.0)
    }

    /// Levels that a code can name: 2^bits.
    pub fn level_count(self) -> usize {
        1 << self.0
    }

    /// Whole codes that every byte of a packed row holds; 0 where codes go across bytes.
    pub fn codes_per_byte(self) -> usize {
        if 8 % self.bits() == 0 { 8 / self.bits() } else { 0 }
    }

    /// Bytes of a packed row of `columns` codes.
    pub fn row_len_bytes(self, columns: usize) -> usize {
        (columns * self.bits()).div_ceil(8)
    }
}

/// Packs one row; `packed` must have [`BitWidth::row_len_bytes`] bytes, and unused high bits become 0.
///
/// ```
/// use quant_core::codes::{pack_row, unpack_row, BitWidth};
/// let width = BitWidth::new(3).unwrap();
/// let mut packed = [0; 2];
/// pack_row(&[1, 7, 2, 5], width, &mut packed);
/// assert_eq!(packed, [0b10_111_001, 0b0000_101_0]);
/// let mut codes = [0; 4];
/// unpack_row(&packed, width, &mut codes);
/// assert_eq!(codes, [1, 7, 2, 5]);
/// ```
pub fn pack_row(codes: &[u8], width: BitWidth, packed: &mut [u8]) {
    assert_eq!(packed.len(), width.row_len_bytes(codes.len()), "a packed row has a fixed length");
    let bits = width.bits();
    let (mut word, mut filled, mut next) = (0u32, 0, 0);
    for &code in codes {
        debug_assert!(usize::from(code) < width.level_count(), "code {code} at {bits} bits");
        word |= u32::from(code) << filled;
        filled += bits;
        if filled >= 8 {
            packed[next] = word as u8;
            (word, filled, next) = (word >> 8, filled - 8, next + 1);
        }
    }
    if filled > 0 {
        packed[next] = word as u8;
    }
}

/// Unpacks one row into `codes.len()` codes.
pub fn unpack_row(packed: &[u8], width: BitWidth, codes: &mut [u8]) {
    assert_eq!(packed.len(), width.row_len_bytes(codes.len()), "a packed row has a fixed length");
    if width.bits() == 4 {
        return unpack_nibbles(packed, codes);
    }
    for (i, code) in codes.iter_mut().enumerate() {
        *code = code_at(packed, width, i);
    }
}

fn unpack_nibbles(packed: &[u8], codes: &mut [u8]) {
    let (pairs, rest) = codes.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(packed) {
        *pair = [byte & 15, byte >> 4];
    }
    if let (Some(code), Some(byte)) = (rest.first_mut(), packed.last()) {
        *code = byte & 15;
    }
}

/// Adds to `counts` the codes of bytes of which `bytes[byte]` occur; none where bytes do not hold whole codes.
pub fn add_codes_of_bytes(bytes: &[u64; 256], width: BitWidth, counts: &mut [u64]) {
    for (byte, &count) in (0..=u8::MAX).zip(bytes) {
        (0..width.codes_per_byte()).for_each(|i| counts[usize::from(code_at(&[byte], width, i))] += count);
    }
}

/// Code `index` of a packed row.
#[inline]
pub fn code_at(packed: &[u8], width: BitWidth, index: usize) -> u8 {
    let bit = index * width.bits();
    let low = u32::from(packed[bit / 8]);
    let high = packed.get(bit / 8 + 1).map_or(0, |&b| u32::from(b));
    (((low | high << 8) >> (bit % 8)) as usize & (width.level_count() - 1)) as u8
}
