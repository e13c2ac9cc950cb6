//! Which of its methods does each tensor get, so that all together cost least within a size? Rate allocation.
//!
//! Every tensor has measured points (size, cost): stored bits and distortion, or the two the other way round. The problem
//! min Σ cost subject to Σ size ≤ limit is separable but for one number, the price λ of size: for a given λ each tensor
//! takes the point of least cost + λ·size, which lies on its convex hull, and Σ (least) − λ·limit bounds the optimum from
//! below (Everett 1963; Shoham and Gersho 1988). The best λ leaves a gap of one step of one tensor at most; branch and
//! bound closes it, visiting points off the hull too, in the order of what they cost more at that price.

/// What one method makes of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What is limited in sum; finite.
    pub size: f64,
    /// What is to be least in sum; finite.
    pub cost: f64,
}

/// Nodes that branch and bound visits at most; what it has found by then is feasible, and as a rule optimal.
const NODES_MAX: usize = 2_000_000;

/// The relative gap that is left open.
const GAP: f64 = 1e-6;

/// For each tensor the index of its point, so that the sum of costs is least and the sum of sizes at most `size_max`. `None`
/// when even the smallest points are too large.
///
/// ```
/// use quant_core::allocate::{Point, minimise};
/// let points = |list: &[(f64, f64)]| list.iter().map(|&(size, cost)| Point { size, cost }).collect::<Vec<_>>();
/// let tensors = [points(&[(2.0, 8.0), (3.0, 2.0)]), points(&[(2.0, 5.0), (3.0, 4.0)])];
/// assert_eq!(minimise(&tensors, 5.0), Some(vec![1, 0]));
/// assert_eq!(minimise(&tensors, 3.9), None);
/// ```
///
/// # Panics
///
/// When a tensor has no point.
pub fn minimise(tensors: &[Vec<Point>], size_max: f64) -> Option<Vec<usize>> {
    assert!(tensors.iter().all(|points| !points.is_empty()), "every tensor has a point");
    let smallest = at_price(tensors, f64::INFINITY);
    if sum(tensors, &smallest, |p| p.size) > size_max {
        return None;
    }
    let (price, feasible) = best_price(tensors, size_max, smallest);
    let mut search = Search::new(tensors, size_max, price, feasible);
    search.visit(0, 0.0, 0.0);
    Some(search.best)
}

fn sum(tensors: &[Vec<Point>], chosen: &[usize], of: impl Fn(&Point) -> f64) -> f64 {
    tensors.iter().zip(chosen).map(|(points, &index)| of(&points[index])).sum()
}

/// The point of least cost + price · size of each tensor, the smaller of equals; the smallest at an infinite price.
fn at_price(tensors: &[Vec<Point>], price: f64) -> Vec<usize> {
    let key = |p: &Point| if price.is_finite() { (p.cost + price * p.size, p.size) } else { (p.size, p.cost) };
    let best = |points: &Vec<Point>| {
        let least = points.iter().enumerate().min_by(|(_, a), (_, b)| key(a).partial_cmp(&key(b)).expect("finite"));
        least.expect("every tensor has a point").0
    };
    tensors.iter().map(best).collect()
}

/// The least price whose points are within the limit, by bisection, and those points.
fn best_price(tensors: &[Vec<Point>], size_max: f64, smallest: Vec<usize>) -> (f64, Vec<usize>) {
    let fits = |chosen: &[usize]| sum(tensors, chosen, |p| p.size) <= size_max;
    let free = at_price(tensors, 0.0);
    if fits(&free) {
        return (0.0, free);
    }
    let (mut low, mut high, mut best) = (0.0f64, 1.0f64, smallest);
    for _ in 0..2000 {
        let chosen = at_price(tensors, high);
        if fits(&chosen) {
            best = chosen;
            break;
        }
        (low, high) = (high, high * 2.0);
        if !high.is_finite() {
            return (low, best);
        }
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        let chosen = at_price(tensors, middle);
        if fits(&chosen) {
            (high, best) = (middle, chosen);
        } else {
            low = middle;
        }
    }
    (high, best)
}

/// Depth first over the tensors, those with most to lose first.
struct Search<'a> {
    tensors: &'a [Vec<Point>],
    size_max: f64,
    price: f64,
    /// Tensors in the order of the search, and each one's points in the order of cost + price · size.
    order: Vec<(usize, Vec<usize>)>,
    /// For each depth the least size, and the least cost + price · size, of all tensors from there on.
    rest: Vec<(f64, f64)>,
    chosen: Vec<usize>,
    best: Vec<usize>,
    best_cost: f64,
    node_count: usize,
}

