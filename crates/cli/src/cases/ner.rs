//! Named-entity recognition: BIO files, sub-words, a BERT with a linear head, entity-level scores.
//!
//! Deliberately not here: reading and sampling, which `metashot-data` does, and the encoder.

mod part;

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use metashot_autograd::{Params, Patterns, Value, ops::IGNORE_INDEX};
use metashot_data::text::{
    FrozenEpisodes, LabelScheme, LabelSet, NerShape, Span, Tokenizer, Transitions,
};
use metashot_meta::Prepared;
use metashot_models::{BertConfig, FrozenLayers, TokenBatch, TokenClassifier};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use self::part::{Part, Picked, Reading};
use super::{Case, Half, Labels, Split, TestEpisodes, encoder::Halves};
use crate::{
    heads::{refit_head, rows_by_label, rows_of_tasks},
    learners::episode_seed,
    ner_data::{NerSplits, read_splits},
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
    /// The labels of the episodes that are trained on.
    labels: LabelSet,
    transitions: Transitions,
    device: Device,
    train: Part,
    validation: Part,
    test: Part,
    /// Of the test episodes, where they come from a file.
    from_file: Option<FromFile>,
}

/// What is told of the episodes of a file.
struct FromFile {
    count: u64,
    /// The least and the most types of an episode.
    n_ways: (usize, usize),
    shape: String,
}

/// The tensors of one episode, or of some as a batch.
pub struct NerTask {
    tokens: Halves,
    support: Words,
    query: Words,
    /// The labels of the scheme for the episode's types, by their names; those of the first of a batch.
    labels: LabelSet,
}

/// The words of a half.
struct Words {
    /// The label of each.
    targets: Vec<i64>,
    /// The token that each begins with.
    tokens: Vec<u32>,
    /// For each sentence how many words it has and its entities.
    gold: Vec<(usize, Vec<Span>)>,
}

