//! What stands beside the weights in a model's directory: the files of its tokenizer.
//!
//! Deliberately not here: weights and sizes, which `metashot-models` writes.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use metashot_data::text::Vocabulary;
use metashot_models::replace_file;
use serde_json::json;

/// The file a tokenizer is read from.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// What `transformers` is told about it.
pub(crate) const CONFIG: &str = "tokenizer_config.json";
const VOCABULARY: &str = "vocab.txt";
/// Its special tokens, as earlier versions of `transformers` look for them.
pub(crate) const SPECIAL: &str = "special_tokens_map.json";

/// Writes a vocabulary as `transformers` has it; `positions` is the longest sentence of its model, in tokens.
pub(crate) fn write_tokenizer(
    directory: &Path,
    vocabulary: &Vocabulary,
    lowercase: bool,
    positions: usize,
) -> Result<()> {
    let config = json!({
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lowercase,
        "model_max_length": positions,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    });
    let files = [
        (TOKENIZER, vocabulary.json.clone()),
        (CONFIG, format!("{config:#}\n")),
        (VOCABULARY, vocabulary.tokens.join("\n") + "\n"),
    ];
    for (name, text) in files {
        replace_file(&directory.join(name), |file| {
            file.write_all(text.as_bytes())
        })?;
    }
    Ok(())
}

/// The files of a tokenizer that a model's directory has, by name.
///
/// # Errors
/// A file that is there and cannot be read.
pub(crate) fn read_tokenizer(directory: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in [TOKENIZER, CONFIG, VOCABULARY, SPECIAL] {
        let path = directory.join(name);
        if path.exists() {
            let bytes =
                fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
            files.push((name, bytes));
        }
    }
    Ok(files)
}

/// Copies the files of a tokenizer from one model's directory to another, those of them that there are.
pub(crate) fn copy_tokenizer(from: &Path, to: &Path) -> Result<()> {
    for (name, bytes) in read_tokenizer(from)? {
        replace_file(&to.join(name), |file| file.write_all(&bytes))?;
    }
    Ok(())
}
