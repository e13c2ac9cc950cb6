//! Charts as files: PNG with the font built in, SVG with the reader's.

use std::path::Path;
use std::sync::Once;

use anyhow::anyhow;
use plotters::prelude::{BitMapBackend, FontStyle, IntoDrawingArea, SVGBackend};
use quant::Error;

use super::chart::Chart;
use super::render::{SIZE, draw};

/// Latin, Greek and mathematical letters of DejaVu Sans 2.37; its licence lies beside it.
static FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

/// Refuses names that end neither in .png nor in .svg, before anything is computed.
pub fn check(path: &Path) -> Result<(), Error> {
    match ending(path).as_str() {
        "png" | "svg" => Ok(()),
        _ => Err(Error::Refused(format!("{}: a name ending in .png or .svg expected", path.display()))),
    }
}

fn ending(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Draws a chart into a file, which appears only when it is whole.
pub fn write(chart: &Chart, path: &Path) -> anyhow::Result<()> {
    check(path)?;
    let bytes = if ending(path) == "png" { png(chart)? } else { svg(chart)?.into_bytes() };
    Ok(quant::whole::write(path, &bytes)?)
}

fn use_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let registered = plotters::style::register_font("sans-serif", FontStyle::Normal, FONT);
        registered.ok().expect("the font built in is sound");
    });
}

/// The chart as an SVG document.
pub fn svg(chart: &Chart) -> anyhow::Result<String> {
    use_font();
    let mut text = String::new();
    draw(chart, &SVGBackend::with_string(&mut text, SIZE).into_drawing_area()).map_err(|e| anyhow!("drawing: {e}"))?;
    Ok(text)
}

/// The chart as a PNG file.
pub fn png(chart: &Chart) -> anyhow::Result<Vec<u8>> {
    use_font();
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
    draw(chart, &area).map_err(|e| anyhow!("drawing: {e}"))?;
    drop(area);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(bytes)
}
