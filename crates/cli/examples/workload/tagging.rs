//! Tagging 512 sentences: no graph, sorted by length, a few at a time on each thread.
//!
//! Deliberately not here: splitting text into tokens, which no peer counts either.

use anyhow::{Result, ensure};
use candle_core::{D, DType};
use clap::Args;
use metashot::{allocator, batches::even_batches, device};
use metashot_meta::Workers;
use metashot_models::TokenBatch;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;
use serde_json::Value;

use crate::{bert, draw::Draw, measure::Bound, sentences};

#[derive(Args, Serialize)]
pub(crate) struct Tag {
    /// Tokens that a thread takes at once, about; the default is that of `metashot predict`.
    #[arg(long)]
    batch_tokens: Option<usize>,
}

impl Tag {
    pub(crate) fn run(&self, bound: &Bound) -> Result<Value> {
        let batch_tokens = self
            .batch_tokens
            .unwrap_or_else(|| device::tokens_at_once(bound.device));
        ensure!(batch_tokens > 0, "`--batch-tokens` must be at least 1");
        allocator::keep_pages_small();
        let model = bert::minilm()?;
        let mut rng = ChaCha8Rng::seed_from_u64(bound.seed);
        let params = model.init(&mut rng, DType::F32, &bound.open()?)?;
        let params = model.bert.for_reading(params)?.constants();
        let lengths = sentences::tagging_lengths()?;
        let sentences = sentences::random(&mut Draw::new(bound.seed), lengths.iter().copied());
        // The longest first, so that no thread is left alone with them at the end.
        let batches: Vec<TokenBatch> = even_batches(&lengths, batch_tokens, bound.threads)
            .into_iter()
            .rev()
            .map(|range| TokenBatch::from_sequences(&sentences[range]))
            .collect();
        let workers = Workers::new(bound.threads)?;
        let times = bound.time(|_| {
            let labels = workers.map(batches.len() as u64, |index| -> Result<_> {
                let logits = model.forward(&params, &batches[index as usize])?;
                Ok(logits.tensor().argmax(D::Minus1)?.to_vec1::<u32>()?)
            })?;
            Ok(labels.iter().flatten().map(|&label| f64::from(label)).sum())
        })?;
        let flop = bert::forward_flop(&lengths);
        bound.line("tag", self, times, ("sents_per_s", lengths.len()), flop)
    }
}
