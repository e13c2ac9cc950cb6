//! A chart as plain data: what is drawn, not how.

/// One chart with two axes.
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// Where the legend is.
    pub legend: Legend,
    /// From the back to the front.
    pub layers: Vec<Layer>,
}

/// Where the legend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legend {
    /// In the upper left corner.
    Left,
    /// At the top, amid.
    Middle,
}

/// An axis with its range.
pub struct Axis {
    /// Name and unit.
    pub label: String,
    /// First and last value shown.
    pub range: (f64, f64),
}

/// Something drawn in one colour.
pub struct Layer {
    /// Name in the legend; none to leave it out.
    pub name: Option<String>,
    /// What it is drawn with.
    pub colour: Colour,
    /// What is drawn.
    pub shape: Shape,
}

/// Colours that stay apart for the colour-blind (Okabe and Ito 2008).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For what is measured first.
    Blue,
    /// For what it is compared with.
    Orange,
    /// Third.
    Green,
    /// Fourth.
    Purple,
    /// Fifth.
    Sky,
    /// For thresholds and bounds.
    Black,
    /// For what is behind.
    Grey,
}

/// What is drawn, in units of the axes.
pub enum Shape {
    /// Points joined by a line.
    Line(Vec<(f64, f64)>),
    /// Points joined by a broken line.
    Dashes(Vec<(f64, f64)>),
    /// Points alone.
    Points(Vec<(f64, f64)>),
    /// Points joined by a line and marked.
    Marked(Vec<(f64, f64)>),
    /// Bars from left to right, from 0 to a height.
    Bars(Vec<(f64, f64, f64)>),
    /// Lines from 0 up to marked points.
    Stems(Vec<(f64, f64)>),
    /// Broken lines across the whole height.
    Verticals(Vec<f64>),
}
