//! A meta-step of MAML on a BERT of `MiniLM`'s size that labels every token.
//!
//! The three embedding tables are neither adapted nor trained, as with the peers. Deliberately not here: the model, the
//! losses and the optimizer, which are the libraries' own.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use candle_core::DType;
use clap::{Args, ValueEnum};
use metashot_autograd::{
    Order, Params, Patterns, Value,
    ops::{IGNORE_INDEX, cross_entropy_by_task},
};
use metashot_meta::{AdamW, InnerLoop, LossError, Prepared};
use metashot_models::{BertConfig, FrozenLayers, TokenBatch, TokenClassifier};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;

use crate::{
    arithmetic::{Forward, product},
    draw::Draw,
    keep::Keep,
    measure::Bound,
    sentences,
    step::{Step, Training},
};

/// Five entity types, each to begin and to continue, and none.
pub(crate) const LABELS: usize = 11;
const OUTER_LR: f64 = 1e-4;
const WEIGHT_DECAY: f64 = 0.01;
/// The names of what is computed once a task: what the first layer that adapts reads.
const SUPPORT_INPUT: &str = "support.input";
const QUERY_INPUT: &str = "query.input";

#[derive(Args, Serialize)]
pub(crate) struct Maml {
    /// Support sentences of a task.
    #[arg(long, default_value_t = 10)]
    support_sents: usize,
    /// Query sentences of a task.
    #[arg(long, default_value_t = 10)]
    query_sents: usize,
    /// Tokens of every sentence.
    #[arg(long, default_value_t = 64)]
    seq_len: usize,
    /// Sentences as long as those of Few-NERD, in place of `--seq-len`.
    #[arg(long)]
    real: bool,
    /// The folder with Few-NERD and `MiniLM`'s tokenizer: with `--real` the sentences themselves, not only their lengths.
    #[arg(long, env = "METASHOT_DATA")]
    #[serde(skip)]
    data: Option<PathBuf>,
    /// Steps of the inner loop.
    #[arg(long, default_value_t = 1)]
    inner_steps: usize,
    /// The length of an inner step.
    #[arg(long, default_value_t = 0.01)]
    inner_lr: f64,
    /// Tasks of a meta-step.
    #[arg(long, default_value_t = 4)]
    meta_batch: usize,
    /// First-order MAML in place of the exact meta-gradient.
    #[arg(long)]
    first_order: bool,
    /// What is kept of the inner steps; the default is what the program chooses where memory is free.
    #[arg(long, value_enum, default_value_t = Keep::Fast)]
    memory: Keep,
    /// What the inner loop adapts.
    #[arg(long, value_enum, default_value_t = Adapt::All)]
    adapt: Adapt,
    /// What the outer loop trains.
    #[arg(long, value_enum, default_value_t = Outer::All)]
    outer: Outer,
    /// Hold what layers that never change made of a sentence, as the program does, in place of computing it in each step.
    #[arg(long)]
    held: bool,
}

#[derive(Clone, Copy, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Adapt {
    /// Every parameter but the embedding tables.
    All,
    /// The last encoder layer and the head.
    LastLayer,
    /// The head.
    Head,
}

#[derive(Clone, Copy, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Outer {
    /// Every parameter but the embedding tables.
    All,
    /// What adapts.
    Adapted,
}

/// Sentences with a label for each token.
struct Sentences {
    batch: TokenBatch,
    targets: Vec<i64>,
}

impl Sentences {
    /// The tasks as one, each filled up to as many tokens as the longest has.
    fn task_after_task(tasks: &[[Self; 2]]) -> [Self; 2] {
        [0, 1].map(|half| {
            let of_half = || tasks.iter().map(|task| &task[half]);
            let batches: Vec<TokenBatch> = of_half().map(|one| one.batch.clone()).collect();
            let (batch, _) = TokenBatch::task_after_task(&batches);
            let n_rows = batch.n_tokens() / tasks.len();
            let mut targets = Vec::with_capacity(batch.n_tokens());
            for (number, one) in of_half().enumerate() {
                targets.extend(&one.targets);
                targets.resize((number + 1) * n_rows, IGNORE_INDEX);
            }
            Self { batch, targets }
        })
    }
}

