//! Which facts does Rust need to know about a shader? Composes, checks and reflects every kernel when the crate is built.
//!
//! `//#import NAME` is replaced by shared/NAME.wgsl, once. naga parses and validates the result; from its module follow
//! the workgroup size, the bindings, and a Rust struct for the uniform parameters. A kernel's file, entry point and
//! constant share one name.

use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=shared");
    let mut code = String::new();
    let mut names = Vec::new();
    let mut structs = BTreeMap::new();
    for path in kernel_paths() {
        let name = path.file_stem().expect("a kernel has a name").to_str().expect("names are ASCII").to_owned();
        let source = compose(&read(&path), &mut Vec::new());
        let module = check(&name, &source).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        code += &kernel(&name, &source, &module);
        code += &layout(&name, &module, &mut structs);
        names.push(name);
    }
    code.extend(structs.into_values());
    let list: Vec<String> = names.iter().map(|name| name.to_uppercase()).collect();
    let _ = writeln!(code, "/// Every kernel.\npub const KERNELS: &[&Kernel] = &[&{}];", list.join(", &"));
    let layouts: Vec<String> = names.iter().map(|name| format!("{}_LAYOUT", name.to_uppercase())).collect();
    let _ = writeln!(code, "/// Every parameter struct.\npub const LAYOUTS: &[Layout] = &[{}];", layouts.join(", "));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.rs");
    std::fs::write(out, code).expect("OUT_DIR is writable");
}

fn kernel_paths() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("kernels").expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "wgsl"));
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source with its imports in place, each once, in the order in which they are first named.
fn compose(source: &str, done: &mut Vec<String>) -> String {
    let mut text = String::new();
    for line in source.lines() {
        match line.strip_prefix("//#import ") {
            Some(name) if done.iter().any(|d| d == name) => {}
            Some(name) => {
                done.push(name.to_owned());
                text += &compose(&read(Path::new(&format!("shared/{name}.wgsl"))), done);
            }
            None => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

fn check(name: &str, source: &str) -> Result<Module, String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let (flags, capabilities) = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
    let checked = naga::valid::Validator::new(flags, capabilities).validate(&module);
    checked.map_err(|error| error.emit_to_string(source))?;
    match module.entry_points.as_slice() {
        [entry] if entry.name == name => Ok(module),
        _ => Err(format!("has entry points other than one called {name}")),
    }
}

fn kernel(name: &str, source: &str, module: &Module) -> String {
    let mut bindings: Vec<(u32, String, &str, u32)> = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else { continue };
        let access = match variable.space {
            AddressSpace::Uniform => "Uniform",
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "ReadWrite",
            AddressSpace::Storage { .. } => "Read",
            _ => panic!("{name}: a binding is neither uniform nor storage"),
        };
        let len = module.types[variable.ty].inner.size(module.to_ctx());
        bindings.push((binding.binding, variable.name.clone().unwrap_or_default(), access, len));
    }
    bindings.sort();
    let numbers: Vec<u32> = bindings.iter().map(|b| b.0).collect();
    let accesses: Vec<&str> = bindings.iter().map(|b| b.2).collect();
    let in_order = numbers[0] == 0 && numbers.windows(2).all(|w| w[0] < w[1]);
    let inputs = &accesses[1..accesses.len() - 1];
    let expected =
        accesses[0] == "Uniform" && inputs.iter().all(|a| *a == "Read") && accesses[accesses.len() - 1] == "ReadWrite";
    assert!(in_order && expected, "{name}: bindings are params, then inputs, then one output; found {bindings:?}");
    let [x, y, z] = module.entry_points[0].workgroup_size;
    assert!(y == 1 && z == 1, "{name}: workgroups have one dimension");
    let upper = name.to_uppercase();
    let mut code = format!("/// `kernels/{name}.wgsl`.\npub const {upper}: Kernel = Kernel {{ name: {name:?}, ");
    let has_dtype = module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some("DTYPE"));
    let _ = write!(code, "workgroup_size: {x}, has_dtype: {has_dtype}, source: {source:?}, bindings: &[");
    for (index, binding, access, _) in &bindings {
        let _ = write!(code, "Binding {{ index: {index}, name: {binding:?}, access: Access::{access} }}, ");
    }
    let _ = writeln!(code, "] }};");
    code
}

/// The layout of the uniform struct as naga and as Rust see it. Its Rust mirror is added to `structs`, by its name: kernels
/// may share one.
fn layout(name: &str, module: &Module, structs: &mut BTreeMap<String, String>) -> String {
    let uniform = module.global_variables.iter().find(|(_, v)| v.space == AddressSpace::Uniform);
    let ty = &module.types[uniform.expect("checked above").1.ty];
    let (Some(type_name), TypeInner::Struct { members, span }) = (&ty.name, &ty.inner) else {
        panic!("{name}: params is not a struct");
    };
    let mut fields = String::new();
    let mut layout = String::new();
    for member in members {
        let field = member.name.as_deref().expect("members have names");
        let scalar = match &module.types[member.ty].inner {
            TypeInner::Scalar(s) if *s == naga::Scalar::U32 => "u32",
            TypeInner::Scalar(s) if *s == naga::Scalar::I32 => "i32",
            TypeInner::Scalar(s) if *s == naga::Scalar::F32 => "f32",
            _ => panic!("{name}: {field} is not a u32, i32 or f32"),
        };
        let _ = writeln!(fields, "    /// `{field}` of `{type_name}`.\n    pub {field}: {scalar},");
        let _ = write!(layout, "({field:?}, {}, std::mem::offset_of!({type_name}, {field})), ", member.offset);
    }
    let mirror = format!(
        "/// The uniform parameters `{type_name}` of kernels, as their WGSL explains them.\n\
         #[repr(C)]\n#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]\n\
         pub struct {type_name} {{\n{fields}}}\n"
    );
    let first = structs.entry(type_name.clone()).or_insert_with(|| mirror.clone());
    assert_eq!(*first, mirror, "{name}: another kernel has a different {type_name}");
    format!(
        "const {}_LAYOUT: Layout = Layout {{ name: {type_name:?}, len: {span}, \
         mirrored_len: size_of::<{type_name}>(), fields: &[{layout}] }};\n",
        name.to_uppercase()
    )
}
