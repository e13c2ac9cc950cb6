//! Published quantizer tables as printed, with each slip of a source beside the true value.
//!
//! A printed number must be within half a unit of its last digit of our design, whose optimality conditions hold to 1e-12,
//! unless it is listed as a slip; then the true value is listed with it. Read from transcriptions in public code and
//! teaching material, not from the papers: Max's 4, 8, 16 and 32 levels and his distortions for 2 to 32, his uniform
//! steps, Sayood's table 9.6, and one row of Paez and Glisson. Other rows were found in no such place; what `lloyd_max.rs`
//! has of them is from memory. Where Max is off by a unit or two he took his iteration to four digits: his slips grow with M.

use quant_core::design::lloyd_max::LloydMax;
use quant_core::design::{Constraints, Design, uniform};
use quant_core::source::*;

/// A number with as many decimals as the source prints.
type Printed = &'static str;

fn value(printed: Printed) -> f64 {
    printed.parse().expect("a printed number")
}

/// One unit of the last digit.
fn unit(printed: Printed) -> f64 {
    10f64.powi(-(printed.split_once('.').map_or(0, |(_, decimals)| decimals.len()) as i32))
}

/// A slip: where, what is printed, and what is true to four digits more.
type Slip = (&'static str, Printed, f64);

struct Check {
    slips: &'static [Slip],
    used: usize,
    wrong: Vec<String>,
}

impl Check {
    fn number(&mut self, place: &str, printed: Printed, ours: f64) {
        let distance = (value(printed) - ours).abs() / unit(printed);
        let slip = self.slips.iter().find(|s| s.0 == place && s.1 == printed);
        match slip {
            Some((_, _, truth)) => {
                assert!((truth - ours).abs() < 1e-3 * unit(printed), "{place}: {printed}, true {ours:.10}");
                assert!(distance > 0.5, "{place}: {printed} is no slip, ours is {ours}");
                self.used += 1;
            }
            None if distance > 0.5 + 1e-9 => self.wrong.push(format!("(\"{place}\", \"{printed}\", {ours:.9}),")),
            None => {}
        }
    }

    fn new(slips: &'static [Slip]) -> Self {
        Self { slips, used: 0, wrong: Vec::new() }
    }

    fn finish(self) {
        assert!(self.wrong.is_empty(), "place, printed, ours:\n{}", self.wrong.join("\n"));
        assert_eq!(self.used, self.slips.len(), "every slip is met");
    }
}

fn gaussian(level_count: usize) -> Design {
    LloydMax::new(level_count).design(&Gaussian::STANDARD).unwrap()
}

fn laplacian(level_count: usize) -> Design {
    LloydMax::new(level_count).design(&Laplacian::STANDARD).unwrap()
}

/// The positive thresholds and the positive levels, ascending.
fn upper(design: &Design) -> (Vec<f64>, Vec<f64>) {
    let above = |values: &[f64]| values.iter().copied().filter(|&x| x > 1e-9).collect();
    (above(design.codebook.thresholds()), above(design.codebook.levels()))
}

type Row = (usize, &'static [Printed], &'static [Printed]);

fn check_rows(check: &mut Check, name: &str, rows: &[Row], design: impl Fn(usize) -> Design) {
    for &(level_count, thresholds, levels) in rows {
        let (t, y) = upper(&design(level_count));
        assert_eq!((t.len(), y.len()), (thresholds.len(), levels.len()));
        for (k, (printed, ours)) in thresholds.iter().zip(t).enumerate() {
            check.number(&format!("{name} {level_count} t{}", k + 1), printed, ours);
        }
        for (k, (printed, ours)) in levels.iter().zip(y).enumerate() {
            check.number(&format!("{name} {level_count} y{}", k + 1), printed, ours);
        }
    }
}

/// J. Max 1960, "Quantizing for minimum distortion", table I: x_j and y_j above 0.
const MAX: [Row; 4] = [
    (4, &["0.9816"], &["0.4528", "1.510"]),
    (8, &["0.5006", "1.050", "1.748"], &["0.2451", "0.7560", "1.344", "2.152"]),
    (
        16,
        &["0.2582", "0.5224", "0.7996", "1.099", "1.437", "1.844", "2.401"],
        &["0.1284", "0.3881", "0.6568", "0.9424", "1.256", "1.618", "2.069", "2.733"],
    ),
    (
        32,
        &[
            "0.1320", "0.2648", "0.3991", "0.5359", "0.6761", "0.8210", "0.9718", "1.130", "1.299", "1.482", "1.682",
            "1.908", "2.174", "2.505", "2.977",
        ],
        &[
            "0.0659", "0.1981", "0.3314", "0.4668", "0.6050", "0.7473", "0.8947", "1.049", "1.212", "1.387", "1.577",
            "1.788", "2.029", "2.319", "2.692", "3.263",
        ],
    ),
];

const MAX_SLIPS: &[Slip] = &[
    ("Max 8 t1", "0.5006", 0.500549730),
    ("Max 16 t3", "0.7996", 0.799549788),
    ("Max 16 y2", "0.3881", 0.388048299),
    ("Max 16 y4", "0.9424", 0.942340456),
    ("Max 32 t2", "0.2648", 0.264715068),
    ("Max 32 t3", "0.3991", 0.399038914),
    ("Max 32 t4", "0.5359", 0.535816573),
    ("Max 32 t5", "0.6761", 0.676034664),
    ("Max 32 t6", "0.8210", 0.820850411),
    ("Max 32 t7", "0.9718", 0.971674219),
    ("Max 32 t10", "1.482", 1.481284209),
    ("Max 32 t13", "2.174", 2.173233902),
    ("Max 32 t14", "2.505", 2.504429491),
    ("Max 32 t15", "2.977", 2.975926035),
    ("Max 32 y4", "0.4668", 0.466699523),
    ("Max 32 y5", "0.6050", 0.604933624),
    ("Max 32 y6", "0.7473", 0.747135704),
    ("Max 32 y7", "0.8947", 0.894565117),
    ("Max 32 y10", "1.387", 1.386340340),
    ("Max 32 y11", "1.577", 1.576228079),
    ("Max 32 y12", "1.788", 1.787233218),
    ("Max 32 y14", "2.319", 2.317739404),
    ("Max 32 y15", "2.692", 2.691119577),
    ("Max 32 y16", "3.263", 3.260732493),
];

#[test]
fn max_1960_thresholds_and_levels() {
    let mut check = Check::new(MAX_SLIPS);
    check_rows(&mut check, "Max", &MAX, gaussian);
    check.finish();
}

/// The distortions of the same table, and those of table II with the steps of uniform quantizers.
#[test]
fn max_1960_distortions() {
    let mut check = Check::new(MAX_DISTORTION_SLIPS);
    let distortions = [(2, "0.3634"), (4, "0.1175"), (8, "0.03454"), (16, "0.009497"), (32, "0.002499")];
    for (level_count, printed) in distortions {
        check.number(&format!("D {level_count}"), printed, gaussian(level_count).mse);
    }
    let steps = [(2, "1.596", "0.3634"), (4, "0.9957", "0.1188"), (8, "0.5860", "0.0374"), (16, "0.3352", "0.0115")];
    let range = uniform::Range::Symmetric;
    let equal = |m| uniform::design(&Gaussian::STANDARD, m, range, &Constraints::default()).unwrap();
    for (level_count, step, distortion) in steps {
        let design = equal(level_count);
        let levels = design.codebook.levels();
        check.number(&format!("step {level_count}"), step, levels[1] - levels[0]);
        check.number(&format!("equal {level_count}"), distortion, design.mse);
    }
    let design = equal(32);
    check.number("step 32", "0.1881", design.codebook.levels()[1] - design.codebook.levels()[0]);
    check.finish();
}

const MAX_DISTORTION_SLIPS: &[Slip] =
    &[("D 8", "0.03454", 0.034547761), ("D 16", "0.009497", 0.009501008), ("D 32", "0.002499", 0.002504668)];

/// K. Sayood, "Introduction to Data Compression", 3rd edition 2006, table 9.6: Gaussian from Max, Laplacian from Adams and
/// Giesler 1978; SNR in dB.
#[test]
fn sayood_table_9_6() {
    let gaussians: [Row; 1] = [(6, &["0.6589", "1.447"], &["0.3177", "1.0", "1.894"])];
    let laplacians: [Row; 3] = [
        (4, &["1.1269"], &["0.4196", "1.8340"]),
        (6, &["0.7195", "1.8464"], &["0.2998", "1.1393", "2.5535"]),
        (8, &["0.5332", "1.2527", "2.3796"], &["0.2334", "0.8330", "1.6725", "3.0867"]),
    ];
    let mut check = Check::new(SAYOOD_SLIPS);
    check_rows(&mut check, "Gaussian", &gaussians, gaussian);
    check_rows(&mut check, "Laplacian", &laplacians, laplacian);
    for (level_count, db) in [(4, "9.3"), (6, "12.41"), (8, "14.62")] {
        check.number(&format!("Gaussian {level_count} SNR"), db, gaussian(level_count).sqnr_db);
    }
    for (level_count, db) in [(4, "7.54"), (6, "10.51"), (8, "12.64")] {
        check.number(&format!("Laplacian {level_count} SNR"), db, laplacian(level_count).sqnr_db);
    }
    check.finish();
}

const SAYOOD_SLIPS: &[Slip] = &[
    ("Laplacian 4 y1", "0.4196", 0.419755740),
    ("Gaussian 6 SNR", "12.41", 12.367393640),
    ("Laplacian 6 SNR", "10.51", 10.463934441),
];

/// M. D. Paez and T. H. Glisson 1972, "Minimum mean-squared-error quantization in speech PCM and DPCM systems", four levels
/// of the Laplacian: the one row found transcribed. It misses its own centroid condition, so all of it are slips.
#[test]
fn paez_glisson_1972_four_levels() {
    let mut check = Check::new(PAEZ_GLISSON_SLIPS);
    check_rows(&mut check, "Paez", &[(4, &["1.102"], &["0.395", "1.810"])], laplacian);
    check.finish();
}

const PAEZ_GLISSON_SLIPS: &[Slip] =
    &[("Paez 4 t1", "1.102", 1.126862521), ("Paez 4 y1", "0.395", 0.419755740), ("Paez 4 y2", "1.810", 1.833969302)];
