//! Pictures (.png): pixel intensities of all colour channels as stored, 0 to 255 or 0 to 65,535; no transparency.

use png::{ColorType, Decoder, Transformations};

use super::SamplesProblem as Problem;

/// Intensities in the order of the rows. Palettes are looked up; 1, 2 and 4 bits are stretched to 8.
pub fn parse(bytes: &[u8]) -> Result<Vec<f64>, Problem> {
    let wrong = |e: png::DecodingError| Problem::Picture(e.to_string());
    let mut decoder = Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(wrong)?;
    let len = reader.output_buffer_size().ok_or_else(|| Problem::Picture("it is too large".into()))?;
    let mut pixels = vec![0; len];
    let info = reader.next_frame(&mut pixels).map_err(wrong)?;
    pixels.truncate(info.buffer_size());
    let (channels, alpha) = match info.color_type {
        ColorType::GrayscaleAlpha => (2, true),
        ColorType::Rgba => (4, true),
        ColorType::Rgb => (3, false),
        _ => (1, false),
    };
    let values: Vec<f64> = match info.bit_depth {
        png::BitDepth::Sixteen => pixels.chunks_exact(2).map(|b| f64::from(u16::from_be_bytes([b[0], b[1]]))).collect(),
        _ => pixels.iter().map(|&x| f64::from(x)).collect(),
    };
    let colours = if alpha { channels - 1 } else { channels };
    Ok(values.chunks_exact(channels).flat_map(|pixel| pixel[..colours].to_vec()).collect())
}
