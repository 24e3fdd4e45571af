//! What a batch is made of must not matter to any of its sentences.

use candle_core::{DType, Device, Tensor};
use metashot_autograd::Params;
use metashot_models::{Bert, BertConfig, TokenBatch};

use crate::{max_difference, rng, small_config};

/// Places of some tokens, with a sentence of which none is named.
const ROWS: [u32; 3] = [1, 4, 8];

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

#[test]
fn some_rows_are_those_of_the_whole() {
    let bert = Bert::new(small_config()).unwrap();
    let params = bert.init(&mut rng(1), DType::F32, &Device::Cpu).unwrap();
    let check = |batch: &TokenBatch, rows: &[u32]| {
        let index = Tensor::new(rows, &Device::Cpu).unwrap();
        for params in [params.constants(), params.variables()] {
            let some = bert.forward_rows(&params, batch, rows).unwrap();
            let all = bert.forward(&params, batch).unwrap();
            let expected = all.rows(&index).unwrap();
            assert_eq!(some.dims(), expected.dims());
            if !rows.is_empty() {
                assert!(max_difference(some.tensor(), expected.tensor()) == 0.0);
            }
        }
    };
    let batch = TokenBatch::from_sequences(SENTENCES);
    check(&batch, &ROWS);
    check(&batch, &[]);
    // In parts, of which the second has none.
    let many = TokenBatch::from_sequences((0..3000).map(|at| SENTENCES[at % 3]));
    let row = |&at: &u32| !(4000..8500).contains(&at) && at % 3 == 1;
    check(&many, &(0..10_000).filter(row).collect::<Vec<_>>());
}

#[test]
fn weights_in_panels_give_the_same_bits() {
    // Sizes that leave a part of a panel.
    let config = BertConfig {
        hidden_size: 72,
        intermediate_size: 130,
        num_attention_heads: 3,
        ..small_config()
    };
    let bert = Bert::new(config).unwrap();
    let params = bert.init(&mut rng(1), DType::F32, &Device::Cpu).unwrap();
    let reading = bert.for_reading(params.clone()).unwrap();
    assert_eq!(reading.len(), params.len());
    let batch = TokenBatch::from_sequences(SENTENCES);
    let of = |params: &Params| bert.forward(&params.constants(), &batch).unwrap();
    assert!(max_difference(of(&reading).tensor(), of(&params).tensor()) == 0.0);
    let again = bert.for_reading(reading.clone()).unwrap();
    assert!(again.names().eq(reading.names()));
}
