//! Which files does a transformed checkpoint consist of? One safetensors file for each layer, one for the rest, an index, a
//! configuration that says what was done, and whatever else lay beside the original.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use quant::Error;
use quant::transformed::{CONFIG_KEY, METADATA_KEY, Mark};
use quant_core::tensor::Dtype as FloatDtype;
use safetensors::Dtype;

use crate::io;
use crate::layer::{Input, Layer};
use crate::model::Model;
use crate::tensors;

/// A file of f32 tensors in the making: name, shape, values.
pub(super) type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Writes layer by layer, and the index that says which tensor is where.
pub(super) struct Writer<'a> {
    model: &'a Model,
    folder: &'a Path,
    index: BTreeMap<String, String>,
    len_bytes: u64,
}

impl<'a> Writer<'a> {
    pub fn new(model: &'a Model, folder: &'a Path) -> Self {
        Self { model, folder, index: BTreeMap::new(), len_bytes: 0 }
    }

    fn write(&mut self, file: &str, tensors: &Tensors, mark: &Mark) -> Result<(), Error> {
        let mark = serde_json::to_string(mark).expect("plain data");
        let metadata = [("format".into(), "pt".into()), (METADATA_KEY.into(), mark)].into();
        self.len_bytes += write_f32(&self.folder.join(file), metadata, tensors)?;
        self.index.extend(tensors.iter().map(|(name, ..)| (name.clone(), file.to_owned())));
        Ok(())
    }

    /// Layer `index`; `mark` says what of it runs online.
    pub fn write_layer(&mut self, index: usize, layer: &Layer, mark: &Mark) -> Result<(), Error> {
        let place = format!("model.layers.{index}");
        let gain = |name: &str, gain: &[f32]| (format!("{place}.{name}.weight"), vec![gain.len()], gain.to_vec());
        let mut tensors = vec![
            gain("input_layernorm", &layer.attention_norm),
            gain("post_attention_layernorm", &layer.feed_forward_norm),
        ];
        if let Some([q, k]) = &layer.head_norms {
            tensors.extend([gain("self_attn.q_norm", q), gain("self_attn.k_norm", k)]);
        }
        for linear in Input::ALL.iter().flat_map(|input| layer.linears(*input)) {
            let name = Model::linear_name(index, linear.name);
            if let Some(bias) = &linear.bias {
                tensors.push((name.replace(".weight", ".bias"), vec![bias.len()], bias.clone()));
            }
            tensors.push((name, vec![linear.outputs(), linear.inputs], linear.weight.clone()));
        }
        self.write(&self.shard(index), &tensors, mark)
    }

    /// Everything that belongs to no layer: embedding, last norm, head.
    pub fn write_rest(&mut self, mark: &Mark) -> Result<(), Error> {
        let checkpoint = self.model.checkpoint();
        let device = quant::device::Device::cpu(None)?;
        let mut tensors = Vec::new();
        for (index, tensor) in checkpoint.tensors().iter().enumerate() {
            if self.index.contains_key(&tensor.name) || tensor.decoded_dtype.is_none() {
                continue;
            }
            let bytes = checkpoint.read(index, FloatDtype::F32, &device)?;
            tensors.push((tensor.name.clone(), tensor.shape.clone(), bytemuck::cast_slice::<u8, f32>(&bytes).to_vec()));
        }
        self.write(&self.shard(self.model.config().layer_count), &tensors, mark)
    }

    /// Layer `index`, and the rest at the end.
    fn shard(&self, index: usize) -> String {
        format!("model-{:05}-of-{:05}.safetensors", index + 1, self.model.config().layer_count + 1)
    }

    /// Index, configuration, and the files that are carried over.
    pub fn finish(self, mark: &Mark) -> Result<(), Error> {
        let index = serde_json::json!({"metadata": {"total_size": self.len_bytes}, "weight_map": self.index});
        self.write_json("model.safetensors.index.json", &index)?;
        let checkpoint = self.model.checkpoint().checkpoint();
        for relative in checkpoint.side_files().iter().filter(|path| *path != Path::new("config.json")) {
            let (from, to) = (checkpoint.path().join(relative), self.folder.join(relative));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(io("create the folder", parent))?;
            }
            fs::copy(&from, &to).map_err(io("copy", &from))?;
        }
        let mut config = checkpoint.config().cloned().unwrap_or_default();
        let fields = config.as_object_mut().expect("a model has a configuration of fields");
        // What is written is f32 and not quantized, whatever the source was.
        fields.remove("quantization_config");
        for key in ["dtype", "torch_dtype"] {
            fields.entry(key).and_modify(|dtype| *dtype = "float32".into());
        }
        fields.insert(CONFIG_KEY.into(), serde_json::to_value(mark).expect("plain data"));
        self.write_json("config.json", &config)
    }

    fn write_json(&self, name: &str, value: &serde_json::Value) -> Result<(), Error> {
        let path = self.folder.join(name);
        let text = serde_json::to_string_pretty(value).expect("plain data") + "\n";
        fs::write(&path, text).map_err(io("write", &path))
    }
}

/// Writes f32 tensors; bytes of them.
pub(super) fn write_f32(path: &Path, metadata: BTreeMap<String, String>, tensors: &Tensors) -> Result<u64, Error> {
    let views: Vec<tensors::Tensor<'_>> = tensors
        .iter()
        .map(|(name, shape, values)| (name.as_str(), Dtype::F32, shape.clone(), bytemuck::cast_slice(values)))
        .collect();
    tensors::write(path, metadata, &views)
}
