//! What does llama.cpp ask of a tokenizer? Tokens, their types, merges, how text is split first, and special tokens.

use std::path::Path;

use quant_gguf::{Array, Value};
use serde_json::Value as Json;

use super::refused;
use crate::error::Error;

/// llama.cpp's token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Special tokens that have a key of their own: ours in tokenizer_config.json and config.json, and GGUF's.
const SPECIAL: [(&str, &str); 5] =
    [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("sep", "seperator"), ("pad", "padding")];

/// The splits of Llama 3 and Qwen2; they differ in how digits go together.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The keys `tokenizer.*` for the tokenizer beside a model whose embedding has so many `entries`.
pub fn metadata(folder: &Path, config: &Json, entries: usize) -> Result<Vec<(String, Value)>, Error> {
    let place = folder.join("tokenizer.json");
    let Some(tokenizer) = read_json(&place)? else {
        return Err(refused(folder, "a GGUF file holds its tokenizer; put tokenizer.json into the folder"));
    };
    let settings = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or(Json::Null);
    let model = &tokenizer["model"];
    let pre = pre_tokenizer(&tokenizer).ok_or_else(|| {
        let why = "this tokenizer cannot be written as GGUF; byte-level BPE that splits text as GPT-2, SmolLM, Llama 3 \
                   or Qwen2 does can";
        refused(&place, why)
    })?;
    let (tokens, types) = tokens(&tokenizer, entries).map_err(|why| refused(&place, &why))?;
    let merges = model["merges"].as_array().and_then(|merges| merges.iter().map(merge).collect::<Option<Vec<_>>>());
    let merges = merges.ok_or_else(|| refused(&place, "its merges are no list of pairs"))?;
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut metadata = vec![
        (key("model"), Value::String("gpt2".into())),
        (key("pre"), Value::String(pre.into())),
        (key("tokens"), Value::Array(Array::String(tokens.clone()))),
        (key("token_type"), Value::Array(Array::I32(types))),
        (key("merges"), Value::Array(Array::String(merges))),
    ];
    for (ours, theirs) in SPECIAL {
        if let Some(id) = special(&settings, config, &tokens, ours) {
            metadata.push((key(&format!("{theirs}_token_id")), Value::U32(id)));
        }
    }
    let bos = text_of(&settings["bos_token"]);
    let adds_bos =
        settings["add_bos_token"].as_bool().unwrap_or_else(|| begins_with(&tokenizer["post_processor"], bos));
    metadata.push((key("add_bos_token"), Value::Bool(adds_bos)));
    metadata.push((key("add_space_prefix"), Value::Bool(false)));
    if let Some(template) = chat_template(folder, &settings)? {
        metadata.push(("tokenizer.chat_template".into(), Value::String(template)));
    }
    Ok(metadata)
}

fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(refused(path, "is not UTF-8")),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn read_json(path: &Path) -> Result<Option<Json>, Error> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| refused(path, &format!("not JSON: {error}")))
}

/// llama.cpp's name of the way a tokenizer splits text, where it has one for exactly this way.
fn pre_tokenizer(tokenizer: &Json) -> Option<&'static str> {
    let model = &tokenizer["model"];
    let is_byte_level = model["type"] == "BPE" && model["byte_fallback"] != true;
    let normal = &tokenizer["normalizer"];
    // Qwen2 composes characters first, which llama.cpp leaves out.
    if !is_byte_level || !(normal.is_null() || normal["type"] == "NFC") {
        return None;
    }
    let pre = &tokenizer["pre_tokenizer"];
    let steps: Vec<&Json> = match pre["pretokenizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![pre],
    };
    let byte_level = |step: &Json, splits: bool| {
        let is_plain = step["type"] == "ByteLevel" && step["add_prefix_space"] != true;
        is_plain && step["use_regex"].as_bool().unwrap_or(true) == splits
    };
    let regex = |step: &Json| {
        let is_plain = step["type"] == "Split" && step["behavior"] == "Isolated" && step["invert"] != true;
        let text = if is_plain { step["pattern"]["Regex"].as_str() } else { None };
        text.unwrap_or_default().to_owned()
    };
    match steps[..] {
        [last] if byte_level(last, true) => Some("gpt-2"),
        [digits, last]
            if digits["type"] == "Digits" && digits["individual_digits"] == true && byte_level(last, true) =>
        {
            Some("smollm")
        }
        [split, last] if regex(split) == LLAMA_3 && byte_level(last, false) => Some("llama-bpe"),
        [split, last] if regex(split) == QWEN_2 && byte_level(last, false) => Some("qwen2"),
        _ => None,
    }
}

