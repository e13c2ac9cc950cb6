//! Charts drawn with plotters, on any of its backends.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::chart::{Chart, Colour, Layer, Legend, Shape};

/// Width and height in pixels.
pub const SIZE: (u32, u32) = (960, 600);

type Area<DB> = DrawingArea<DB, plotters::coord::Shift>;
type Context<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn rgb(colour: Colour) -> RGBColor {
    match colour {
        Colour::Blue => RGBColor(0, 114, 178),
        Colour::Orange => RGBColor(213, 94, 0),
        Colour::Green => RGBColor(0, 158, 115),
        Colour::Purple => RGBColor(204, 121, 167),
        Colour::Sky => RGBColor(86, 180, 233),
        Colour::Black => RGBColor(40, 40, 40),
        Colour::Grey => RGBColor(190, 200, 210),
    }
}

/// Draws a chart over the whole area.
pub fn draw<DB: DrawingBackend>(chart: &Chart, area: &Area<DB>) -> Drawn<DB> {
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 22))
        .margin(14)
        .x_label_area_size(52)
        .y_label_area_size(74)
        .build_cartesian_2d(chart.x.range.0..chart.x.range.1, chart.y.range.0..chart.y.range.1)?;
    context
        .configure_mesh()
        .x_desc(&chart.x.label)
        .y_desc(&chart.y.label)
        .axis_desc_style(("sans-serif", 18))
        .label_style(("sans-serif", 16))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .draw()?;
    for layer in &chart.layers {
        shape(&mut context, layer, chart.y.range)?;
    }
    context
        .configure_series_labels()
        .position(match chart.legend {
            Legend::Left => SeriesLabelPosition::UpperLeft,
            Legend::Middle => SeriesLabelPosition::UpperMiddle,
        })
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 16))
        .margin(8)
        .draw()?;
    area.present()
}

/// As many digits as a tick needs.
fn tick(x: &f64) -> String {
    let rounded = format!("{x:.6}");
    let short = rounded.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".into() } else { short.replace('-', "\u{2212}") }
}

fn shape<'a, DB: DrawingBackend + 'a>(context: &mut Context<'a, DB>, layer: &Layer, heights: (f64, f64)) -> Drawn<DB> {
    let colour = rgb(layer.colour);
    let style = colour.stroke_width(2);
    let series = match &layer.shape {
        Shape::Line(points) => context.draw_series(LineSeries::new(points.iter().copied(), style))?,
        Shape::Dashes(points) => context.draw_series(DashedLineSeries::new(points.iter().copied(), 7, 5, style))?,
        Shape::Points(points) => {
            context.draw_series(points.iter().map(|&p| Circle::new(p, 3, colour.mix(0.7).filled())))?;
            context.draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())?
        }
        Shape::Marked(points) => {
            context.draw_series(points.iter().map(|&p| Circle::new(p, 4, colour.filled())))?;
            context.draw_series(LineSeries::new(points.iter().copied(), style))?
        }
        Shape::Bars(bars) => context.draw_series(
            bars.iter().map(|&(left, right, height)| Rectangle::new([(left, 0.0), (right, height)], colour.filled())),
        )?,
        Shape::Stems(points) => {
            context.draw_series(points.iter().map(|&(x, y)| PathElement::new([(x, 0.0), (x, y)], style)))?;
            context.draw_series(points.iter().map(|&p| Circle::new(p, 4, colour.filled())))?
        }
        Shape::Verticals(places) => {
            let thin = colour.mix(0.6).stroke_width(1);
            for &x in places {
                context.draw_series(DashedLineSeries::new([(x, heights.0), (x, heights.1)], 5, 4, thin))?;
            }
            context.draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())?
        }
    };
    if let Some(name) = &layer.name {
        let line = move |from: (i32, i32), to: (i32, i32)| PathElement::new([from, to], style);
        if matches!(layer.shape, Shape::Dashes(_) | Shape::Verticals(_)) {
            let pieces = move |(x, y)| EmptyElement::at((x, y)) + line((0, 0), (7, 0)) + line((12, 0), (19, 0));
            series.label(name).legend(pieces);
        } else if matches!(layer.shape, Shape::Points(_)) {
            series.label(name).legend(move |(x, y)| Circle::new((x + 9, y), 4, colour.filled()));
        } else {
            series.label(name).legend(move |(x, y)| line((x, y), (x + 19, y)));
        }
    }
    Ok(())
}
