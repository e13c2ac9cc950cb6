//! How many multiply-adds does this machine do a second? What kernels bound by them are measured against.

use crate::Cpu;
use rayon::prelude::*;

/// Sums side by side, so that none waits for the one before: five cycles of two instructions at most.
const CHAINS: usize = 10;

/// Does `steps` · [`CHAINS`] multiply-adds of whole registers on each thread; how many operations that were, a
/// multiply-add counting as two, and a sum of the results, without which they would not be done.
pub(crate) fn multiply_adds(cpu: &Cpu, steps: usize) -> (f64, f32) {
    let wide = cpu.level.has_avx512();
    let of_thread = |_| {
        cpu.level.vectorize(
            #[inline(always)]
            || if wide { chains::<16>(steps) } else { chains::<8>(steps) },
        )
    };
    let threads = cpu.thread_count();
    let sum = cpu.pool.install(|| (0..threads).into_par_iter().with_max_len(1).map(of_thread).sum());
    let lanes = if wide { 16 } else { 8 };
    (2.0 * (threads * steps * CHAINS * lanes) as f64, sum)
}

#[inline(always)]
fn chains<const LANES: usize>(steps: usize) -> f32 {
    let (factor, term) = (std::hint::black_box([0.999f32; LANES]), std::hint::black_box([0.001f32; LANES]));
    let mut sums = [[0.0f32; LANES]; CHAINS];
    for _ in 0..steps {
        for sums in &mut sums {
            for lane in 0..LANES {
                sums[lane] = sums[lane].mul_add(factor[lane], term[lane]);
            }
        }
    }
    sums.iter().flatten().sum()
}
