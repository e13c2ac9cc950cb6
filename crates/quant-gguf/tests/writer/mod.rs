//! A GGUF writer that can also lie, for tests and fuzzing seeds. It shares no code with the reader.

/// A GGUF file in the making.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    pub version: u32,
    /// Written instead of the true count.
    pub tensor_count: Option<u64>,
    /// Written instead of the true count.
    pub metadata_count: Option<u64>,
    /// What offsets and data are padded to; to state it in the file, add `general.alignment`.
    pub alignment: usize,
    pub tensors: Vec<TensorSpec>,
    pub metadata: Vec<u8>,
    pub entry_count: u64,
}

/// One tensor.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    pub name: String,
    /// In ggml's order: the fastest-varying first.
    pub lengths: Vec<u64>,
    pub type_id: u32,
    pub data: Vec<u8>,
    /// Written instead of the true offset.
    pub offset: Option<u64>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self {
            version: 3,
            tensor_count: None,
            metadata_count: None,
            alignment: 32,
            tensors: Vec::new(),
            metadata: Vec::new(),
            entry_count: 0,
        }
    }
}

impl GgufWriter {
    /// Adds an entry of any type; `value` as it is stored.
    pub fn entry(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        self.metadata.extend(string(key.as_bytes()));
        self.metadata.extend(type_id.to_le_bytes());
        self.metadata.extend(value);
        self.entry_count += 1;
        self
    }

    pub fn text(self, key: &str, value: &str) -> Self {
        self.entry(key, 8, &string(value.as_bytes()))
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    /// Adds a tensor; lengths in ggml's order.
    pub fn tensor(mut self, name: &str, lengths: &[u64], type_id: u32, data: Vec<u8>) -> Self {
        self.tensors.push(TensorSpec { name: name.to_owned(), lengths: lengths.to_vec(), type_id, data, offset: None });
        self
    }

    /// Changes the tensor added last.
    pub fn with_last(mut self, change: impl FnOnce(&mut TensorSpec)) -> Self {
        change(self.tensors.last_mut().expect("a tensor"));
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.metadata_count.unwrap_or(self.entry_count).to_le_bytes());
        file.extend(&self.metadata);
        let mut data = Vec::new();
        for tensor in &self.tensors {
            file.extend(string(tensor.name.as_bytes()));
            file.extend((tensor.lengths.len() as u32).to_le_bytes());
            tensor.lengths.iter().for_each(|length| file.extend(length.to_le_bytes()));
            file.extend(tensor.type_id.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        if !data.is_empty() {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
        }
        file.extend(data);
        file
    }
}

/// A length and the bytes.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// An array value: element type, count, the elements as stored.
pub fn array(type_id: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&type_id.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}
