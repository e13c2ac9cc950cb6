//! Cases of the transforms: every width with a core of its kind, rows of mixed magnitudes.

use super::compare::bounded_product;
use super::done;
use crate::backend::Backend;
use crate::dense::Dense;
use crate::reference::Reference;
use crate::transform::{Blocks, Construction, Hadamard};

/// Powers of two on both sides of vector lengths, and cores by Paley, Williamson and Hartley; then widths of several pieces,
/// for kernels with little memory of their own.
const WIDTHS: [usize; 18] =
    [1, 2, 4, 8, 16, 32, 64, 256, 12, 48, 36 * 16, 172, 28 * 32, 6, 7 * 16, 8192, 12 * 4096, 172 * 64];

fn rows(width: usize, count: usize) -> Vec<f32> {
    let value = |i: usize| {
        let x = ((i * 7919 % 1009) as f32 - 504.0) / 504.0;
        if i % 97 == 5 { 300.0 * x } else { x }
    };
    (0..width * count).map(value).collect()
}

/// Case of [`Backend::hadamard`].
pub fn hadamard<B: Backend>(backends: &[B]) {
    let counts = |width: usize| if width > 4096 { &[2][..] } else { &[1, 5, 9] };
    for (width, &count) in WIDTHS.into_iter().flat_map(|width| counts(width).iter().map(move |count| (width, count))) {
        let rotation = Hadamard::seeded(width, 11);
        let before = rows(width, count);
        let mut expected = before.clone();
        done(Reference.hadamard(&mut expected, &rotation));
        let (order, kind) = (rotation.core().order, rotation.core().construction);
        let entry: f64 = if kind == Construction::Hartley { std::f64::consts::SQRT_2 } else { 1.0 };
        // The factor and its product, the butterflies, the core's entry, products and sums, the reference's rounding.
        let roundings = 2 + (width / order).ilog2() as usize + 2 * order + 2;
        for backend in backends {
            let mut found = before.clone();
            done(backend.hadamard(&mut found, &rotation));
            let place = format!("{} on {count} rows of {width}", backend.name());
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let row = &before[index / width * width..][..width];
                let sum: f64 = row.iter().map(|x| f64::from(x.abs())).sum();
                let magnitude = entry * sum / (width as f64).sqrt();
                bounded_product(*found, *expected, roundings, magnitude, &format!("index {index}, {place}"));
            }
        }
    }
}

/// Case of [`Backend::block_transform`].
pub fn block_transform<B: Backend>(backends: &[B]) {
    for (width, length) in [(1, 1), (16, 16), (64, 16), (40, 16), (7, 3), (256, 128), (130, 128)] {
        let orders: Vec<usize> = (0..width).step_by(length).map(|start| length.min(width - start)).collect();
        let block = |order: &usize| Dense::from_fn(*order, *order, |i, j| ((i * 31 + j * 17 + order) as f64).sin());
        let forward: Vec<Dense> = orders.iter().map(block).collect();
        let inverse = orders.iter().map(|order| Dense::identity(*order)).collect();
        let blocks = Blocks::new(forward, inverse);
        for count in [1, 5, 9] {
            let before = rows(width, count);
            let mut expected = before.clone();
            done(Reference.block_transform(&mut expected, &blocks));
            for backend in backends {
                let mut found = before.clone();
                done(backend.block_transform(&mut found, &blocks));
                let place = format!("{} on {count} rows of {width}, blocks of {length}", backend.name());
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let (row, channel) = (index / width, index % width);
                    let block = &blocks.forward()[channel / length];
                    let piece = &before[row * width + channel / length * length..][..block.rows()];
                    let term = |(m, x): (&f64, &f32)| (m * f64::from(*x)).abs();
                    let magnitude: f64 = block.row(channel % length).iter().zip(piece).map(term).sum();
                    bounded_product(*found, *expected, block.rows() + 3, magnitude, &format!("index {index}, {place}"));
                }
            }
        }
    }
}
