//! SQNR against rate: a line for each method over its bits, and the front over all.

use quant::methods::MeasuredMethod;

use super::chart::{Axis, Chart, Colour, Layer, Legend, Shape};

const COLOURS: [Colour; 5] = [Colour::Blue, Colour::Orange, Colour::Green, Colour::Purple, Colour::Sky];

/// The method without its bits: its digits before the first space left out.
fn family(recipe: &str) -> String {
    let (name, rest) = recipe.split_once(' ').unwrap_or((recipe, ""));
    let name: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
    format!("{name} {rest}").trim_end().to_owned()
}

/// The chart of measured methods; those without error are left out.
pub fn methods(methods: &[MeasuredMethod], title: &str) -> Chart {
    let mut families: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for method in methods {
        let Some(sqnr_db) = method.sqnr_db else { continue };
        let (name, point) = (family(&method.recipe), (method.rate_bits, sqnr_db));
        match families.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push(point),
            None => families.push((name, vec![point])),
        }
    }
    let mut front: Vec<(f64, f64)> =
        methods.iter().filter(|m| m.is_on_front).filter_map(|m| Some((m.rate_bits, m.sqnr_db?))).collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: Vec<(f64, f64)> = families.iter().flat_map(|(_, points)| points.iter().copied()).collect();
    let span = |of: &dyn Fn(&(f64, f64)) -> f64, room: (f64, f64)| {
        let low = all.iter().map(of).fold(f64::INFINITY, f64::min);
        let high = all.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        if low > high { (0.0, 1.0) } else { (low - room.0, high + room.1) }
    };
    let line = |(at, (name, points)): (usize, (String, Vec<(f64, f64)>))| Layer {
        name: Some(name),
        colour: COLOURS[at % COLOURS.len()],
        shape: Shape::Marked(points),
    };
    let (x, y) = (span(&|p| p.0, (0.2, 0.2)), span(&|p| p.1, (1.0, 8.0)));
    let mut layers = vec![Layer { name: Some("front".into()), colour: Colour::Black, shape: Shape::Dashes(front) }];
    layers.extend(families.into_iter().enumerate().map(line));
    Chart {
        title: title.into(),
        x: Axis { label: "rate (bits per weight)".into(), range: x },
        y: Axis { label: "SQNR (dB)".into(), range: y },
        legend: Legend::Left,
        layers,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bits_are_no_part_of_a_family() {
        assert_eq!(
            super::family("switched4 group 16 step-bits 4 shape-bits 3"),
            "switched group 16 step-bits 4 shape-bits 3"
        );
        assert_eq!(super::family("kmeans3-row"), "kmeans-row");
    }
}
