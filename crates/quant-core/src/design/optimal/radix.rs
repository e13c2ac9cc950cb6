//! Sorting in linear time: least digit first (Knuth, TAOCP vol. 3, 5.2.5).

const DIGIT_BITS: u32 = 11;
const DIGIT_COUNT: usize = 1 << DIGIT_BITS;

/// Below this many keys the counters of the digits cost more than a comparison sort.
const KEYS_MIN: usize = 512;

/// Sorts keys. The upper 32 bits are sorted by digits; keys that agree there are few, and are then sorted by the rest.
pub fn sort_by_upper_half(keys: &mut Vec<u64>) {
    if keys.len() < KEYS_MIN || keys.len() > u32::MAX as usize {
        keys.sort_unstable();
        return;
    }
    let mut counts = vec![[0u32; DIGIT_COUNT]; 3];
    for &key in keys.iter() {
        (0..3).for_each(|pass| counts[pass][digit(key, pass)] += 1);
    }
    let mut other = vec![0; keys.len()];
    for (pass, counts) in counts.iter_mut().enumerate() {
        if counts[digit(keys[0], pass)] as usize == keys.len() {
            continue;
        }
        scatter(keys, &mut other, counts, pass);
        std::mem::swap(keys, &mut other);
    }
    sort_ties(keys);
}

#[inline(always)]
fn digit(key: u64, pass: usize) -> usize {
    (key >> (32 + pass as u32 * DIGIT_BITS)) as usize & (DIGIT_COUNT - 1)
}

fn scatter(from: &[u64], to: &mut [u64], counts: &mut [u32; DIGIT_COUNT], pass: usize) {
    let mut place = 0;
    for count in counts.iter_mut() {
        place += std::mem::replace(count, place);
    }
    for &key in from {
        let place = &mut counts[digit(key, pass)];
        to[*place as usize] = key;
        *place += 1;
    }
}

fn sort_ties(keys: &mut [u64]) {
    let mut start = 0;
    while start < keys.len() {
        let value = keys[start] >> 32;
        let mut end = start + 1;
        let mut ascending = true;
        while end < keys.len() && keys[end] >> 32 == value {
            ascending &= keys[end - 1] <= keys[end];
            end += 1;
        }
        if !ascending {
            keys[start..end].sort_unstable();
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_like_integers() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state
        };
        for (len, mask) in [(0, 0), (511, !0), (512, !0), (5000, !0), (3000, 0xff_0000_0003), (3000, 0x7_ffff_ffff)] {
            let mut keys: Vec<u64> = (0..len).map(|_| next() & mask).collect();
            let mut expected = keys.clone();
            expected.sort_unstable();
            sort_by_upper_half(&mut keys);
            assert_eq!(keys, expected);
        }
    }
}
