//! NumPy arrays (.npy, format versions 1 to 3).

use half::f16;

use super::SamplesProblem as Problem;

/// All values of an array, in stored order.
pub fn parse(bytes: &[u8]) -> Result<Vec<f64>, Problem> {
    let (header, data) = split(bytes)?;
    let format = quoted(header, "'descr':").ok_or_else(|| Problem::Npy("its header names no descr".into()))?;
    let (width, value) = reader(format).ok_or_else(|| Problem::NpyFormat(format.into()))?;
    let count = count(header)?;
    let expected = count.checked_mul(width).ok_or_else(|| Problem::Npy("its shape is too large".into()))?;
    if data.len() < expected {
        let head = bytes.len() - data.len();
        return Err(Problem::Truncated { expected: (head + expected) as u64, found: bytes.len() as u64 });
    }
    Ok(data[..expected].chunks_exact(width).map(value).collect())
}

fn split(bytes: &[u8]) -> Result<(&str, &[u8]), Problem> {
    let early = |expected: usize| Problem::Truncated { expected: expected as u64, found: bytes.len() as u64 };
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(Problem::Npy("it does not begin with \\x93NUMPY".into()));
    }
    let version = *bytes.get(6).ok_or_else(|| early(10))?;
    let (start, len) = match version {
        1 => (10, bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))),
        2 | 3 => (12, bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)),
        other => return Err(Problem::Npy(format!("its version is {other}; 1, 2 or 3 expected"))),
    };
    let end = start + len.ok_or_else(|| early(start))?;
    let header = bytes.get(start..end).ok_or_else(|| early(end))?;
    let text = std::str::from_utf8(header).map_err(|_| Problem::Npy("its header is not text".into()))?;
    Ok((text, &bytes[end..]))
}

/// The quoted text behind a key.
fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let rest = header.split_once(key)?.1.trim_start();
    rest.strip_prefix('\'')?.split_once('\'').map(|(text, _)| text)
}

fn count(header: &str) -> Result<usize, Problem> {
    let wrong = || Problem::Npy("its header names no shape".into());
    let shape = header.split_once("'shape':").ok_or_else(wrong)?.1.trim_start();
    let inner = shape.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(wrong)?.0;
    let lengths = inner.split(',').map(str::trim).filter(|s| !s.is_empty());
    lengths.map(|s| s.parse().map_err(|_| wrong())).try_fold(1usize, |product, length: Result<usize, _>| {
        product.checked_mul(length?).ok_or_else(|| Problem::Npy("its shape is too large".into()))
    })
}

type Value = Box<dyn Fn(&[u8]) -> f64>;

/// Bytes per value and how to read one.
fn reader(format: &str) -> Option<(usize, Value)> {
    let big = format.starts_with('>');
    macro_rules! number {
        ($type:ty, $wide:expr) => {{
            const N: usize = size_of::<$type>();
            let read = move |bytes: &[u8]| {
                let b: [u8; N] = bytes.try_into().expect("chunks have this width");
                $wide(if big { <$type>::from_be_bytes(b) } else { <$type>::from_le_bytes(b) })
            };
            Some((N, Box::new(read) as Value))
        }};
    }
    match format.trim_start_matches(['<', '>', '|', '=']) {
        "f8" => number!(f64, |x| x),
        "f4" => number!(f32, f64::from),
        "f2" => number!(f16, f16::to_f64),
        "i1" => number!(i8, f64::from),
        "u1" => number!(u8, f64::from),
        "i2" => number!(i16, f64::from),
        "u2" => number!(u16, f64::from),
        "i4" => number!(i32, f64::from),
        "u4" => number!(u32, f64::from),
        "i8" => number!(i64, |x| x as f64),
        "u8" => number!(u64, |x| x as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(format: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{format}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_of_every_format_are_read() {
        assert_eq!(parse(&npy("<f8", "(1,)", &2.5f64.to_le_bytes())), Ok(vec![2.5]));
        assert_eq!(parse(&npy(">f4", "(1, 1)", &2.5f32.to_be_bytes())), Ok(vec![2.5]));
        assert_eq!(parse(&npy("<f2", "()", &f16::from_f32(-0.5).to_le_bytes())), Ok(vec![-0.5]));
        assert_eq!(parse(&npy("|i1", "(2,)", &[255, 3])), Ok(vec![-1.0, 3.0]));
        assert_eq!(parse(&npy("<u2", "(1,)", &[1, 2])), Ok(vec![513.0]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let short = npy("<f4", "(3,)", &[0; 8]);
        let expected = short.len() as u64 + 4;
        assert_eq!(parse(&short), Err(Problem::Truncated { expected, found: expected - 4 }));
        assert_eq!(parse(&short[..9]), Err(Problem::Truncated { expected: 10, found: 9 }));
        assert_eq!(parse(&npy("<c8", "(1,)", &[0; 8])), Err(Problem::NpyFormat("<c8".into())));
        assert!(matches!(parse(b"PK"), Err(Problem::Npy(_))));
        assert!(matches!(parse(&npy("<f4", "(x,)", &[])), Err(Problem::Npy(_))));
        assert!(matches!(parse(&npy("<f4", "(4294967296, 4294967297)", &[])), Err(Problem::Npy(_))));
    }
}
