//! Whether the settings of a recipe make sense together.
//!
//! Deliberately not here: whether its files are there, which is known when they are read.

use anyhow::{Result, bail, ensure};

use super::Recipe;

impl Recipe {
    /// An error for the first setting that is out of range or does not go with another.
    pub(super) fn validate(&self) -> Result<()> {
        let cases = [
            self.ner.is_some(),
            self.sentences.is_some(),
            self.pictures.is_some(),
        ];
        ensure!(
            cases.into_iter().filter(|there| *there).count() == 1,
            "expected exactly one of the tables `[ner]`, `[sentences]` and `[pictures]`"
        );
        let positive = [
            ("episodes.n_way", self.episodes.n_way),
            ("episodes.k_shot", self.episodes.k_shot),
            ("episodes.n_query", self.episodes.n_query),
            ("episodes.test_n_query", self.episodes.test_n_query),
            ("outer.steps", self.outer.steps),
            ("outer.tasks_per_step", self.outer.tasks_per_step),
            ("evaluation.every", self.evaluation.every),
            (
                "evaluation.validation_episodes",
                self.evaluation.validation_episodes,
            ),
            ("evaluation.test_episodes", self.evaluation.test_episodes),
        ];
        for (key, value) in positive {
            ensure!(value > 0, "`{key}` must be at least 1, found 0");
        }
        let rates = [
            ("inner.lr", self.inner.lr),
            ("inner.prototype_scale", self.inner.prototype_scale),
            ("outer.lr", self.outer.lr),
        ];
        for (key, value) in rates.into_iter().chain(
            self.evaluation
                .finetune_lr
                .iter()
                .map(|&lr| ("evaluation.finetune_lr", lr)),
        ) {
            ensure!(
                value.is_finite() && value > 0.0,
                "`{key}` must be a positive number, found `{value}`"
            );
        }
        for (key, value) in [
            ("outer.weight_decay", self.outer.weight_decay),
            ("outer.clip_norm", self.outer.clip_norm),
        ]
        .into_iter()
        .chain(
            self.evaluation
                .viterbi_tau
                .iter()
                .map(|&tau| ("evaluation.viterbi_tau", tau)),
        ) {
            ensure!(
                value.is_finite() && value >= 0.0,
                "`{key}` must not be negative, found `{value}`"
            );
        }
        ensure!(
            (0.0..=1.0).contains(&self.outer.lr_floor),
            "`outer.lr_floor` must be between 0 and 1"
        );
        ensure!(
            self.outer.warmup_steps <= self.outer.steps,
            "`outer.warmup_steps` must be at most `outer.steps` ({}), found {}",
            self.outer.steps,
            self.outer.warmup_steps
        );
        ensure!(
            self.episodes.n_way >= 2 || self.ner.is_some(),
            "`episodes.n_way` must be at least 2, found 1"
        );
        if let Some(sentences) = &self.sentences {
            ensure!(
                sentences.max_tokens >= 3,
                "`sentences.max_tokens` must be at least 3, found {}",
                sentences.max_tokens
            );
            match sentences.data.len() {
                1 => ensure!(
                    sentences.validation_classes > 0 && sentences.test_classes > 0,
                    "with one file in `sentences.data`, `sentences.validation_classes` and `sentences.test_classes` \
                     must be at least 1"
                ),
                3 => {}
                n => bail!(
                    "`sentences.data` must name one file, or three (train, validation, test), found {n}"
                ),
            }
        }
        if let Some(pictures) = &self.pictures {
            ensure!(
                self.evaluation.starts.is_empty(),
                "`evaluation.starts` goes with `[ner]`: pictures have no start but a random one"
            );
            ensure!(
                [1, 3].contains(&pictures.channels),
                "`pictures.channels` must be 1 or 3, found {}",
                pictures.channels
            );
            ensure!(
                pictures.size > 0 && pictures.filters > 0,
                "`pictures.size` and `pictures.filters` must be at least 1"
            );
            match pictures.splits.len() {
                0 => ensure!(
                    pictures.validation_classes > 0 && pictures.test_classes > 0,
                    "without `pictures.splits`, `pictures.validation_classes` and `pictures.test_classes` must be at least 1"
                ),
                3 => {}
                n => bail!(
                    "`pictures.splits` must name three files (train, validation, test), found {n}"
                ),
            }
        }
        ensure!(
            self.ner.is_some() || self.evaluation.episodes.is_empty(),
            "`evaluation.episodes` goes with `[ner]`: only episodes of sentences with entities are frozen"
        );
        if let Some(ner) = &self.ner {
            ensure!(
                ner.max_tokens >= 3,
                "`ner.max_tokens` must be at least 3, found {}",
                ner.max_tokens
            );
            ensure!(
                !(ner.test.is_empty() && self.evaluation.episodes.is_empty()),
                "`ner.test` must name a file, or `evaluation.episodes` one of frozen episodes"
            );
        }
        Ok(())
    }
}
