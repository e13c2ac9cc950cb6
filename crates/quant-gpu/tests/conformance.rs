//! The conformance suite: as used; with pieces of 1 KiB, two workgroups in a row and one piece at a time; and with an
//! adapter used three times at once. A machine without an adapter fails: software drivers are adapters too.

use quant_gpu::{Gpu, GpuOptions};

fn hostile() -> GpuOptions {
    GpuOptions { chunk_len_bytes: 1024, grid_width_max: 2, depth: 1, ..GpuOptions::default() }
}

mod normal {
    fn backends() -> Vec<quant_gpu::Gpu> {
        vec![quant_gpu::Gpu::new(quant_gpu::GpuOptions::default()).expect("an adapter, if only a software one")]
    }

    quant_core::conformance_suite!(backends);
}

mod hostile {
    fn backends() -> Vec<quant_gpu::Gpu> {
        vec![quant_gpu::Gpu::new(super::hostile()).expect("an adapter, if only a software one")]
    }

    quant_core::conformance_suite!(backends);
}

#[test]
fn sharing_among_adapters_changes_nothing() {
    let gpus = vec![Gpu::repeated(hostile(), 3).expect("an adapter, if only a software one")];
    quant_core::conformance::first_not_finite(&gpus);
    quant_core::conformance::absmax_scales(&gpus);
    quant_core::conformance::encode_on_thresholds(&gpus);
}
