//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::error::{quoted, reason};
use super::file::PositionedFile;
use super::header::HEADER_LEN_MAX;
use super::{CheckpointError, IndexProblem};

/// The file's name in a folder.
pub(super) const INDEX_NAME: &str = "model.safetensors.index.json";

/// A checked index: tensor name to shard file name, and that no shard leaves the folder.
#[derive(Debug)]
pub(super) struct Index {
    pub weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads and checks an index; whether the shards exist and hold the tensors is for [`super::folder`] to see.
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let refuse = |problem| CheckpointError::index(path, problem);
        let file = PositionedFile::open(path)?;
        if file.byte_len() > HEADER_LEN_MAX {
            return Err(refuse(IndexProblem::TooLarge { byte_len: file.byte_len() }));
        }
        let raw: RawIndex = serde_json::from_slice(&file.head(HEADER_LEN_MAX)?)
            .map_err(|error| refuse(IndexProblem::Json { reason: reason(&error) }))?;
        let weight_map = raw.weight_map.0;
        if weight_map.is_empty() {
            return Err(refuse(IndexProblem::Empty));
        }
        if let Some((tensor, shard)) = weight_map.iter().find(|(_, shard)| !stays_inside(shard)) {
            return Err(refuse(IndexProblem::Escapes { tensor: tensor.clone(), shard: shard.clone() }));
        }
        Ok(Self { weight_map })
    }

    /// The shards by name, each with one of its tensors.
    pub(super) fn shards(&self) -> BTreeMap<&str, &str> {
        self.weight_map.iter().map(|(tensor, shard)| (shard.as_str(), tensor.as_str())).collect()
    }
}

/// True for a relative path of plain names. A backslash is refused everywhere: it separates folders on Windows.
fn stays_inside(shard: &str) -> bool {
    let mut components = Path::new(shard).components().peekable();
    components.peek().is_some()
        && components.all(|component| matches!(component, Component::Normal(_)))
        && !shard.contains(['\\', '\0'])
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: UniqueMap,
}

/// A JSON object of strings; a name given twice is an error, not the last one's win.
struct UniqueMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMapVisitor)
    }
}

struct UniqueMapVisitor;

impl<'de> Visitor<'de> for UniqueMapVisitor {
    type Value = UniqueMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from tensor names to shard file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap, A::Error> {
        let mut unique = BTreeMap::new();
        while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
            if unique.contains_key(&tensor) {
                return Err(A::Error::custom(format!("tensor {} is named twice", quoted(&tensor))));
            }
            unique.insert(tensor, shard);
        }
        Ok(UniqueMap(unique))
    }
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn only_plain_relative_names_stay_inside() {
        for inside in ["a.safetensors", "sub/a.safetensors", "a..b"] {
            assert!(stays_inside(inside), "{inside}");
        }
        for outside in ["", ".", "..", "../x", "a/../../x", "/x", "a\\..\\x", "C:\\x", "./x", "a\0b"] {
            assert!(!stays_inside(outside), "{outside:?}");
        }
    }
}