impl NerCase {
    /// Reads the files of a recipe, those of its starts among them, and `frozen` test episodes if a file is named.
    ///
    /// # Errors
    /// A file that is missing or malformed, splits whose types overlap, or types too few for the episodes.
    pub fn new(
        ner: &Ner,
        (episodes, frozen): (&Episodes, &str),
        paths: &Paths,
        starts: &Starts,
        (seed, device): (u64, Device),
    ) -> Result<Self> {
        let NerSplits {
            train,
            validation,
            test,
            frozen,
        } = read_splits(ner, frozen, paths, seed)?;
        let backbone = &starts.backbone;
        let tokenizer = Tokenizer::from_file(&backbone.join("tokenizer.json"))?;
        let scheme = LabelScheme::from(ner.scheme);
        let labels = labels(scheme, episodes.n_way);
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
            Part::drawn(corpus, &tokenizer, ner.max_tokens, shape)
                .with_context(|| format!("the {name} sentences do not make these episodes"))
        };
        let model = TokenClassifier::new(config, labels.roles.len())?;
        let transitions = Transitions::estimate(&train.sentences);
        let load = |start: &Start| starts.load(start, &model, &device);
        let named = |(name, start): &(String, Start)| Ok((name.clone(), load(start)?));
        let from_file = frozen.as_ref().map(FromFile::new);
        let test = match (frozen, test) {
            (Some(frozen), _) => Part::frozen(frozen, &tokenizer, ner.max_tokens)?,
            (None, Some(test)) => part(test, episodes.test_n_query, "test")?,
            (None, None) => unreachable!("there are test sentences or frozen episodes"),
        };
        Ok(Self {
            start: load(&starts.first)?,
            others: starts.others.iter().map(named).collect::<Result<_>>()?,
            model,
            scheme,
            labels,
            transitions,
            device,
            train: part(train, episodes.n_query, "training")?,
            validation: part(validation, episodes.test_n_query, "validation")?,
            test,
            from_file,
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

    /// The tokens and the words of some sentences, with their entities.
    fn words(&self, sentences: Vec<(&Reading, Vec<Span>)>) -> (TokenBatch, Words) {
        let (mut targets, mut tokens, mut gold) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_token = 0;
        let sequences = sentences.iter().flat_map(|(read, _)| &read.sequences);
        let batch = TokenBatch::from_sequences(sequences);
        for (read, spans) in sentences {
            let n_words = read.words.len();
            tokens.extend(read.words.iter().map(|at| (first_token + at) as u32));
            first_token += read.n_tokens();
            let labels = self.scheme.encode(&spans, n_words);
            targets.extend(labels.iter().map(|&label| label as i64));
            gold.push((n_words, spans));
        }
        let words = Words {
            targets,
            tokens,
            gold,
        };
        (batch, words)
    }
}

impl Words {
    /// The words of some episodes with so many tokens each, filled up to as many words as the longest has.
    fn task_after_task(tasks: Vec<Self>, n_tokens: usize) -> Self {
        let longest = tasks.iter().map(|words| words.targets.len()).max();
        let (mut targets, mut tokens, mut gold) = (Vec::new(), Vec::new(), Vec::new());
        for (task, words) in tasks.into_iter().enumerate() {
            let first = (task * n_tokens) as u32;
            targets.extend(words.targets);
            tokens.extend(words.tokens.iter().map(|token| first + token));
            gold.extend(words.gold);
            let n_rows = (task + 1) * longest.unwrap_or(0);
            targets.resize(n_rows, IGNORE_INDEX);
            tokens.resize(n_rows, first);
        }
        Self {
            targets,
            tokens,
            gold,
        }
    }

    /// Scores the entities that `find` makes of the rows of each sentence.
    ///
    /// # Shapes
    /// - `logits`: `(words, labels)`
    fn score(
        &self,
        types: &[String],
        logits: &Tensor,
        find: impl Fn(&[f32]) -> Result<Vec<Span>>,
    ) -> Result<Score> {
        let n_labels = logits.dims2()?.1;
        let log_probs = Value::constant(logits.clone()).log_softmax()?;
        let log_probs: Vec<f32> = log_probs.tensor().flatten_all()?.to_vec1()?;
        let mut score = Score::entities();
        let mut start = 0;
        for (n_words, gold) in &self.gold {
            let end = start + n_words * n_labels;
            score.add_entities(types, gold, &find(&log_probs[start..end])?);
            start = end;
        }
        Ok(score)
    }
}

/// The labels of a scheme for so many types, which are known by number.
fn labels(scheme: LabelScheme, n_types: usize) -> LabelSet {
    let types: Vec<String> = (0..n_types).map(|kind| kind.to_string()).collect();
    LabelSet::new(scheme, &types)
}

impl Case for NerCase {
    type Task = NerTask;
    type Frozen = FrozenLayers;

    const HEAD: &'static str = TokenClassifier::HEAD;

    fn describe(&self) -> String {
        let n_way = self.labels.types.len();
        let others = self
            .from_file
            .as_ref()
            .filter(|file| file.n_ways != (n_way, n_way));
        let others = others.map_or_else(String::new, |file| {
            format!("; training is {n_way}-way, the test {}", file.shape)
        });
        format!(
            "entities: {} to train on, {} to validate on, {} to test on{others}",
            self.train.describe(),
            self.validation.describe(),
            self.test.describe()
        )
    }

    fn test_episodes(&self, seed: u64, count: u64) -> Result<TestEpisodes> {
        let (count, shape) = match &self.from_file {
            Some(file) => (file.count, Some(file.shape.clone())),
            None => (count, None),
        };
        let hash = self.test.hash(episode_seed(seed, Split::Test), count)?;
        Ok(TestEpisodes {
            count,
            shape,
            hash: Some(hash),
        })
    }

    fn batch(
        &self,
        split: Split,
        seed: u64,
        episodes: Range<u64>,
        frozen: Option<&FrozenLayers>,
    ) -> Result<NerTask> {
        let mut labels = None;
        let mut tokens: [Vec<TokenBatch>; 2] = Default::default();
        let mut words: [Vec<Words>; 2] = Default::default();
        for index in episodes {
            let Picked { types, halves } = self.part(split).episode(seed, index)?;
            labels.get_or_insert_with(|| LabelSet::new(self.scheme, &types));
            for (half, sentences) in halves.into_iter().enumerate() {
                let (batch, of_half) = self.words(sentences);
                tokens[half].push(batch);
                words[half].push(of_half);
            }
        }
        let bert = &self.model.bert;
        let tokens = Halves::new(
            bert,
            tokens.each_ref().map(Vec::as_slice),
            frozen,
            &self.device,
        )?;
        let [support, query] = words;
        Ok(NerTask {
            support: Words::task_after_task(support, tokens.n_tokens(Half::Support)),
            query: Words::task_after_task(query, tokens.n_tokens(Half::Query)),
            tokens,
            labels: labels.context("a batch of no episodes")?,
        })
    }

    fn n_tasks(&self, task: &NerTask) -> usize {
        task.tokens.n_tasks()
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

    fn frozen(&self, params: &Params, changing: &[&Patterns]) -> Option<FrozenLayers> {
        FrozenLayers::new(&self.model.bert, params, changing)
    }

    fn prepare(
        &self,
        task: &NerTask,
        params: &Params<Value>,
        adapt: &Patterns,
    ) -> metashot_models::Result<Prepared> {
        task.tokens.prepare(&self.model.bert, params, adapt)
    }

    fn embed(
        &self,
        task: &NerTask,
        half: Half,
        params: &Params<Value>,
    ) -> metashot_models::Result<Value> {
        let hidden = task.tokens.hidden(&self.model.bert, half, params)?;
        Ok(hidden.lookup(&task.half(half).tokens)?)
    }

    fn targets<'a>(&self, task: &'a NerTask, half: Half) -> &'a [i64] {
        &task.half(half).targets
    }

    fn rows(&self, task: &NerTask, labels: Labels) -> Vec<Vec<usize>> {
        let targets = &task.support.targets;
        match labels {
            Labels::Learned => rows_of_tasks(targets, task.tokens.n_tasks(), |targets| {
                rows_by_label(targets, &task.labels)
            }),
            Labels::Classes => {
                let io = task.classes();
                let class = |&label: &i64| {
                    let kind = task.labels.roles[label as usize].kind();
                    kind.map_or(0, |kind| kind as i64 + 1)
                };
                let targets: Vec<i64> = targets.iter().map(class).collect();
                rows_by_label(&targets, &io)
            }
        }
    }

    fn fit_head(&self, task: &NerTask, params: &Params<Value>) -> Result<Option<Params<Value>>> {
        if task.labels.roles.len() == self.labels.roles.len() {
            return Ok(None);
        }
        refit_head(Self::HEAD, &self.labels, &task.labels, params).map(Some)
    }

    fn score(&self, task: &NerTask, logits: &Tensor, labels: Labels) -> Result<Score> {
        let classes = task.classes();
        let labels = match labels {
            Labels::Learned => &task.labels,
            Labels::Classes => &classes,
        };
        let find = |row: &[f32]| Ok(labels.spans(&labels.decode(row)));
        task.query.score(&task.labels.types, logits, find)
    }

    fn transitions(&self) -> Option<&Transitions> {
        Some(&self.transitions)
    }

    fn score_sequence(
        &self,
        task: &NerTask,
        logits: &Tensor,
        labels: Labels,
        tau: f64,
    ) -> Result<Score> {
        let classes = task.classes();
        let n_types = classes.types.len();
        let find = |row: &[f32]| {
            let labels = match labels {
                Labels::Classes => self.transitions.decode(row, n_types, tau)?,
                Labels::Learned => {
                    let row = task.labels.sum_by_class(row);
                    self.transitions.decode(&row, n_types, tau)?
                }
            };
            Ok(classes.spans(&labels))
        };
        task.query.score(&task.labels.types, logits, find)
    }
}

impl NerTask {
    fn half(&self, half: Half) -> &Words {
        match half {
            Half::Support => &self.support,
            Half::Query => &self.query,
        }
    }

    /// One label for each type, begin and inside alike.
    fn classes(&self) -> LabelSet {
        LabelSet::new(LabelScheme::Io, &self.labels.types)
    }
}

impl FromFile {
    fn new(frozen: &FrozenEpisodes) -> Self {
        let n_ways = || frozen.episodes.iter().map(|episode| episode.types.len());
        let n_ways = (n_ways().min().unwrap_or(0), n_ways().max().unwrap_or(0));
        let way = match n_ways {
            (least, most) if least == most => format!("{least}-way"),
            (least, most) => format!("{least}- to {most}-way"),
        };
        let shape = match frozen.header.as_ref().map(|header| &header.origin) {
            None => way,
            Some(origin) if origin.n_query.is_some() => {
                format!("{way} {}~{}-shot", origin.k_shot, 2 * origin.k_shot)
            }
            Some(origin) => format!("{way} {}-shot ({})", origin.k_shot, origin.protocol),
        };
        Self {
            count: frozen.episodes.len() as u64,
            n_ways,
            shape,
        }
    }
}
