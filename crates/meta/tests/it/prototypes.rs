//! Prototypes and distances: values, gradients, and classes without examples.

use candle_core::{Device, Tensor};
use metashot_autograd::{
    Value, check,
    ops::{cross_entropy, linear},
};
use metashot_meta::{
    class_means, nearest_neighbor_logits, nearest_prototype, prototype_head, prototype_logits,
    prototypes,
};

fn rows(numbers: &[[f64; 2]]) -> Tensor {
    Tensor::from_vec(numbers.concat(), (numbers.len(), 2), &Device::Cpu).unwrap()
}

#[test]
fn a_prototype_is_the_mean_of_its_class() {
    let support = Value::constant(rows(&[[0.0, 0.0], [2.0, 4.0], [9.0, 9.0], [-1.0, 1.0]]));
    let centres = prototypes(&support, &[0, 0, -100, 1], 2).unwrap();
    assert_eq!(
        centres.tensor().to_vec2::<f64>().unwrap(),
        [[1.0, 2.0], [-1.0, 1.0]]
    );
    let queries = Value::constant(rows(&[[1.0, 1.0], [-1.0, 0.0]]));
    let logits = prototype_logits(&queries, &centres).unwrap();
    assert_eq!(
        logits.tensor().to_vec2::<f64>().unwrap(),
        [[-1.0, -4.0], [-8.0, -1.0]]
    );
    assert_eq!(nearest_prototype(&queries, &centres).unwrap(), [0, 1]);
}

#[test]
fn the_loss_over_prototypes_has_exact_gradients() {
    let inputs = [
        rows(&[[0.1, 0.7], [0.5, -0.3], [0.9, 0.2]]),
        rows(&[[0.2, 0.1], [-0.4, 0.8]]),
    ];
    let loss = |x: &[Value]| {
        let centres = prototypes(&x[0], &[1, 0, 1], 2).unwrap();
        cross_entropy(&prototype_logits(&x[1], &centres).unwrap(), &[0, 1])
    };
    assert!(check::first_order(&inputs, loss).unwrap() < 1e-7);
    assert!(check::second_order(&inputs, loss).unwrap() < 1e-6);
}

#[test]
fn a_head_that_starts_from_prototypes_has_exact_gradients() {
    let inputs = [
        rows(&[[0.1, 0.7], [0.5, -0.3], [0.9, 0.2]]),
        rows(&[[0.2, 0.1], [-0.4, 0.8]]),
    ];
    // The second row counts for both classes.
    let groups = [vec![0, 1], vec![1, 2]];
    let loss = |x: &[Value]| {
        let [weight, bias] = prototype_head(&class_means(&x[0], &groups).unwrap(), 0.3).unwrap();
        cross_entropy(&linear(&x[1], &weight, &bias)?, &[0, 1])
    };
    assert!(check::first_order(&inputs, loss).unwrap() < 1e-7);
    assert!(check::second_order(&inputs, loss).unwrap() < 1e-6);
}

#[test]
fn a_row_has_the_class_of_its_nearest_neighbour() {
    let support = Value::constant(rows(&[[0.0, 0.0], [9.0, 9.0], [1.0, 0.0]]));
    let queries = Value::constant(rows(&[[1.0, 1.0], [9.0, 8.0]]));
    // A class may have no rows, and a row may have no class.
    let logits =
        nearest_neighbor_logits(&queries, &support, &[vec![0, 1], vec![2], vec![]]).unwrap();
    assert_eq!(
        logits.to_vec2::<f32>().unwrap(),
        [
            [-2.0, -1.0, f32::NEG_INFINITY],
            [-1.0, -128.0, f32::NEG_INFINITY]
        ]
    );
    let error = nearest_neighbor_logits(&queries, &support, &[vec![3]]).unwrap_err();
    assert!(error.to_string().contains("below the number of embeddings"));
}

#[test]
fn a_class_without_examples_is_named() {
    let support = Value::constant(rows(&[[0.0, 0.0]]));
    let message = |labels: &[i64]| prototypes(&support, labels, 2).unwrap_err().to_string();
    assert_eq!(
        message(&[0]),
        "class 1 has no example in the support set, so it has no prototype"
    );
    assert!(message(&[2]).contains("below the number of classes"));
}
