//! The conformance suite on every adapter of the machine: as used; with pieces of 1 KiB, two workgroups in a row and one
//! piece at a time; and with an adapter used three times at once. A machine without an adapter fails: software drivers
//! are adapters too.

use quant_gpu::{Choice, Gpu, GpuOptions, inventory};

fn normal_options() -> GpuOptions {
    GpuOptions::default()
}

fn hostile_options() -> GpuOptions {
    GpuOptions { chunk_len_bytes: 1024, grid_width_max: 2, depth: 1, ..GpuOptions::default() }
}

fn on_every_adapter(options: fn() -> GpuOptions) -> Vec<Gpu> {
    let open = |index| Gpu::new(GpuOptions { choice: Choice::Index(index), ..options() }).expect("it can be opened");
    let gpus: Vec<Gpu> = inventory().iter().map(|adapter| open(adapter.index)).collect();
    assert!(!gpus.is_empty(), "no GPU adapter; `cargo xtask test` installs a software one or says how");
    gpus
}

mod normal {
    fn backends() -> Vec<quant_gpu::Gpu> {
        super::on_every_adapter(super::normal_options)
    }

    quant_core::conformance_suite!(backends);
}

mod hostile {
    fn backends() -> Vec<quant_gpu::Gpu> {
        super::on_every_adapter(super::hostile_options)
    }

    quant_core::conformance_suite!(backends);
}

#[test]
fn sharing_among_adapters_changes_nothing() {
    let gpus = vec![Gpu::repeated(hostile_options(), 3).expect("an adapter, if only a software one")];
    quant_core::conformance::first_not_finite(&gpus);
    quant_core::conformance::absmax_scales(&gpus);
    quant_core::conformance::encode_on_thresholds(&gpus);
}
