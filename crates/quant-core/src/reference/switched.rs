//! What do the verbs of switched codebooks mean?

use crate::backend::SamplesMut;
use crate::codes::{code_at, pack_row};
use crate::switched::{SwitchedEncoding, decoded};
use crate::tensor::{Matrix, flush};

use super::code;

/// Scalar definition of [`encode_switched`](crate::backend::Backend::encode_switched).
pub fn encode_switched(
    matrix: Matrix<'_>,
    encoding: &SwitchedEncoding<'_>,
    weights: Option<&[f32]>,
    selectors: &mut [u8],
    packed: &mut [u8],
) {
    encoding.assert_consistent(selectors, packed);
    let (columns, groups) = (matrix.columns(), encoding.grouping.groups_per_row());
    let weight = |i: usize| weights.map_or(1.0, |w| if w.len() == columns { w[i % columns] } else { w[i] });
    let sample = |i: usize| flush(matrix.samples().get(i) * encoding.inverse_scale(i / columns));
    for row in 0..matrix.rows() {
        let (mut row_selectors, mut codes) = (Vec::new(), Vec::new());
        for group in row * groups..(row + 1) * groups {
            let range = encoding.grouping.range(group);
            let group: Vec<(f32, f32)> = range.map(|i| (sample(i), weight(i))).collect();
            let selector = cheapest(&group, encoding);
            row_selectors.push(selector as u8);
            let thresholds = encoding.codebooks.thresholds(selector);
            codes.extend(group.iter().map(|&(x, _)| code(x, None, thresholds) as u8));
        }
        let (selector_len, row_len) = (encoding.selector_row_len_bytes(), encoding.row_len_bytes());
        pack_row(&row_selectors, encoding.selector_width, &mut selectors[row * selector_len..][..selector_len]);
        pack_row(&codes, encoding.bit_width, &mut packed[row * row_len..][..row_len]);
    }
}

fn cheapest(group: &[(f32, f32)], encoding: &SwitchedEncoding<'_>) -> usize {
    let (mut best, mut least) = (0, f32::INFINITY);
    for selector in 0..encoding.codebooks.count() {
        let levels = encoding.codebooks.levels(selector);
        let mut cost = 0.0f32;
        for &(x, weight) in group {
            let distance = levels.iter().fold(f32::INFINITY, |least, y| least.min((x - y).abs()));
            cost += weight * (distance * distance);
        }
        if cost < least {
            (best, least) = (selector, cost);
        }
    }
    best
}

/// Scalar definition of [`decode_switched`](crate::backend::Backend::decode_switched).
pub fn decode_switched(packed: &[u8], selectors: &[u8], encoding: &SwitchedEncoding<'_>, samples: &mut SamplesMut<'_>) {
    encoding.assert_consistent(selectors, packed);
    let (columns, groups) = (encoding.grouping.columns(), encoding.grouping.groups_per_row());
    for row in 0..encoding.grouping.rows() {
        let row_selectors = &selectors[row * encoding.selector_row_len_bytes()..];
        let codes = &packed[row * encoding.row_len_bytes()..];
        for column in 0..columns {
            let group = encoding.grouping.index_of(row, column) - row * groups;
            let levels = encoding.codebooks.levels(usize::from(code_at(row_selectors, encoding.selector_width, group)));
            let code = usize::from(code_at(codes, encoding.bit_width, column)).min(levels.len() - 1);
            samples.set(row * columns + column, decoded(levels[code], encoding.row_scales[row]));
        }
    }
}
