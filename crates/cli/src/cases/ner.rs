//! Named-entity recognition: BIO files, sub-words, a BERT with a linear head, entity-level scores.
//!
//! Deliberately not here: reading and sampling, which `metashot-data` does, and the encoder.

use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Device, Tensor};
use metashot_autograd::{Params, Patterns, Value, ops::cross_entropy};
use metashot_data::{
    ClassSplit, disjoint,
    text::{
        Corpus, Encoded, LabelScheme, NerEpisode, NerSampler, NerShape, Span, Tokenizer, read_bio,
    },
};
use metashot_meta::{Prepared, nearest_prototype, prototypes};
use metashot_models::{Bert, BertConfig, TokenBatch, TokenClassifier};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{Case, Half, Split};
use crate::{
    recipe::{Episodes, Ner, Paths},
    score::Score,
    starts::{Start, Starts},
    tagger::check_vocabulary,
};

/// A tagger's data, model and episodes.
pub struct NerCase {
    model: TokenClassifier,
    start: Option<Params>,
    others: Vec<(String, Option<Params>)>,
    scheme: LabelScheme,
    device: Device,
    train: Part,
    validation: Part,
    test: Part,
}

/// The sentences of one split, tokenized once, and their episodes.
struct Part {
    corpus: Corpus,
    encoded: Vec<Encoded>,
    sampler: NerSampler,
}

/// The tensors of one episode.
pub struct NerTask {
    /// The rows of the word table that its sentences read; their tokens are numbered by them.
    words: Tensor,
    support: Sentences,
    query: Sentences,
    n_types: usize,
}

/// Sentences one after another, with their labels.
struct Sentences {
    batch: TokenBatch,
    /// One for each token.
    targets: Vec<i64>,
    /// The rows of first sub-words, one for each word.
    word_rows: Tensor,
    /// For each sentence how many words it has and its entities.
    gold: Vec<(usize, Vec<Span>)>,
}

impl NerCase {
    /// Reads the files of a recipe, those of its starts among them.
    ///
    /// # Errors
    /// A file that is missing or malformed, splits whose types overlap, or types too few for the episodes.
    pub fn new(
        ner: &Ner,
        episodes: &Episodes,
        paths: &Paths,
        starts: &Starts,
        (seed, device): (u64, Device),
    ) -> Result<Self> {
        let read = |name: &str| -> Result<Corpus> {
            Ok(read_bio(&paths.find(name)?, ner.orphan.into())?.without_duplicates())
        };
        let (train, validation, test) =
            (read(&ner.train)?, read(&ner.validation)?, read(&ner.test)?);
        // A sentence that stands in two splits would be known before it is tested on.
        let validation = validation.without(&train);
        let test = test.without(&train).without(&validation);
        let (train, validation) = if ner.validation_types == 0 {
            (train, validation)
        } else {
            let split = ClassSplit::random(&train.types, ner.validation_types, 0, seed)?;
            (
                train.restrict(&split.train)?,
                validation.restrict(&split.validation)?,
            )
        };
        disjoint(&[
            ("train", &train.types),
            ("validation", &validation.types),
            ("test", &test.types),
        ])?;

        let backbone = &starts.backbone;
        let tokenizer = Tokenizer::from_file(&backbone.join("tokenizer.json"))?;
        let scheme = LabelScheme::from(ner.scheme);
        let n_labels = scheme.n_labels(episodes.n_way);
        let config = BertConfig::read(&backbone.join("config.json"))?;
        check_vocabulary(backbone, &tokenizer, &config)?;
        ensure!(
            ner.max_tokens <= config.max_position_embeddings,
            "`ner.max_tokens` is {}, the model of `{}` has {} positions",
            ner.max_tokens,
            backbone.display(),
            config.max_position_embeddings
        );
        let part = |corpus, n_query, name: &str| {
            let shape = NerShape {
                n_way: episodes.n_way,
                k_shot: episodes.k_shot,
                n_query,
            };
            Part::new(corpus, &tokenizer, ner.max_tokens, shape)
                .with_context(|| format!("the {name} sentences do not make these episodes"))
        };
        let model = TokenClassifier::new(config, n_labels)?;
        let load = |start: &Start| starts.load(start, &model, &device);
        let named = |(name, start): &(String, Start)| Ok((name.clone(), load(start)?));
        Ok(Self {
            start: load(&starts.first)?,
            others: starts.others.iter().map(named).collect::<Result<_>>()?,
            model,
            scheme,
            device,
            train: part(train, episodes.n_query, "training")?,
            validation: part(validation, episodes.test_n_query, "validation")?,
            test: part(test, episodes.test_n_query, "test")?,
        })
    }

