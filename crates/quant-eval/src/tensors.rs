//! How are tensors in memory written to a safetensors file?

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use quant::Error;
use quant::checkpoint::layout::SafetensorsLayout;
use safetensors::Dtype;

use crate::{io, refused};

/// One tensor: name, dtype, shape, bytes.
pub(crate) type Tensor<'a> = (&'a str, Dtype, Vec<usize>, &'a [u8]);

/// Writes a file of the mode that the user's mask asks for; bytes of its tensors. Equal input gives equal bytes.
pub(crate) fn write(path: &Path, metadata: BTreeMap<String, String>, tensors: &[Tensor<'_>]) -> Result<u64, Error> {
    let refuse = |error| refused(format!("{}: {error}", path.display()));
    let mut layout = SafetensorsLayout::new(metadata);
    for (name, dtype, shape, _) in tensors {
        layout.add(name, *dtype, shape).map_err(refuse)?;
    }
    let layout = layout.finish().map_err(refuse)?;
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&at| layout.slots[at].offset);
    let mut file = File::create(path).map_err(io("create", path))?;
    file.write_all(&layout.header).map_err(io("write", path))?;
    for at in order {
        let bytes = tensors[at].3;
        assert_eq!(bytes.len() as u64, layout.slots[at].byte_len, "the shape is the bytes'");
        file.write_all(bytes).map_err(io("write", path))?;
    }
    Ok(tensors.iter().map(|(.., bytes)| bytes.len() as u64).sum())
}