impl Maml {
    pub(crate) fn run(&self, bound: &Bound) -> Result<serde_json::Value> {
        ensure!(
            self.meta_batch > 0 && self.support_sents > 0 && self.query_sents > 0,
            "`--meta-batch`, `--support-sents` and `--query-sents` must be at least 1"
        );
        let model = minilm()?;
        let mut rng = ChaCha8Rng::seed_from_u64(bound.seed);
        let params = model.init(&mut rng, DType::F32, &bound.open()?)?;
        let tasks = self.tasks(&mut Draw::new(bound.seed))?;
        let n_tasks = if bound.is_batched() {
            self.meta_batch
        } else {
            1
        };
        let inner = InnerLoop {
            steps: self.inner_steps,
            lr: self.inner_lr,
            adapt: self.adapted(),
            order: if self.first_order {
                Order::First
            } else {
                Order::Higher
            },
            memory: self.memory.into(),
        };
        let outer = match self.outer {
            Outer::All => tunable(),
            Outer::Adapted => self.adapted(),
        };
        // What lies below the layers that adapt is computed once a task; of both halves together, if it is not trained.
        let still = model.bert.first_adapting_layer(&inner.adapt);
        let frozen = FrozenLayers::new(&model.bert, &params, &[&inner.adapt, &outer]);
        ensure!(
            frozen.is_some() || !self.held,
            "`--held` needs layers that never change: `--outer adapted` with `--adapt last-layer` or `head`"
        );
        let frozen = frozen.map(|frozen| if self.held { frozen } else { frozen.holding(0) });
        let prepare = |[support, query]: &[Sentences; 2], p: &Params<Value>| {
            let mut prepared = Prepared::default();
            let batch = &support.batch;
            if let Some(frozen) = &frozen {
                let [support, query] = frozen.hidden(&model.bert, [batch, &query.batch])?;
                prepared.fixed.insert(SUPPORT_INPUT, support);
                prepared.fixed.insert(QUERY_INPUT, query);
            } else if let Some(layer) = still {
                let embedded = model.bert.embed(p, batch)?;
                let hidden = model.bert.layers(p, &embedded, &batch.lengths, 0..layer)?;
                prepared.fixed.insert(SUPPORT_INPUT, hidden);
            }
            Ok::<_, LossError>(prepared)
        };
        let loss = |sentences: &Sentences, input: &str, p: &Params<Value>| {
            let logits = match still.filter(|_| p.contains(input)) {
                Some(layer) => {
                    let lengths = &sentences.batch.lengths;
                    model.forward_from(layer, p, p.get(input)?, lengths)?
                }
                None => model.forward(p, &sentences.batch)?,
            };
            let loss = cross_entropy_by_task(&logits, &sentences.targets, n_tasks)?;
            Ok::<_, LossError>(loss)
        };
        let adamw = (AdamW::new(WEIGHT_DECAY), OUTER_LR);
        let mut training = Training::new(params, adamw, (&inner, &outer), bound.threads)?;
        let all = Sentences::task_after_task(&tasks);
        let step = if bound.is_batched() {
            Step::Batch(&all, n_tasks)
        } else {
            Step::Each(&tasks)
        };
        let times = bound.time(|_| {
            training.step(
                &step,
                prepare,
                |task: &[Sentences; 2], p: &Params<Value>| loss(&task[0], SUPPORT_INPUT, p),
                |task: &[Sentences; 2], p: &Params<Value>| loss(&task[1], QUERY_INPUT, p),
            )
        })?;
        let flop = tasks.iter().map(|task| self.flop(task)).sum();
        let per_second = ("tasks_per_s", self.meta_batch);
        let mut line = bound.line("bert", self, times, per_second, flop)?;
        line["padded_len"] = padded_len(&tasks).into();
        Ok(line)
    }

    fn tasks(&self, draw: &mut Draw) -> Result<Vec<[Sentences; 2]>> {
        let of_task = self.support_sents + self.query_sents;
        let count = self.meta_batch * of_task;
        let all = if self.real {
            sentences::few_nerd(draw, self.data.as_deref(), count)?
        } else {
            sentences::random(draw, vec![self.seq_len; count])
        };
        let mut labelled = |sentences: &[Vec<u32>]| {
            let batch = TokenBatch::from_sequences(sentences);
            let targets = (0..batch.n_tokens())
                .map(|_| draw.below(LABELS) as i64)
                .collect();
            Sentences { batch, targets }
        };
        Ok(all
            .chunks(of_task)
            .map(|task| task.split_at(self.support_sents))
            .map(|(support, query)| [labelled(support), labelled(query)])
            .collect())
    }

    fn adapted(&self) -> Patterns {
        let last = format!("encoder.layer.{}", minilm_config().num_hidden_layers - 1);
        let head = TokenClassifier::HEAD;
        match self.adapt {
            Adapt::All => tunable(),
            Adapt::LastLayer => Patterns::new([last.as_str(), head]),
            Adapt::Head => Patterns::new([head]),
        }
    }