    /// All parameters of a start: those it lacks are drawn.
    fn weights(&self, start: Option<&Params>, rng: &mut ChaCha8Rng) -> Result<Params> {
        Ok(match start {
            None => self.model.init(rng, DType::F32, &self.device)?,
            Some(start) => self
                .model
                .init_head(rng, DType::F32, &self.device)?
                .overlaid(start),
        })
    }

    fn part(&self, split: Split) -> &Part {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    fn sentences(&self, part: &Part, episode: &NerEpisode, picked: &[usize]) -> Result<Sentences> {
        let (mut targets, mut word_rows, mut gold) = (Vec::new(), Vec::new(), Vec::new());
        for &index in picked {
            let (sentence, encoded) = (&part.corpus.sentences[index], &part.encoded[index]);
            let spans = episode.spans(sentence);
            let first_row = targets.len();
            word_rows.extend(
                encoded
                    .word_positions()
                    .into_iter()
                    .map(|row| (first_row + row) as u32),
            );
            targets.extend(encoded.align(&self.scheme.encode(&spans, sentence.words.len())));
            gold.push((sentence.words.len(), spans));
        }
        let batch =
            TokenBatch::from_sequences(picked.iter().map(|&index| &part.encoded[index].ids));
        let word_rows = Tensor::new(word_rows, &self.device)?;
        Ok(Sentences {
            batch,
            targets,
            word_rows,
            gold,
        })
    }

    /// Scores one label for each word.
    fn compare(scheme: LabelScheme, sentences: &Sentences, labels: &[u32]) -> Score {
        let mut score = Score::entities();
        let mut start = 0;
        for (n_words, gold) in &sentences.gold {
            let labels: Vec<usize> = labels[start..start + n_words]
                .iter()
                .map(|&label| label as usize)
                .collect();
            start += n_words;
            score.add_entities(gold, &scheme.decode(&labels));
        }
        score
    }
}

impl Case for NerCase {
    type Task = NerTask;

    fn describe(&self) -> String {
        let part = |part: &Part| {
            format!(
                "{} types in {} sentences",
                part.corpus.types.len(),
                part.encoded.len()
            )
        };
        format!(
            "entities: {} to train on, {} to validate on, {} to test on",
            part(&self.train),
            part(&self.validation),
            part(&self.test)
        )
    }

    fn task(&self, split: Split, seed: u64, index: u64) -> Result<NerTask> {
        let part = self.part(split);
        let episode = part.sampler.episode(seed, index)?;
        let mut support = self.sentences(part, &episode, &episode.support)?;
        let mut query = self.sentences(part, &episode, &episode.query)?;
        let words = TokenBatch::renumber(&mut [&mut support.batch, &mut query.batch]);
        Ok(NerTask {
            words: Tensor::new(words, &self.device)?,
            support,
            query,
            n_types: episode.types.len(),
        })
    }

    fn init(&self, rng: &mut ChaCha8Rng) -> Result<Params> {
        self.weights(self.start.as_ref(), rng)
    }

    fn other_starts(&self, seed: u64) -> Result<Vec<(String, Params)>> {
        let weights = |(name, start): &(String, Option<Params>)| {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            Ok((name.clone(), self.weights(start.as_ref(), rng)?))
        };
        self.others.iter().map(weights).collect()
    }

