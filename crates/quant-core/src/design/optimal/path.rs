//! The cheapest partition when every cell costs an extra `slope`: any number of cells.
//!
//! f(j) = min over i < j of f(i) − gain(i, j) + slope. The cost is Monge, so a later candidate i that has once become
//! better stays better: candidates wait in a queue, each with the first j it wins (Galil and Park 1990).

use super::atoms::Atoms;

/// Interior borders of the cheapest partition, ascending. Between equals the longer cell wins.
pub fn cheapest(atoms: &Atoms, slope: f64) -> Vec<usize> {
    let n = atoms.len();
    let mut cost = vec![0.0; n + 1];
    let mut parent = vec![0u32; n + 1];
    // Candidate i and the first j at which it is best; `front` is the first still in use.
    let mut queue: Vec<(u32, u32)> = vec![(0, 1)];
    let mut front = 0;
    for j in 1..=n {
        while queue.get(front + 1).is_some_and(|next| next.1 as usize <= j) {
            front += 1;
        }
        let best = queue[front].0 as usize;
        cost[j] = cost[best] - atoms.gain(best, j) + slope;
        parent[j] = best as u32;
        if j < n {
            offer(atoms, &cost, &mut queue, front, j);
        }
    }
    borders(&parent)
}

/// Puts candidate `j` behind those it does not beat at once.
fn offer(atoms: &Atoms, cost: &[f64], queue: &mut Vec<(u32, u32)>, front: usize, j: usize) {
    let n = atoms.len();
    loop {
        let (rival, start) = *queue.last().expect("the front candidate stays");
        let (rival, start) = (rival as usize, (start as usize).max(j + 1));
        let wins = |x: usize| atoms.beats((j, cost[j]), (rival, cost[rival]), x);
        if wins(start) {
            if queue.len() - 1 > front {
                queue.pop();
                continue;
            }
            // The front candidate has served j already; from j + 1 on it is beaten.
            queue.push((j as u32, start as u32));
            return;
        }
        if let Some(first) = first_win(start, n, wins) {
            queue.push((j as u32, first as u32));
        }
        return;
    }
}

/// The first x in (start, end] with `wins(x)`, by steps of doubling length and then bisection.
fn first_win(start: usize, end: usize, wins: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut step) = (start, 1);
    let mut high = loop {
        let next = low + step;
        if next >= end {
            if low >= end || !wins(end) {
                return None;
            }
            break end;
        }
        if wins(next) {
            break next;
        }
        (low, step) = (next, step * 2);
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if wins(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

fn borders(parent: &[u32]) -> Vec<usize> {
    let mut borders = Vec::new();
    let mut j = parent[parent.len() - 1] as usize;
    while j > 0 {
        borders.push(j);
        j = parent[j] as usize;
    }
    borders.reverse();
    borders
}
