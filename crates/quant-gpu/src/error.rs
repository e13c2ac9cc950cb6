//! What can go wrong with a GPU, by name: a caller may want to go on without it.

/// Why a GPU could not be opened or did not finish.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// No adapter is as asked for.
    #[error("no GPU adapter {wanted}; {found}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The adapter is there and cannot be used.
    #[error("{adapter} cannot be used: {message}")]
    Unavailable {
        /// Its name.
        adapter: String,
        /// What the driver said.
        message: String,
    },
    /// The adapter rounds differently: codes would differ from those of other devices.
    #[error("{adapter} computes {found:e} for {a:e} times {b:e}, {expected:e} expected; its codes would differ")]
    Inexact {
        /// Its name.
        adapter: String,
        /// First factor.
        a: f32,
        /// Second factor.
        b: f32,
        /// What it computed.
        found: f32,
        /// The product, rounded once, magnitudes below 2⁻¹²⁶ as zero.
        expected: f32,
    },
    /// A buffer does not fit in the device's memory.
    #[error("out of memory on {adapter}: {len_bytes} bytes could not be had")]
    OutOfMemory {
        /// The adapter.
        adapter: String,
        /// Bytes asked for.
        len_bytes: u64,
    },
    /// The device went away: driver reset, unplugged, or timed out.
    #[error("{adapter} was lost: {message}")]
    DeviceLost {
        /// The adapter.
        adapter: String,
        /// What the driver said.
        message: String,
    },
    /// The driver refused something for another reason.
    #[error("{adapter} failed: {message}")]
    Failed {
        /// The adapter.
        adapter: String,
        /// What the driver said.
        message: String,
    },
}