/// Every entry's text and type; entries that no token has are padding.
fn tokens(tokenizer: &Json, entries: usize) -> Result<(Vec<String>, Vec<i32>), String> {
    let mut tokens: Vec<String> = (0..entries).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; entries];
    let mut set = |id: &Json, text: &str, kind: i32| {
        let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < entries);
        let at = at.ok_or_else(|| format!("token {text:?} has number {id}; the embedding has {entries} entries"))?;
        (tokens[at], types[at]) = (text.to_owned(), kind);
        Ok::<(), String>(())
    };
    let vocabulary = tokenizer["model"]["vocab"].as_object().ok_or("its vocabulary is no object")?;
    for (text, id) in vocabulary {
        set(id, text, NORMAL)?;
    }
    for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let text = added["content"].as_str().ok_or("an added token has no content")?;
        // llama.cpp's converter takes these for control tokens whatever the flag says.
        let looks_special = text.starts_with("<|") && text.ends_with("|>");
        let kind = if added["special"] == true || looks_special { CONTROL } else { USER_DEFINED };
        set(&added["id"], text, kind)?;
    }
    Ok((tokens, types))
}

/// `a b`, from text or from a pair.
fn merge(merge: &Json) -> Option<String> {
    match merge {
        Json::String(text) => Some(text.clone()),
        Json::Array(pair) => match &pair[..] {
            [a, b] => Some(format!("{} {}", a.as_str()?, b.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

/// A token as settings name it: text, or an object with its content.
fn text_of(token: &Json) -> Option<&str> {
    token.as_str().or(token["content"].as_str())
}

/// The number of a special token: of the token that the tokenizer's settings name, else what config.json says.
fn special(settings: &Json, config: &Json, tokens: &[String], which: &str) -> Option<u32> {
    let named = text_of(&settings[format!("{which}_token")]);
    let found = named.and_then(|text| tokens.iter().position(|token| token == text));
    let configured = &config[format!("{which}_token_id")];
    let configured = configured.as_u64().or(configured[0].as_u64()).filter(|id| *id < tokens.len() as u64);
    found.map(|id| id as u64).or(configured).and_then(|id| u32::try_from(id).ok())
}

/// Whether a post-processor puts the token `bos` first.
fn begins_with(processor: &Json, bos: Option<&str>) -> bool {
    let steps = processor["processors"].as_array().map_or(vec![processor], |steps| steps.iter().collect());
    let first = |step: &&Json| step["single"][0]["SpecialToken"]["id"].as_str().is_some_and(|id| Some(id) == bos);
    steps.iter().any(first)
}

fn chat_template(folder: &Path, settings: &Json) -> Result<Option<String>, Error> {
    match settings["chat_template"].as_str() {
        Some(template) => Ok(Some(template.to_owned())),
        None => read_text(&folder.join("chat_template.jinja")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokenizer(pre: Json) -> Json {
        json!({"pre_tokenizer": pre, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 3}, "merges": [["a", "b"]]},
            "added_tokens": [{"id": 2, "content": "<|x|>", "special": false}, {"id": 4, "content": "y", "special": false}]})
    }

    fn byte_level(use_regex: bool) -> Json {
        json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex})
    }

    #[test]
    fn ways_to_split_have_llama_cpps_names() {
        let sequence = |steps: Json| tokenizer(json!({"type": "Sequence", "pretokenizers": steps}));
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let digits = json!({"type": "Digits", "individual_digits": true});
        assert_eq!(pre_tokenizer(&tokenizer(byte_level(true))), Some("gpt-2"));
        assert_eq!(pre_tokenizer(&sequence(json!([digits, byte_level(true)]))), Some("smollm"));
        assert_eq!(pre_tokenizer(&sequence(json!([split(LLAMA_3), byte_level(false)]))), Some("llama-bpe"));
        assert_eq!(pre_tokenizer(&sequence(json!([split(QWEN_2), byte_level(false)]))), Some("qwen2"));
        assert_eq!(pre_tokenizer(&sequence(json!([split("x"), byte_level(false)]))), None);
        assert_eq!(pre_tokenizer(&tokenizer(json!({"type": "Metaspace"}))), None);
        let mut fallback = tokenizer(byte_level(true));
        fallback["model"]["byte_fallback"] = json!(true);
        assert_eq!(pre_tokenizer(&fallback), None);
    }

    #[test]
    fn tokens_stand_at_their_numbers_and_gaps_are_padding() {
        let (texts, types) = tokens(&tokenizer(byte_level(true)), 6).unwrap();
        assert_eq!(texts, ["a", "b", "<|x|>", "ab", "y", "[PAD5]"]);
        assert_eq!(types, [NORMAL, NORMAL, CONTROL, NORMAL, USER_DEFINED, UNUSED]);
        let error = tokens(&tokenizer(byte_level(true)), 4).unwrap_err();
        assert_eq!(error, "token \"y\" has number 4; the embedding has 4 entries");
    }

    #[test]
    fn special_tokens_come_by_name_first() {
        let texts = ["a".to_owned(), "b".to_owned()];
        let settings = json!({"bos_token": {"content": "b"}, "eos_token": "gone"});
        let config = json!({"eos_token_id": [1, 0], "pad_token_id": 7});
        assert_eq!(special(&settings, &config, &texts, "bos"), Some(1));
        assert_eq!(special(&settings, &config, &texts, "eos"), Some(1));
        assert_eq!(special(&settings, &config, &texts, "pad"), None);
        let template = json!({"processors": [{"type": "ByteLevel"}, {"single": [{"SpecialToken": {"id": "b"}}]}]});
        assert!(begins_with(&template, Some("b")) && !begins_with(&template, None));
    }
}
