//! Are the facts that Rust relies on those of the shaders? No GPU needed.

use quant_shaders::{Access, KERNELS, LAYOUTS};

#[test]
fn mirrored_structs_are_laid_out_alike() {
    for layout in LAYOUTS {
        assert_eq!(layout.mirrored_len, layout.len, "length of {}", layout.name);
        for (field, reflected, mirrored) in layout.fields {
            assert_eq!(mirrored, reflected, "offset of {field} in {}", layout.name);
        }
    }
    assert_eq!(LAYOUTS.len(), KERNELS.len());
}

#[test]
fn kernels_are_named_after_their_files() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels")).expect("it is there");
    let mut files: Vec<String> = folder.map(|f| f.expect("listed").file_name().into_string().expect("ASCII")).collect();
    files.sort();
    let names: Vec<String> = KERNELS.iter().map(|k| format!("{}.wgsl", k.name)).collect();
    assert_eq!(names, files);
}

#[test]
fn kernels_fit_the_least_that_webgpu_promises() {
    for kernel in KERNELS {
        assert!(kernel.workgroup_size <= 256, "{}: {} invocations", kernel.name, kernel.workgroup_size);
        let storage = kernel.bindings.iter().filter(|b| b.access != Access::Uniform).count();
        assert!(storage <= 8, "{}: {storage} storage buffers", kernel.name);
        assert!(!kernel.source.contains("#import"), "{}: an import is left", kernel.name);
    }
}
