//! WGSL kernels of quant, and the facts that Rust needs about them.
//!
//! WGSL is the source of truth: workgroup sizes, bindings and parameter structs are reflected from it when the crate is
//! built, after naga has checked every kernel. Bindings are, in this order, the uniform `params`, the inputs, and one output.
//! Kernels index with u32 and guard their tails; a grid is rows of workgroups with a linear number.

/// A compute kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Of its file, its entry point and its constant.
    pub name: &'static str,
    /// The complete WGSL.
    pub source: &'static str,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
    /// Whether it is compiled for a number format: the override `DTYPE`, 0 for f32, 1 for f16, 2 for bf16.
    pub has_dtype: bool,
    /// What is bound, in order.
    pub bindings: &'static [Binding],
}

/// A buffer that a kernel uses.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Its number in group 0.
    pub index: u32,
    /// The name of the WGSL variable.
    pub name: &'static str,
    /// What the kernel does with it.
    pub access: Access,
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads parameters.
    Uniform,
    /// Reads.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// A parameter struct as naga and as Rust lay it out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Of the struct.
    pub name: &'static str,
    /// Bytes in WGSL.
    pub len: usize,
    /// Bytes in Rust.
    pub mirrored_len: usize,
    /// Name, offset in WGSL, offset in Rust.
    pub fields: &'static [(&'static str, usize, usize)],
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
