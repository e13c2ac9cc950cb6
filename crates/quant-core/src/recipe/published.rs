//! Which recipe is a published method, by the name that its paper gives it?

/// The recipe in words of a published method at some bit width, such as `any4`; `None` where no paper calls it so.
///
/// * `any`: Elhoushi and Johnson, arXiv 2507.04610 (2025). Scaled groups of 128 and a codebook for each row; theirs is
///   weighted by input energies, which `--weights` gives.
/// * `easyquant`: Tang et al., arXiv 2403.02775 (2023). Without data: the largest weights exact, and for each row of the
///   others the scale of least squared error.
/// * `squeezellm`: Kim et al., arXiv 2306.07629 (2023). A weighted codebook for each row, and 0.45 % of weights exact.
pub(super) fn words(name: &str) -> Option<String> {
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    match name.strip_suffix(digits)? {
        "any" => Some(format!("kmeans{digits}-row group 128 signed-search")),
        "easyquant" => Some(format!("int{digits} group row search outliers 0.01")),
        "squeezellm" => Some(format!("kmeans{digits}-row outliers 0.0045 by-sensitivity")),
        _ => None,
    }
}
