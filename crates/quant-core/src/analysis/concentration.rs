//! How much of its grid does a row use?

use crate::dense::Dense;
use crate::grid::{Extent, Symmetry};

/// Which samples of a row of inputs, or of weights, share a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each row has its own: dynamic activations per token, weights per output channel.
    Row,
    /// All rows share one: static activations, weights per tensor.
    Tensor,
}

/// C = Σ‖v‖²/Σ r(v)² over the rows v: energy over squared range.
///
/// At least 1/4 for symmetric ranges and 1/2 for asymmetric ones (one sample other than zero; one pair a, −a). Rows of d
/// Gaussian samples have about d/(8 ln d). 1/4 (1/2) when all samples are zero, the least that there is.
///
/// ```
/// use quant_core::{analysis::{Sharing, concentration}, dense::Dense, grid::Symmetry};
/// let spike = Dense::new(1, 4, vec![0.0, 3.0, 0.0, 0.0]);
/// assert_eq!(concentration(&spike, Symmetry::Symmetric, Sharing::Row), 0.25);
/// let pair = Dense::new(1, 4, vec![0.0, 3.0, -3.0, 0.0]);
/// assert_eq!(concentration(&pair, Symmetry::Asymmetric, Sharing::Row), 0.5);
/// ```
pub fn concentration(rows: &Dense, symmetry: Symmetry, sharing: Sharing) -> f64 {
    let squared = |extent: Extent| extent.range(symmetry).powi(2);
    let ranges: f64 = match sharing {
        Sharing::Row => rows.row_iter().map(|row| squared(Extent::of(row.iter().copied()))).sum(),
        Sharing::Tensor => rows.rows() as f64 * squared(Extent::of(rows.values().iter().copied())),
    };
    or_least(rows.energy() / ranges, symmetry)
}

/// Concentration when `group` neighbouring channels share a range: Σ‖v‖²·Σ‖u‖²/Σ_g ‖u_g‖²·Σ r_g(v)².
///
/// `partner_energy` is the energy ‖u‖² of the other side in each channel: the noise of a group counts as much as the other
/// side makes of it. For inputs the partner is the weights, and the other way round. Groups are cut from the first channel
/// on; the last may be shorter. With one group it is [`concentration`] per row.
///
/// # Panics
/// When `partner_energy` has not one entry for each channel, or groups are empty.
pub fn concentration_grouped(rows: &Dense, symmetry: Symmetry, group: usize, partner_energy: &[f64]) -> f64 {
    assert_eq!(partner_energy.len(), rows.columns(), "the partner's energy in each channel");
    let noise = |(index, partner): (usize, &[f64])| {
        let range = index * group..index * group + partner.len();
        let squares = rows.row_iter().map(|row| Extent::of(row[range.clone()].iter().copied()).range(symmetry).powi(2));
        partner.iter().sum::<f64>() * squares.sum::<f64>()
    };
    let noises: f64 = partner_energy.chunks(group).enumerate().map(noise).sum();
    or_least(rows.energy() * partner_energy.iter().sum::<f64>() / noises, symmetry)
}

fn or_least(ratio: f64, symmetry: Symmetry) -> f64 {
    let least = if symmetry == Symmetry::Symmetric { 0.25 } else { 0.5 };
    if ratio.is_finite() { ratio } else { least }
}
