//! The files that a recipe names.
//!
//! Deliberately not here: finding them (`paths`).

use super::{Init, Recipe, is_embedded};

impl Recipe {
    /// The names of its data, models left out.
    pub(crate) fn data_files(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        if let Some(ner) = &self.ner {
            names.extend([ner.train.as_str(), &ner.validation, &ner.test]);
        }
        if let Some(sentences) = &self.sentences {
            names.extend(sentences.data.iter().map(String::as_str));
        }
        if let Some(pictures) = &self.pictures {
            let files = pictures.data.iter().chain(&pictures.splits);
            names.extend(files.map(String::as_str));
        }
        names.push(&self.evaluation.episodes);
        names.retain(|name| !name.is_empty());
        names
    }

    /// Whether it names a file that is part of the program.
    pub fn is_embedded(&self) -> bool {
        let mut names = self.data_files();
        let mut inits: Vec<&Init> = self.evaluation.starts.iter().collect();
        if let Some(ner) = &self.ner {
            names.push(&ner.backbone);
            inits.push(&ner.init);
        }
        if let Some(sentences) = &self.sentences {
            names.push(&sentences.backbone);
            inits.push(&sentences.init);
        }
        names.extend(inits.into_iter().filter_map(|init| match init {
            Init::Other(name) => Some(name.as_str()),
            Init::Pretrained | Init::Random => None,
        }));
        names.into_iter().any(is_embedded)
    }
}
