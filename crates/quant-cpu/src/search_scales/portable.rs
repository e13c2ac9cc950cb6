//! The cost of one candidate, for any codebook and any instructions.

use crate::level::Level;
use quant_core::scale::ScaleSearch;

/// Up to this many levels are tried one by one, which vectorises; beyond it the nearest is searched.
const TRIED_MAX: usize = 16;

/// Σ min_k (x̂ − ŷ_k)² for levels stretched to a span; a negative span stands for −x̂, which is the same as −ŷ.
pub(super) fn cost(level: Level, search: &ScaleSearch, scaled: &[i16], span: i32) -> u64 {
    let count = search.levels_q15.len();
    assert!(count <= 256, "a code has 8 bits at most");
    let sign = span.signum() as i16;
    let stretched = |&c: &i16| sign * ((i32::from(c) * span.abs() + (1 << 14)) >> 15) as i16;
    let mut levels = [0; 256];
    levels.iter_mut().zip(&search.levels_q15).for_each(|(y, c)| *y = stretched(c));
    let levels = &mut levels[..count];
    if count <= TRIED_MAX {
        return level.vectorize(
            #[inline(always)]
            || cost_tried(level, scaled, levels),
        );
    }
    if sign < 0 {
        levels.reverse();
    }
    scaled.iter().map(|&x| squared_error_searched(x, levels)).sum()
}

#[inline(always)]
fn cost_tried(level: Level, scaled: &[i16], levels: &[i16]) -> u64 {
    let (blocks, rest) = scaled.as_chunks::<64>();
    let mut cost = 0;
    // Not `map` and `sum`: what the compiler does not inline into the caller is not compiled for its instructions.
    for block in blocks {
        cost += cost_of_block(level, block, levels);
    }
    for &x in rest {
        let error = levels.iter().map(|&y| (x - y).unsigned_abs()).min().unwrap_or(0);
        cost += u64::from(error) * u64::from(error);
    }
    cost
}

#[inline(always)]
fn cost_of_block(level: Level, block: &[i16; 64], levels: &[i16]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if level.has_avx2() {
        // SAFETY: the level was proved available when it was made.
        return unsafe { super::avx2::cost_of_block(block, levels) };
    }
    let _ = level;
    cost_of_block_portable(block, levels)
}

/// |x̂ − ŷ| ≤ 8192 + 12480, so a lane's four squares stay below 2³¹.
#[inline(always)]
fn cost_of_block_portable(block: &[i16; 64], levels: &[i16]) -> u64 {
    let mut lanes = [0u32; 16];
    for block in block.as_chunks::<16>().0 {
        let mut errors = [i16::MAX; 16];
        for &y in levels {
            for i in 0..16 {
                errors[i] = errors[i].min(block[i].wrapping_sub(y).wrapping_abs());
            }
        }
        for i in 0..16 {
            let error = i32::from(errors[i]);
            lanes[i] = lanes[i].wrapping_add(error.wrapping_mul(error) as u32);
        }
    }
    lanes.iter().map(|&sum| u64::from(sum)).sum()
}

fn squared_error_searched(x: i16, levels: &[i16]) -> u64 {
    let above = levels.partition_point(|&y| y < x);
    let beside = &levels[above.saturating_sub(1)..(above + 1).min(levels.len())];
    let error = beside.iter().map(|&y| (x - y).unsigned_abs()).min().unwrap_or(0);
    u64::from(error) * u64::from(error)
}
