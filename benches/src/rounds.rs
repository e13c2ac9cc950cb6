//! How is time taken on a noisy machine? Contestants in turn, round after round, and ratios within the run.

use rayon::prelude::*;
use std::time::Instant;

/// Something to time.
pub type Contestant<'a> = Box<dyn FnMut() + 'a>;

/// Runs every contestant once unmeasured, then `round_count` rounds, each starting with another contestant, so that
/// nobody always runs after the same neighbour. Returns seconds, per contestant and round.
pub fn interleave(contestants: &mut [Contestant<'_>], round_count: usize) -> Vec<Vec<f64>> {
    contestants.iter_mut().for_each(|run| run());
    let mut seconds = vec![Vec::with_capacity(round_count); contestants.len()];
    for round in 0..round_count {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let start = Instant::now();
            contestants[index]();
            seconds[index].push(start.elapsed().as_secs_f64());
        }
    }
    seconds
}

/// The middle value; the mean of the two middle ones of an even count.
///
/// ```
/// assert_eq!(quant_benches::rounds::median(&[3.0, 1.0, 2.0]), 2.0);
/// assert_eq!(quant_benches::rounds::median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
/// ```
///
/// # Panics
///
/// When there is no value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Copies `from` to `to` with all threads of `pool`: the bandwidth that others are compared with.
pub fn copy<T: Copy + Send + Sync>(pool: &rayon::ThreadPool, from: &[T], to: &mut [T]) {
    let step = from.len().div_ceil(pool.current_num_threads()).max(1);
    pool.install(|| {
        to.par_chunks_mut(step).zip(from.par_chunks(step)).for_each(|(to, from)| to.copy_from_slice(from));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn every_round_starts_with_another_contestant() {
        let order = RefCell::new(String::new());
        let contestant = |name: char| -> Contestant<'_> {
            let order = &order;
            Box::new(move || order.borrow_mut().push(name))
        };
        let seconds = interleave(&mut [contestant('a'), contestant('b'), contestant('c')], 3);
        assert_eq!(*order.borrow(), "abcabcbcacab");
        assert!(seconds.iter().all(|s| s.len() == 3));
    }
}
