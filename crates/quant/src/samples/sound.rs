//! Sound (.wav): all channels, in stored order, divided by full scale.

use hound::{SampleFormat, WavReader};

use super::SamplesProblem as Problem;

/// Amplitudes in [−1, 1).
pub fn parse(bytes: &[u8]) -> Result<Vec<f64>, Problem> {
    let wrong = |e: hound::Error| Problem::Sound(e.to_string());
    let mut reader = WavReader::new(bytes).map_err(wrong)?;
    let spec = reader.spec();
    match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().map(|x| x.map(f64::from).map_err(wrong)).collect(),
        SampleFormat::Int => {
            let full_scale = f64::from(spec.bits_per_sample - 1).exp2();
            reader.samples::<i32>().map(|x| x.map(|x| f64::from(x) / full_scale).map_err(wrong)).collect()
        }
    }
}