impl<'a> Search<'a> {
    fn new(tensors: &'a [Vec<Point>], size_max: f64, price: f64, feasible: Vec<usize>) -> Self {
        let priced = |p: &Point| p.cost + price * p.size;
        let sorted = |tensor: usize| {
            let mut points: Vec<usize> = (0..tensors[tensor].len()).collect();
            points.sort_by(|&a, &b| priced(&tensors[tensor][a]).total_cmp(&priced(&tensors[tensor][b])));
            (tensor, points)
        };
        let mut order: Vec<(usize, Vec<usize>)> = (0..tensors.len()).map(sorted).collect();
        // Small steps last: they fill what is left.
        let loss = |(tensor, points): &(usize, Vec<usize>)| match points[..] {
            [first, second, ..] => priced(&tensors[*tensor][second]) - priced(&tensors[*tensor][first]),
            _ => f64::INFINITY,
        };
        order.sort_by(|a, b| loss(b).total_cmp(&loss(a)));
        let mut rest = vec![(0.0, 0.0)];
        for (tensor, points) in order.iter().rev() {
            let (size, cost) = rest[rest.len() - 1];
            let least = tensors[*tensor].iter().map(|p| p.size).fold(f64::INFINITY, f64::min);
            rest.push((size + least, cost + priced(&tensors[*tensor][points[0]])));
        }
        rest.reverse();
        let best_cost = sum(tensors, &feasible, |p| p.cost);
        let chosen = feasible.clone();
        Self { tensors, size_max, price, order, rest, chosen, best: feasible, best_cost, node_count: 0 }
    }

    fn visit(&mut self, depth: usize, size: f64, cost: f64) {
        self.node_count += 1;
        if depth == self.order.len() {
            if cost < self.best_cost {
                (self.best_cost, self.best) = (cost, self.chosen.clone());
            }
            return;
        }
        for place in 0..self.order[depth].1.len() {
            let (tensor, index) = (self.order[depth].0, self.order[depth].1[place]);
            let point = self.tensors[tensor][index];
            let (size, cost) = (size + point.size, cost + point.cost);
            let (size_rest, priced_rest) = self.rest[depth + 1];
            let bound = cost + priced_rest - self.price * (self.size_max - size);
            // Points that follow cost more still at this price.
            if bound >= self.best_cost * (1.0 - GAP) || self.node_count > NODES_MAX {
                return;
            }
            if size + size_rest <= self.size_max {
                self.chosen[tensor] = index;
                self.visit(depth + 1, size, cost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// Tensors of unlike sizes, with curves that fall about fourfold a bit and are not always convex.
    fn tensors(noise: &mut Noise, count: usize) -> Vec<Vec<Point>> {
        let tensor = |noise: &mut Noise| {
            let (weights, scale) = (1.0 + 9.0 * noise.next(), 10f64.powf(2.0 * noise.next()));
            let point = |bits: usize, noise: &mut Noise| Point {
                size: weights * (bits as f64 + 0.3 * noise.next()),
                cost: weights * scale * 0.25f64.powi(bits as i32) * (0.6 + 0.8 * noise.next()),
            };
            (2..7).map(|bits| point(bits, noise)).collect()
        };
        (0..count).map(|_| tensor(noise)).collect()
    }

    fn brute_force(tensors: &[Vec<Point>], size_max: f64) -> Option<f64> {
        let combinations: usize = tensors.iter().map(Vec::len).product();
        let cost = |mut number: usize| {
            let (mut size, mut cost) = (0.0, 0.0);
            for points in tensors {
                let point = points[number % points.len()];
                (size, cost, number) = (size + point.size, cost + point.cost, number / points.len());
            }
            (size <= size_max).then_some(cost)
        };
        (0..combinations).filter_map(cost).min_by(f64::total_cmp)
    }

    #[test]
    fn small_cases_are_within_a_thousandth_of_brute_force() {
        let mut noise = Noise(7);
        let mut worst = 0.0f64;
        for case in 0..300 {
            let tensors = tensors(&mut noise, 1 + case % 6);
            let weights: f64 = tensors.iter().map(|points| points[0].size / 2.0).sum();
            let size_max = weights * (1.9 + 4.5 * noise.next());
            let (found, expected) = (minimise(&tensors, size_max), brute_force(&tensors, size_max));
            assert_eq!(found.is_some(), expected.is_some(), "case {case}");
            let (Some(found), Some(expected)) = (found, expected) else { continue };
            assert!(sum(&tensors, &found, |p| p.size) <= size_max, "case {case}");
            worst = worst.max(sum(&tensors, &found, |p| p.cost) / expected - 1.0);
        }
        assert!(worst <= 1e-3, "{worst}");
    }

    #[test]
    fn many_tensors_come_near_the_bound_of_the_price() {
        let mut noise = Noise(11);
        let tensors = tensors(&mut noise, 400);
        let size_max: f64 = tensors.iter().map(|points| points[2].size).sum();
        let found = minimise(&tensors, size_max).unwrap();
        let (price, _) = best_price(&tensors, size_max, at_price(&tensors, f64::INFINITY));
        let priced = at_price(&tensors, price);
        let bound = sum(&tensors, &priced, |p| p.cost + price * p.size) - price * size_max;
        let cost = sum(&tensors, &found, |p| p.cost);
        assert!(cost >= bound * (1.0 - 1e-9) && cost <= bound * 1.001, "{cost}, bound {bound}");
        let uniform: f64 = tensors.iter().map(|points| points[2].cost).sum();
        assert!(cost < 0.8 * uniform, "{cost} against {uniform} for the same method everywhere");
    }

    #[test]
    fn a_limit_that_does_not_bind_takes_the_least_cost() {
        let points = |list: &[(f64, f64)]| list.iter().map(|&(size, cost)| Point { size, cost }).collect::<Vec<_>>();
        assert_eq!(minimise(&[points(&[(1.0, 5.0), (9.0, 1.0), (2.0, 3.0)])], 1e9), Some(vec![1]));
        assert_eq!(minimise(&[], 0.0), Some(vec![]));
    }
}
