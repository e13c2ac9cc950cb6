//! SIMD levels: detected once, carried as a proof.
//!
//! A [`Level`] can only be made for instructions that the machine has, so holding one is what makes a call into a
//! kernel compiled for them sound. Idea: tokens and `dispatch!` of fearless_simd (Linebender).

use std::fmt;

/// The instructions that kernels may use.
///
/// NEON has no level of its own: it is part of what every aarch64 machine has, so the scalar level is compiled with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SimdLevel {
    /// What every machine of the target architecture has.
    Scalar,
    /// x86-64 AVX2 with FMA, F16C, BMI1, BMI2, POPCNT and LZCNT.
    Avx2,
    /// x86-64 AVX-512 F, BW, DQ and VL, with all of the level before.
    Avx512,
}

impl SimdLevel {
    /// All levels, least first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => has_avx2(),
            Self::Avx512 => has_avx2() && has_avx512(),
        }
    }

    /// The best level that this machine has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|level| level.is_available()).unwrap_or(Self::Scalar)
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

/// Proof that the machine has the instructions of a [`SimdLevel`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level(SimdLevel);

impl Level {
    /// The proof, where there is one.
    pub(crate) fn new(level: SimdLevel) -> Option<Self> {
        level.is_available().then_some(Self(level))
    }

    /// What was proved.
    pub(crate) fn simd(self) -> SimdLevel {
        self.0
    }

    /// Whether AVX2 kernels may be called.
    pub(crate) fn has_avx2(self) -> bool {
        self.0 != SimdLevel::Scalar
    }

    /// Whether AVX-512 kernels may be called.
    pub(crate) fn has_avx512(self) -> bool {
        self.0 == SimdLevel::Avx512
    }

    /// Runs `kernel` compiled for the level. `kernel` must be `#[inline(always)]` to profit; its results cannot differ,
    /// because Rust neither reorders nor contracts floating-point operations.
    #[inline(always)]
    pub(crate) fn vectorize<R>(self, kernel: impl FnOnce() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        match self.0 {
            SimdLevel::Scalar => kernel(),
            // SAFETY: this level was proved available when `self` was made.
            SimdLevel::Avx2 => unsafe { with_avx2(kernel) },
            // SAFETY: this level was proved available when `self` was made.
            SimdLevel::Avx512 => unsafe { with_avx512(kernel) },
        }
        #[cfg(not(target_arch = "x86_64"))]
        kernel()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,popcnt,lzcnt")]
fn with_avx2<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<R>(kernel: impl FnOnce() -> R) -> R {
    kernel()
}