    /// The arithmetic of a task, with what does not change in the inner loop counted once, and what is held not at all.
    fn flop(&self, [support, query]: &[Sentences; 2]) -> f64 {
        let n_layers = minilm_config().num_hidden_layers;
        let n_below = match self.adapt {
            Adapt::All => 0,
            Adapt::LastLayer => n_layers - 1,
            Adapt::Head => n_layers,
        };
        let steps = self.inner_steps as f64;
        let [(below, above), (below_query, above_query)] =
            [support, query].map(|sentences| parts(&sentences.batch.lengths, n_below));
        let inner = steps * above.inner_step(self.first_order);
        let whole = |forward: Forward| forward.first + forward.rest;
        match self.outer {
            Outer::Adapted if self.held => inner + above_query.with_gradient(),
            Outer::Adapted => below + below_query + inner + above_query.with_gradient(),
            Outer::All => {
                // The query's lower part has a gradient; the support's has one if it is exact, and then so has, in
                // every step, the input of the products that read it.
                let lower = if self.first_order {
                    below
                } else {
                    3.0 * below + 2.0 * steps * above.first
                };
                lower + 3.0 * below_query + inner + 3.0 * whole(above_query)
            }
        }
    }
}

/// A classifier of `MiniLM`'s size.
pub(crate) fn minilm() -> Result<TokenClassifier> {
    Ok(TokenClassifier::new(minilm_config(), LABELS)?)
}

/// The arithmetic of the whole model on sentences of these lengths.
pub(crate) fn forward_flop(lengths: &[usize]) -> f64 {
    let (_, all) = parts(lengths, 0);
    all.first + all.rest
}

fn minilm_config() -> BertConfig {
    BertConfig {
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1536,
        vocab_size: sentences::VOCABULARY,
        ..BertConfig::default()
    }
}

fn tunable() -> Patterns {
    Patterns::new(
        ["word", "position", "token_type"].map(|table| format!("!embeddings.{table}_embeddings")),
    )
}

/// The arithmetic of the layers below `n_below`, and of those above with the head.
fn parts(lengths: &[usize], n_below: usize) -> (f64, Forward) {
    let BertConfig {
        hidden_size: hidden,
        intermediate_size: wide,
        num_hidden_layers: n_layers,
        ..
    } = minilm_config();
    let tokens: usize = lengths.iter().sum();
    // Query, key and value read the layer's input.
    let read = 3.0 * product(tokens, hidden, hidden);
    let attention: f64 = lengths.iter().map(|&n| 2.0 * product(n, hidden, n)).sum();
    let rest = attention + product(tokens, hidden, hidden) + 2.0 * product(tokens, hidden, wide);
    let head = product(tokens, hidden, LABELS);
    let layer = read + rest;
    let n_above = n_layers - n_below;
    let above = match (n_below, n_above) {
        // The embeddings' normalisation is trained below the first layer.
        (0, _) => Forward {
            first: 0.0,
            rest: n_above as f64 * layer + head,
        },
        (_, 0) => Forward {
            first: head,
            rest: 0.0,
        },
        _ => Forward {
            first: read,
            rest: n_above as f64 * layer - read + head,
        },
    };
    (n_below as f64 * layer, above)
}

/// The length to which a program that pads would pad on average: that of each task's longest sentence.
fn padded_len(tasks: &[[Sentences; 2]]) -> usize {
    let longest = tasks.iter().map(|task| {
        let lengths = task.iter().flat_map(|sentences| &sentences.batch.lengths);
        lengths.copied().max().unwrap_or(0)
    });
    longest.sum::<usize>().div_ceil(tasks.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maml(inner_steps: usize, first_order: bool, adapt: Adapt, outer: Outer) -> Maml {
        Maml {
            support_sents: 10,
            query_sents: 10,
            seq_len: 64,
            real: false,
            data: None,
            inner_steps,
            inner_lr: 0.01,
            meta_batch: 4,
            first_order,
            memory: Keep::Flat,
            adapt,
            outer,
            held: false,
        }
    }

    #[test]
    fn arithmetic_is_what_the_peers_count() {
        use {Adapt::*, Outer::Adapted};
        let all = Outer::All;
        for (maml, gflop) in [
            (maml(1, true, All, all), 335),
            (maml(1, false, All, all), 671),
            (maml(3, true, All, all), 671),
            (maml(3, false, All, all), 1677),
            (maml(5, false, LastLayer, Adapted), 482),
            (maml(10, false, Head, Adapted), 113),
        ] {
            let tasks = maml.tasks(&mut Draw::new(0)).unwrap();
            let found: f64 = tasks.iter().map(|task| maml.flop(task)).sum();
            assert_eq!((found / 1e9).round() as u64, gflop);
        }
    }

    #[test]
    fn padding_goes_to_the_longest_of_each_task() {
        let sentences = |lengths: &[usize]| Sentences {
            batch: TokenBatch::from_sequences(lengths.iter().map(|&n| vec![1; n])),
            targets: Vec::new(),
        };
        let tasks = [
            [sentences(&[3, 9]), sentences(&[4])],
            [sentences(&[2]), sentences(&[12, 1])],
        ];
        assert_eq!(padded_len(&tasks), 11);
    }
}
