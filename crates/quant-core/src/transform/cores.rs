//! Which orthogonal core goes with a width: the odd part of real models' widths is not 1.

use super::{paley, williamson};

/// Cores larger than this cost more than they bring: a core of order m costs m multiplications for each channel.
const ORDER_MAX: usize = 1024;

/// How a core was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Construction {
    /// The width is a power of two.
    Sylvester,
    /// Paley's first construction, from a field of order ≡ 3 mod 4.
    PaleyFirst,
    /// Paley's second construction, from a field of order ≡ 1 mod 4.
    PaleySecond,
    /// Williamson's four circulants.
    Williamson,
    /// No Hadamard matrix is known here: the discrete Hartley transform.
    Hartley,
}

/// A square matrix C with C·Cᵀ = m·I, row-major.
///
/// Entries are ±1 for a Hadamard matrix. Where none is known, they are those of the discrete Hartley transform
/// cas(2πij/m) = cos + sin (R. V. L. Hartley, 1942): orthogonal too, entries up to √2, so that it spreads an outlier
/// almost as well. It is never left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Core {
    /// m
    pub order: usize,
    /// How it was made.
    pub construction: Construction,
    /// m² entries.
    pub entries: Vec<f64>,
}

impl Core {
    /// A Hadamard matrix of exactly this order by one of the constructions; `None` when none of them has it.
    ///
    /// ```
    /// use quant_core::transform::Core;
    /// for order in [1, 12, 20, 28, 36, 44, 60, 76, 108, 140, 148, 172] {
    ///     assert!(Core::hadamard(order).is_some(), "{order}");
    /// }
    /// assert!(Core::hadamard(428).is_none());
    /// ```
    pub fn hadamard(order: usize) -> Option<Self> {
        let made = |construction: Construction| {
            move |signs: Vec<i8>| Self { order, construction, entries: signs.into_iter().map(f64::from).collect() }
        };
        if order == 1 {
            return Some(made(Construction::Sylvester)(vec![1]));
        }
        if !order.is_multiple_of(4) {
            return None;
        }
        paley::first(order)
            .map(made(Construction::PaleyFirst))
            .or_else(|| paley::second(order).map(made(Construction::PaleySecond)))
            .or_else(|| williamson::matrix(order).map(made(Construction::Williamson)))
    }

    /// The smallest core whose order times a power of two is `width`, a Hadamard matrix if there is one of order up to
    /// 1024.
    ///
    /// ```
    /// use quant_core::transform::Core;
    /// let orders = [4096, 576, 1536, 14336, 11008, 5120, 9728, 3200].map(|width| Core::for_width(width).order);
    /// assert_eq!(orders, [1, 36, 12, 28, 172, 20, 76, 100]);
    /// ```
    ///
    /// # Panics
    /// For width 0.
    pub fn for_width(width: usize) -> Self {
        assert!(width > 0, "a row has a channel");
        let twos = width.trailing_zeros();
        let odd = width >> twos;
        let orders = (0..=twos).map(|j| odd << j).filter(|order| *order <= ORDER_MAX);
        orders.into_iter().find_map(Self::hadamard).unwrap_or_else(|| Self::hartley(odd))
    }

    /// The discrete Hartley transform of any order.
    pub fn hartley(order: usize) -> Self {
        let cas = |at: usize| {
            let turn = std::f64::consts::TAU * ((at / order * (at % order)) % order) as f64 / order as f64;
            libm::cos(turn) + libm::sin(turn)
        };
        Self { order, construction: Construction::Hartley, entries: (0..order * order).map(cas).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest entry of C·Cᵀ − m·I.
    fn defect(core: &Core) -> f64 {
        let m = core.order;
        let row = |i: usize| &core.entries[i * m..][..m];
        let dot = |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>();
        let expected = |i: usize, j: usize| if i == j { m as f64 } else { 0.0 };
        (0..m * m).map(|at| (dot(at / m, at % m) - expected(at / m, at % m)).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn hadamard_matrices_are_hadamard() {
        use Construction::{PaleyFirst, PaleySecond, Williamson};
        let orders = [4, 8, 12, 20, 24, 28, 32, 44, 48, 60, 68, 72, 80, 84, 104, 108, 128, 132, 140, 344];
        let listed = orders.map(|order| (order, PaleyFirst)).into_iter();
        let listed = listed.chain([36, 52, 76, 100, 148].map(|order| (order, PaleySecond))).chain([(172, Williamson)]);
        for (order, construction) in listed {
            let core = Core::hadamard(order).unwrap_or_else(|| panic!("order {order}"));
            assert_eq!(core.construction, construction, "order {order}");
            assert!(core.entries.iter().all(|x| x.abs() == 1.0), "order {order}");
            assert_eq!(defect(&core), 0.0, "order {order}");
        }
    }

    #[test]
    fn where_no_core_is_known_the_fallback_is_orthogonal() {
        for (width, order) in [(13696, 107), (6, 3), (7, 7), (2 * 9, 9)] {
            let core = Core::for_width(width);
            assert_eq!((core.order, core.construction), (order, Construction::Hartley), "width {width}");
            assert!(defect(&core) < 1e-10 * order as f64, "width {width}: {}", defect(&core));
        }
    }
}
