//! Classification of sentences, single or in pairs: CSV or JSON lines, a BERT with a linear head on the whole, accuracy.
//!
//! Deliberately not here: reading and sampling, which `metashot-data` does, and the encoder.

use std::{ops::Range, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Device, Tensor};
use metashot_autograd::{Params, Patterns, Value};
use metashot_data::{
    ClassSampler, ClassShape, disjoint,
    text::{Columns, LabelledSet, Tokenizer, read_labelled},
};
use metashot_meta::Prepared;
use metashot_models::{
    Bert, BertConfig, FrozenLayers, Pooling, SentenceClassifier, TokenBatch, TokenClassifier,
    checkpoint::{conform, load_bert},
};
use rand_chacha::ChaCha8Rng;

use super::{Case, Half, Labels, Split, encoder::Halves};
use crate::{
    heads::{rows_by_class, rows_of_tasks},
    recipe::{Episodes, Paths, PoolingKind, Sentences},
    score::Score,
    tagger::check_vocabulary,
};

/// A sentence classifier's data, model and episodes.
pub struct SentenceCase {
    model: SentenceClassifier,
    encoder: Option<Params>,
    device: Device,
    train: Part,
    validation: Part,
    test: Part,
}

/// The texts of one split, tokenized once, and their episodes.
struct Part {
    n_classes: usize,
    /// Token ids and segments.
    encoded: Vec<(Vec<u32>, Vec<u32>)>,
    /// Texts that are longer than an episode takes.
    n_too_long: usize,
    sampler: ClassSampler,
}

/// The tensors of one episode, or of some as a batch.
pub struct SentenceTask {
    texts: Halves,
    support_labels: Vec<i64>,
    query_labels: Vec<i64>,
    n_way: usize,
}

impl SentenceCase {
    /// Reads the files of a recipe. `backbone` and `weights` are local directories in Hugging Face layout: the sizes and the
    /// tokenizer, and the encoder to start from, a random one if there is none.
    ///
    /// # Errors
    /// A file that is missing or malformed, splits whose classes overlap, or classes too small for the episodes.
    pub fn new(
        sentences: &Sentences,
        episodes: &Episodes,
        paths: &Paths,
        (backbone, weights): (&Path, Option<&Path>),
        (seed, device): (u64, Device),
    ) -> Result<Self> {
        let columns = Columns {
            text: sentences.text.clone(),
            pair: sentences.text_pair.clone(),
            label: sentences.label.clone(),
        };
        let read = |name: &String| -> Result<LabelledSet> {
            Ok(read_labelled(&paths.find(name)?, &columns)?.without_duplicates())
        };
        let [train, validation, test] = match &sentences.data[..] {
            [all] => {
                read(all)?.split(sentences.validation_classes, sentences.test_classes, seed)?
            }
            [train, validation, test] => {
                let (train, validation, test) = (read(train)?, read(validation)?, read(test)?);
                // A text that stands in two splits would be known before it is tested on.
                let validation = validation.without(&train);
                let test = test.without(&train).without(&validation);
                [train, validation, test]
            }
            _ => anyhow::bail!("`sentences.data` must name one file or three"),
        };
        disjoint(&[
            ("train", &train.classes),
            ("validation", &validation.classes),
            ("test", &test.classes),
        ])?;

        let tokenizer = Tokenizer::from_file(&backbone.join("tokenizer.json"))?;
        let config = BertConfig::read(&backbone.join("config.json"))?;
        check_vocabulary(backbone, &tokenizer, &config)?;
        let shapes = Bert::new(config.clone())?.shapes();
        let load = |directory: &Path| -> Result<Params> {
            let (_, encoder) = load_bert(directory, DType::F32, &device)?;
            conform(directory, &encoder, &shapes)?;
            Ok(encoder)
        };
        let encoder = weights.map(load).transpose()?;
        ensure!(
            sentences.max_tokens <= config.max_position_embeddings,
            "`sentences.max_tokens` is {}, the model of `{}` has {} positions",
            sentences.max_tokens,
            backbone.display(),
            config.max_position_embeddings
        );
        let part = |set: &LabelledSet, n_query, name: &str| {
            let shape = ClassShape {
                n_way: episodes.n_way,
                k_shot: episodes.k_shot,
                n_query,
            };
            Part::new(set, &tokenizer, sentences.max_tokens, shape)
                .with_context(|| format!("the {name} texts do not make these episodes"))
        };
        let pooling = match sentences.pooling {
            PoolingKind::Cls => Pooling::Cls,
            PoolingKind::Mean => Pooling::Mean,
        };
        Ok(Self {
            model: SentenceClassifier::new(config, pooling, episodes.n_way)?,
            encoder,
            device,
            train: part(&train, episodes.n_query, "training")?,
            validation: part(&validation, episodes.test_n_query, "validation")?,
            test: part(&test, episodes.test_n_query, "test")?,
        })
    }
}

