//! Sorting in linear time: least digit first (Knuth, TAOCP vol. 3, 5.2.5).

const DIGIT_BITS: u32 = 11;
const DIGIT_COUNT: usize = 1 << DIGIT_BITS;

/// Below this many keys the counters of the digits cost more than a comparison sort.
const KEYS_MIN: usize = 512;

/// What is sorted by digits.
pub trait Key: Copy + Ord + Default {
    /// Whether keys of one head can differ.
    const HAS_REST: bool;

    /// Its upper 32 bits, which are sorted by digits.
    fn head(self) -> u32;
}

impl Key for u32 {
    const HAS_REST: bool = false;

    #[inline(always)]
    fn head(self) -> u32 {
        self
    }
}

impl Key for u64 {
    const HAS_REST: bool = true;

    #[inline(always)]
    fn head(self) -> u32 {
        (self >> 32) as u32
    }
}

/// Sorts keys. Heads are sorted by digits; keys that agree there are few, and are then sorted by the rest.
pub fn sort<K: Key>(keys: &mut Vec<K>) {
    if keys.len() < KEYS_MIN || keys.len() > u32::MAX as usize {
        keys.sort_unstable();
        return;
    }
    let mut counts = vec![[0u32; DIGIT_COUNT]; 3];
    for &key in keys.iter() {
        (0..3).for_each(|pass| counts[pass][digit(key, pass)] += 1);
    }
    let mut other = vec![K::default(); keys.len()];
    for (pass, counts) in counts.iter_mut().enumerate() {
        if counts[digit(keys[0], pass)] as usize == keys.len() {
            continue;
        }
        scatter(keys, &mut other, counts, pass);
        std::mem::swap(keys, &mut other);
    }
    if K::HAS_REST {
        sort_ties(keys);
    }
}

#[inline(always)]
fn digit(key: impl Key, pass: usize) -> usize {
    (key.head() >> (pass as u32 * DIGIT_BITS)) as usize & (DIGIT_COUNT - 1)
}

fn scatter<K: Key>(from: &[K], to: &mut [K], counts: &mut [u32; DIGIT_COUNT], pass: usize) {
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

fn sort_ties(keys: &mut [impl Key]) {
    let mut start = 0;
    while start < keys.len() {
        let head = keys[start].head();
        let mut end = start + 1;
        let mut ascending = true;
        while end < keys.len() && keys[end].head() == head {
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
            let mut heads: Vec<u32> = keys.iter().map(|&key| key as u32).collect();
            sort(&mut keys);
            assert_eq!(keys, expected);
            let mut expected = heads.clone();
            expected.sort_unstable();
            sort(&mut heads);
            assert_eq!(heads, expected);
        }
    }
}
