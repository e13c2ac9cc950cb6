//! Numbers in text: separated by commas, semicolons, tabs or spaces; a first line that holds no numbers is the head.

use super::SamplesProblem as Problem;

/// The column called `wanted` (or of that number, the first being 1); the first column otherwise.
///
/// Empty lines and lines that begin with `#` are passed over.
pub fn parse(bytes: &[u8], wanted: Option<&str>) -> Result<Vec<f64>, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|e| Problem::NotText(e.valid_up_to()))?;
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_start_matches('\u{feff}').trim()));
    let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).peekable();
    let Some(&(_, first)) = lines.peek() else { return Err(Problem::Empty) };
    let names = fields(first);
    let has_head = names.iter().all(|field| number(field).is_none());
    let index = column(&names, has_head, wanted)?;
    lines.skip(usize::from(has_head)).map(|(line, text)| value(&fields(text), line, index)).collect()
}

fn fields(line: &str) -> Vec<&str> {
    let separator = [',', ';', '\t'].into_iter().find(|&c| line.contains(c));
    match separator {
        Some(c) => line.split(c).map(|field| field.trim().trim_matches('"')).collect(),
        None => line.split_whitespace().collect(),
    }
}

fn number(field: &str) -> Option<f64> {
    field.parse().ok()
}

fn column(names: &[&str], has_head: bool, wanted: Option<&str>) -> Result<usize, Problem> {
    let Some(wanted) = wanted else { return Ok(0) };
    let by_name = names.iter().position(|name| has_head && *name == wanted);
    let by_number = || wanted.parse().ok().filter(|n| (1..=names.len()).contains(n)).map(|n| n - 1);
    let all = if has_head { names.join(", ") } else { format!("1 to {}", names.len()) };
    by_name.or_else(by_number).ok_or_else(|| Problem::NoColumn { wanted: wanted.into(), names: all })
}

fn value(fields: &[&str], line: usize, index: usize) -> Result<f64, Problem> {
    let (found, wanted) = (fields.len(), index + 1);
    let field = fields.get(index).ok_or(Problem::ShortLine { line, found, wanted })?;
    number(field).ok_or_else(|| Problem::NotANumber { line, column: wanted, text: field.chars().take(40).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_or_number() {
        assert_eq!(parse(b"# note\na,b\n1,2\n\n3,4\n", Some("b")), Ok(vec![2.0, 4.0]));
        assert_eq!(parse(b"a,b\n1,2\n", Some("2")), Ok(vec![2.0]));
        assert_eq!(parse(b"1\n2.5e-1\n", None), Ok(vec![1.0, 0.25]));
        assert_eq!(parse(b"1 2\n3 4\n", Some("2")), Ok(vec![2.0, 4.0]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let message = |text: &[u8], column| parse(text, column).unwrap_err().to_string();
        assert_eq!(message(b"a,b\n1,2\n", Some("c")), "there is no column \"c\"; the columns are a, b");
        assert_eq!(message(b"1,2\n3,x\n", Some("2")), "line 2, column 2: \"x\" is not a number");
        assert_eq!(message(b"1,2\n3\n", Some("2")), "line 2 has 1 columns; column 2 is missing");
        assert_eq!(message(b"\xff", None), "byte 0 is not UTF-8 text");
        assert_eq!(parse(b"\n#\n", None), Err(Problem::Empty));
    }
}