impl Part {
    fn new(
        set: &LabelledSet,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        shape: ClassShape,
    ) -> Result<Self> {
        let mut encoded = Vec::with_capacity(set.texts.len());
        let mut by_class = vec![Vec::new(); set.classes.len()];
        for text in &set.texts {
            let tokens = tokenizer.encode_text(&text.text, text.pair.as_deref())?;
            // A text that was cut could lose what its class rests on.
            if tokens.0.len() <= max_tokens {
                by_class[text.label].push(encoded.len());
                encoded.push(tokens);
            }
        }
        Ok(Self {
            n_classes: set.classes.len(),
            n_too_long: set.texts.len() - encoded.len(),
            sampler: ClassSampler::new(&set.classes, &by_class, shape)?,
            encoded,
        })
    }

    fn batch(&self, picked: &[(usize, usize)]) -> TokenBatch {
        let texts = || picked.iter().map(|&(text, _)| &self.encoded[text]);
        let mut batch = TokenBatch::from_sequences(texts().map(|(ids, _)| ids));
        batch.type_ids = texts().flat_map(|(_, types)| types).copied().collect();
        batch
    }
}

impl Case for SentenceCase {
    type Task = SentenceTask;
    type Frozen = FrozenLayers;

    const HEAD: &'static str = TokenClassifier::HEAD;

    fn describe(&self) -> String {
        let part = |part: &Part| {
            let left_out = match part.n_too_long {
                0 => String::new(),
                n => format!(" ({n} longer ones left out)"),
            };
            let n_texts = part.encoded.len();
            format!("{} classes in {n_texts} texts{left_out}", part.n_classes)
        };
        format!(
            "sentences: {} to train on, {} to validate on, {} to test on",
            part(&self.train),
            part(&self.validation),
            part(&self.test)
        )
    }

    fn batch(
        &self,
        split: Split,
        seed: u64,
        episodes: Range<u64>,
        frozen: Option<&FrozenLayers>,
    ) -> Result<SentenceTask> {
        let part = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        let episodes: Vec<_> = episodes
            .map(|index| part.sampler.episode(seed, index))
            .collect();
        let [support, query]: [Vec<TokenBatch>; 2] = [
            episodes.iter().map(|e| part.batch(&e.support)).collect(),
            episodes.iter().map(|e| part.batch(&e.query)).collect(),
        ];
        let label = |&(_, label): &(usize, usize)| label as i64;
        Ok(SentenceTask {
            texts: Halves::new(&self.model.bert, [&support, &query], frozen, &self.device)?,
            support_labels: episodes
                .iter()
                .flat_map(|e| &e.support)
                .map(label)
                .collect(),
            query_labels: episodes.iter().flat_map(|e| &e.query).map(label).collect(),
            n_way: episodes.first().map_or(0, |episode| episode.classes.len()),
        })
    }

    fn n_tasks(&self, task: &SentenceTask) -> usize {
        task.texts.n_tasks()
    }

    fn init(&self, rng: &mut ChaCha8Rng) -> Result<Params> {
        Ok(match &self.encoder {
            None => self.model.init(rng, DType::F32, &self.device)?,
            Some(encoder) => {
                encoder.overlaid(&self.model.init_head(rng, DType::F32, &self.device)?)
            }
        })
    }

    fn frozen(&self, params: &Params, changing: &[&Patterns]) -> Option<FrozenLayers> {
        FrozenLayers::new(&self.model.bert, params, changing)
    }

    fn prepare(
        &self,
        task: &SentenceTask,
        params: &Params<Value>,
        adapt: &Patterns,
    ) -> metashot_models::Result<Prepared> {
        task.texts.prepare(&self.model.bert, params, adapt)
    }

    fn embed(
        &self,
        task: &SentenceTask,
        half: Half,
        params: &Params<Value>,
    ) -> metashot_models::Result<Value> {
        let hidden = task.texts.hidden(&self.model.bert, half, params)?;
        let pooled = self.model.pool(&hidden, task.texts.lengths(half))?;
        let first = task.texts.first_sequences(half);
        if first.len() == 1 {
            return Ok(pooled);
        }
        // Behind an episode's texts stand those that fill it up.
        let of_each = self.targets(task, half).len() / first.len();
        let texts: Vec<u32> = first
            .iter()
            .flat_map(|&first| first as u32..(first + of_each) as u32)
            .collect();
        Ok(pooled.lookup(&texts)?)
    }

    fn targets<'a>(&self, task: &'a SentenceTask, half: Half) -> &'a [i64] {
        match half {
            Half::Support => &task.support_labels,
            Half::Query => &task.query_labels,
        }
    }

    fn rows(&self, task: &SentenceTask, _labels: Labels) -> Vec<Vec<usize>> {
        rows_of_tasks(&task.support_labels, task.texts.n_tasks(), |labels| {
            rows_by_class(labels, task.n_way)
        })
    }

    fn score(&self, task: &SentenceTask, logits: &Tensor, _labels: Labels) -> Result<Score> {
        let predicted: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
        Ok(Score::accuracy(&predicted, &task.query_labels))
    }
}
