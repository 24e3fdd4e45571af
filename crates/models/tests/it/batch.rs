//! What a batch is made of must not matter to any of its sentences.

use candle_core::{DType, Device, Tensor};
use metashot_models::{Bert, TokenBatch};

use crate::{max_difference, rng, small_config};

fn hidden(batch: &TokenBatch) -> Tensor {
    let bert = Bert::new(small_config()).unwrap();
    let params = bert
        .init(&mut rng(1), DType::F32, &Device::Cpu)
        .unwrap()
        .constants();
    bert.forward(&params, batch).unwrap().into_tensor()
}

const SENTENCES: [&[u32]; 3] = [&[1, 7, 3, 14, 2, 5], &[9], &[7, 0, 4]];

#[test]
fn a_sentence_is_the_same_alone_and_in_any_batch() {
    let alone = SENTENCES.map(|sentence| hidden(&TokenBatch::from_sequences([sentence])));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let together = hidden(&TokenBatch::from_sequences(order.map(|at| SENTENCES[at])));
        let expected = Tensor::cat(&order.map(|at| &alone[at]), 0).unwrap();
        assert!(max_difference(&together, &expected) < 1e-6, "{order:?}");
    }
}

#[test]
fn padding_leaves_no_trace() {
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for sentence in SENTENCES {
        // What stands where the mask is 0 is not even a token of the vocabulary.
        ids.extend((0..6).map(|at| sentence.get(at).copied().unwrap_or(999)));
        mask.extend((0..6).map(|at| u32::from(at < sentence.len())));
    }
    let padded = TokenBatch::from_padded(&ids, &mask, (3, 6)).unwrap();
    assert_eq!(padded, TokenBatch::from_sequences(SENTENCES));
    assert_eq!(padded.n_tokens(), 10);
}

#[test]
fn tokens_keep_their_positions_where_others_before_them_are_masked() {
    let batch =
        TokenBatch::from_padded(&[0, 0, 8, 9, 8, 0, 9, 0], &[0, 0, 1, 1, 1, 0, 1, 0], (2, 4))
            .unwrap();
    assert_eq!(batch.ids, [8, 9, 8, 9]);
    assert_eq!(batch.positions, [2, 3, 0, 2]);
    assert_eq!(batch.lengths, [2, 2]);
}

#[test]
fn layers_one_after_another_are_the_whole() {
    let bert = Bert::new(small_config()).unwrap();
    let params = bert
        .init(&mut rng(1), DType::F32, &Device::Cpu)
        .unwrap()
        .constants();
    let batch = TokenBatch::from_sequences(SENTENCES);
    let embedded = bert.embed(&params, &batch).unwrap();
    let first = bert
        .layers(&params, &embedded, &batch.lengths, 0..1)
        .unwrap();
    let none = bert.layers(&params, &first, &batch.lengths, 1..1).unwrap();
    let both = bert.layers(&params, &none, &batch.lengths, 1..2).unwrap();
    assert!(max_difference(both.tensor(), &hidden(&batch)) == 0.0);
    assert!(max_difference(first.tensor(), &hidden(&batch)) > 0.1);
}

#[test]
fn many_sentences_are_read_in_parts_to_the_same_bits() {
    let bert = Bert::new(small_config()).unwrap();
    let params = bert.init(&mut rng(1), DType::F32, &Device::Cpu).unwrap();
    // Some more tokens than go through the layers at once.
    let sentences = (0..3000).map(|at| SENTENCES[at % 3]);
    let batch = TokenBatch::from_sequences(sentences);
    assert_eq!(batch.n_tokens(), 10_000);
    let parts = bert.forward(&params.constants(), &batch).unwrap();
    // With a graph there are no parts.
    let whole = bert.forward(&params.variables(), &batch).unwrap();
    assert!(parts.is_constant() && !whole.is_constant());
    assert!(max_difference(parts.tensor(), whole.tensor()) == 0.0);
}