    fn prepare(
        &self,
        task: &NerTask,
        params: &Params<Value>,
        adapt: &Patterns,
    ) -> metashot_models::Result<Prepared> {
        let mut prepared = Prepared::default();
        let words = params.get(Bert::WORDS)?.rows(&task.words)?;
        prepared.start.insert(Bert::WORDS, words);
        if let Some(layer) = self.model.bert.first_adapting_layer(adapt) {
            let params = params.overlaid(&prepared.start);
            let batch = &task.support.batch;
            let embedded = self.model.bert.embed(&params, batch)?;
            let hidden = self
                .model
                .bert
                .layers(&params, &embedded, &batch.lengths, 0..layer)?;
            prepared.fixed.insert(support_input(layer), hidden);
        }
        Ok(prepared)
    }

    fn loss(
        &self,
        task: &NerTask,
        half: Half,
        params: &Params<Value>,
    ) -> metashot_models::Result<Value> {
        let sentences = match half {
            Half::Support => &task.support,
            Half::Query => &task.query,
        };
        let n_layers = self.model.bert.config.num_hidden_layers;
        let prepared = (0..=n_layers).find_map(|layer| {
            let hidden = params.get(&support_input(layer)).ok()?;
            Some((layer, hidden))
        });
        let logits = match (half, prepared) {
            (Half::Support, Some((layer, hidden))) => {
                let lengths = &sentences.batch.lengths;
                self.model.forward_from(layer, params, hidden, lengths)?
            }
            _ => self.model.forward(params, &sentences.batch)?,
        };
        Ok(cross_entropy(&logits, &sentences.targets)?)
    }

    fn score(&self, task: &NerTask, params: &Params) -> Result<Score> {
        let params = task.read(params)?;
        let logits = self.model.forward(&params, &task.query.batch)?;
        let labels = logits
            .tensor()
            .index_select(&task.query.word_rows, 0)?
            .argmax(D::Minus1)?
            .to_vec1()?;
        Ok(Self::compare(self.scheme, &task.query, &labels))
    }

    fn score_prototypes(&self, task: &NerTask, params: &Params) -> Result<Score> {
        // One prototype a type and one for all else: inside and begin of a type are one class here.
        let scheme = LabelScheme::Io;
        let params = task.read(params)?;
        let embed = |sentences: &Sentences| -> Result<Value> {
            Ok(self
                .model
                .bert
                .forward(&params, &sentences.batch)?
                .rows(&sentences.word_rows)?)
        };
        let labels: Vec<i64> = task
            .support
            .gold
            .iter()
            .flat_map(|(n_words, spans)| scheme.encode(spans, *n_words))
            .map(|label| label as i64)
            .collect();
        let centres = prototypes(
            &embed(&task.support)?,
            &labels,
            scheme.n_labels(task.n_types),
        )?;
        let nearest = nearest_prototype(&embed(&task.query)?, &centres)?;
        Ok(Self::compare(scheme, &task.query, &nearest))
    }
}

/// The name under which a layer's input on the support set is prepared.
fn support_input(layer: usize) -> String {
    format!("support.input.{layer}")
}

impl NerTask {
    /// The parameters with the word table that the task's tokens are numbered by, which fast weights have already.
    fn read(&self, params: &Params) -> Result<Params<Value>> {
        let mut params = params.constants();
        let table = params.get(Bert::WORDS)?;
        if table.dims()[0] != self.words.elem_count() {
            let words = table.rows(&self.words)?;
            params.insert(Bert::WORDS, words);
        }
        Ok(params)
    }
}

impl Part {
    fn new(
        mut corpus: Corpus,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        shape: NerShape,
    ) -> Result<Self> {
        let mut encoded = Vec::with_capacity(corpus.sentences.len());
        let mut failed = None;
        // A sentence that was cut could lose the entities it was drawn for.
        corpus.sentences.retain(|sentence| {
            match tokenizer.encode_words(&sentence.words, max_tokens) {
                Ok(tokens) if tokens.n_words == sentence.words.len() => {
                    encoded.push(tokens);
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let types: Vec<usize> = (0..corpus.types.len()).collect();
        let sampler = NerSampler::new(&corpus, &types, shape)?;
        Ok(Self {
            corpus,
            encoded,
            sampler,
        })
    }
}
