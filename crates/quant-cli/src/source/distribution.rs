//! The continuous distributions of `statrs` by name; those that the library has in closed form are not here.

use quant::Error;
use quant_core::source::{Density, Numeric};
use statrs::distribution::{
    Beta, Cauchy, Chi, ChiSquared, Continuous, ContinuousCDF, Erlang, Exp, FisherSnedecor, Gamma, Gumbel, InverseGamma,
    Levy, LogNormal, Pareto, Triangular, Weibull,
};

use super::refused;
use crate::params::Params;

/// Names with their parameters and defaults, as the help shows them.
pub const NAMES: &str = "beta, cauchy, chi, chi-squared, erlang, exponential, fisher-snedecor, gamma, gumbel, \
                         inverse-gamma, levy, log-normal, pareto, triangular, weibull";

/// The distribution called `name`; `None` for another name.
pub fn named(name: &str, params: &Params) -> Result<Option<Box<dyn Density>>, Error> {
    let get = |name, default| params.get(name, default);
    let whole = |name, default| params.count(name, default).map(|n| n as u64);
    let density = match name {
        "beta" => numeric(Beta::new(get("shape_a", 2.0), get("shape_b", 3.0)))?,
        "cauchy" => numeric(Cauchy::new(get("location", 0.0), get("scale", 1.0)))?,
        "chi" => numeric(Chi::new(whole("freedom", 3)?))?,
        "chi-squared" => numeric(ChiSquared::new(get("freedom", 4.0)))?,
        "erlang" => numeric(Erlang::new(whole("shape", 2)?, get("rate", 1.0)))?,
        "exponential" => numeric(Exp::new(get("rate", 1.0)))?,
        "fisher-snedecor" => numeric(FisherSnedecor::new(get("freedom_1", 5.0), get("freedom_2", 12.0)))?,
        "gamma" => numeric(Gamma::new(get("shape", 2.0), get("rate", 1.0)))?,
        "gumbel" => numeric(Gumbel::new(get("location", 0.0), get("scale", 1.0)))?,
        "inverse-gamma" => numeric(InverseGamma::new(get("shape", 4.0), get("rate", 1.0)))?,
        "levy" => numeric(Levy::new(get("location", 0.0), get("scale", 1.0)))?,
        "log-normal" => numeric(LogNormal::new(get("location", 0.0), get("scale", 0.5)))?,
        "pareto" => numeric(Pareto::new(get("scale", 1.0), get("shape", 4.0)))?,
        "triangular" => numeric(Triangular::new(get("min", 0.0), get("max", 1.0), get("mode", 0.5)))?,
        "weibull" => numeric(Weibull::new(get("shape", 1.5), get("scale", 1.0)))?,
        _ => return Ok(None),
    };
    Ok(Some(density))
}

fn numeric<D, E: std::fmt::Display>(distribution: Result<D, E>) -> Result<Box<dyn Density>, Error>
where
    D: Continuous<f64, f64> + ContinuousCDF<f64, f64> + Send + Sync + 'static,
{
    let numeric = Numeric::from_statrs(distribution.map_err(refused)?).map_err(refused)?;
    Ok(Box::new(numeric))
}
