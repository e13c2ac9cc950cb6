//! Packing and unpacking of tiles, eight codes at a time: eight codes of b bits are b bytes.

use quant_core::codes::{BitWidth, pack_row};

/// Packs `codes`; `packed` has exactly the bytes they need, and unused high bits become 0.
#[inline(always)]
pub(crate) fn pack(codes: &[u8], width: BitWidth, packed: &mut [u8]) {
    match width.bits() {
        8 => packed.copy_from_slice(codes),
        4 => pack_nibbles(codes, packed),
        bits => {
            let (eights, rest) = codes.as_chunks::<8>();
            let (whole, tail) = packed.split_at_mut(eights.len() * bits);
            for (eight, bytes) in eights.iter().zip(whole.chunks_exact_mut(bits)) {
                let word = (0..8).fold(0u64, |word, i| word | u64::from(eight[i]) << (i * bits));
                bytes.copy_from_slice(&word.to_le_bytes()[..bits]);
            }
            pack_row(rest, width, tail);
        }
    }
}

#[inline(always)]
fn pack_nibbles(codes: &[u8], packed: &mut [u8]) {
    let (pairs, rest) = codes.as_chunks::<2>();
    packed.iter_mut().zip(pairs).for_each(|(byte, &[low, high])| *byte = low | high << 4);
    if let ([code], Some(byte)) = (rest, packed.last_mut()) {
        *byte = *code;
    }
}

/// Unpacks codes from `first` on, a multiple of 8, of a packed row.
#[inline(always)]
pub(crate) fn unpack(packed_row: &[u8], width: BitWidth, first: usize, codes: &mut [u8]) {
    let bits = width.bits();
    let packed = &packed_row[first / 8 * bits..];
    let packed = &packed[..width.row_len_bytes(codes.len())];
    match bits {
        8 => codes.copy_from_slice(packed),
        4 => unpack_nibbles(packed, codes),
        _ => {
            let mask = width.level_count() - 1;
            for (eight, bytes) in codes.chunks_mut(8).zip(packed.chunks(bits)) {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                let word = u64::from_le_bytes(word);
                let code_at = |i: usize| (word >> (i * bits)) as u8 & mask as u8;
                eight.iter_mut().enumerate().for_each(|(i, code)| *code = code_at(i));
            }
        }
    }
}

#[inline(always)]
fn unpack_nibbles(packed: &[u8], codes: &mut [u8]) {
    let (pairs, rest) = codes.as_chunks_mut::<2>();
    pairs.iter_mut().zip(packed).for_each(|(pair, &byte)| *pair = [byte & 15, byte >> 4]);
    if let ([code], Some(byte)) = (rest, packed.last()) {
        *code = byte & 15;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant_core::codes::unpack_row;

    #[test]
    fn tiles_are_packed_like_rows() {
        for bits in 1..=8 {
            let width = BitWidth::new(bits).expect("1 to 8");
            for len in 0..70 {
                let codes: Vec<u8> = (0..len).map(|i| (i * 37 + len) as u8 & (width.level_count() - 1) as u8).collect();
                let (mut ours, mut theirs) = (vec![255; width.row_len_bytes(len)], vec![255; width.row_len_bytes(len)]);
                pack(&codes, width, &mut ours);
                pack_row(&codes, width, &mut theirs);
                assert_eq!(ours, theirs, "{len} codes of {bits} bits");
                let mut back = vec![255; len];
                unpack_row(&ours, width, &mut back);
                assert_eq!(back, codes);
                for first in (0..len).step_by(8) {
                    let mut part = vec![255; len - first];
                    unpack(&ours, width, first, &mut part);
                    assert_eq!(part, codes[first..], "from {first} of {len} codes of {bits} bits");
                }
            }
        }
    }
}
