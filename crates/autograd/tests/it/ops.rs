//! Every operation against central differences in `f64`, at first and second order.

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{
    Result, Value, check,
    ops::{self, Weight},
};

/// A weighted sum of squares of what `f` returns, so that its gradient depends on its value.
fn check(shapes: &[&[usize]], f: impl Fn(&[Value]) -> Result<Value>) {
    let inputs: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(salt, shape)| numbers(shape, salt))
        .collect();
    let loss = |values: &[Value]| {
        let y = f(values)?;
        let weights = Value::constant(numbers(y.dims(), 50));
        y.mul(&y)?.mul(&weights)?.add(&y.mul(&weights)?)?.sum_all()
    };
    let orders = || {
        let first = check::first_order(&inputs, loss).unwrap();
        assert!(first < 1e-7, "first order is off by {first:e}");
        let second = check::second_order(&inputs, loss).unwrap();
        assert!(second < 1e-6, "second order is off by {second:e}");
    };
    orders();
    check::composed(orders);
}

/// Distinct numbers between 0.2 and 1.8: clear of the kinks at 0 and of ties.
fn numbers(shape: &[usize], salt: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let numbers = (0..count)
        .map(|i| 0.2 + 1.6 * ((i as f64 + 1.0) * 0.618_034 + salt as f64 * 0.327).fract());
    Tensor::from_iter(numbers, &Device::Cpu)
        .unwrap()
        .reshape(shape)
        .unwrap()
}

#[test]
fn arithmetic_broadcasts() {
    let shapes: [&[usize]; 2] = [&[2, 3], &[3]];
    check(&shapes, |x| x[0].add(&x[1]));
    check(&shapes, |x| x[0].sub(&x[1]));
    check(&shapes, |x| x[0].mul(&x[1]));
    check(&shapes, |x| x[0].div(&x[1]));
    check(&[&[2, 1], &[1, 3]], |x| x[1].div(&x[0]));
    check(&[&[4]], |x| x[0].affine(-2.5, 0.5)?.neg());
}

#[test]
fn functions_of_one_value() {
    let shape: [&[usize]; 1] = [&[3, 2]];
    check(&shape, |x| x[0].exp());
    check(&shape, |x| x[0].log());
    check(&shape, |x| x[0].sqrt());
    check(&shape, |x| x[0].recip());
    check(&shape, |x| x[0].tanh());
    check(&shape, |x| x[0].affine(1.0, -1.01)?.relu());
    check(&shape, |x| x[0].affine(2.0, -2.0)?.gelu());
}

#[test]
fn reductions_and_their_duals() {
    check(&[&[2, 3, 2]], |x| x[0].sum_keepdim(&[0, 2]));
    check(&[&[2, 3, 2]], |x| x[0].mean_keepdim(&[1]));
    check(&[&[2, 3]], |x| x[0].mean_all());
    check(&[&[3, 1]], |x| x[0].broadcast_to(&[2, 3, 4]));
    check(&[&[2, 3, 4]], |x| x[0].sum_to(&[3, 1]));
}

#[test]
fn inner_products_are_summed_in_double() {
    let x = Tensor::ones(1001, DType::F32, &Device::Cpu).unwrap();
    let y = (&x * 1e-4).unwrap();
    assert!((ops::dot([(&x, &y)]).unwrap() - 1001.0 * f64::from(1e-4f32)).abs() < 1e-12);
    assert!(ops::dot([(&x, &x.narrow(0, 0, 3).unwrap())]).is_err());
}

#[test]
fn operations_that_move_elements() {
    check(&[&[2, 6]], |x| x[0].reshape(&[3, 4]));
    check(&[&[2, 3, 4]], |x| x[0].permute(&[2, 0, 1]));
    check(&[&[5, 2]], |x| x[0].narrow(0, 1, 3));
    check(&[&[2, 2]], |x| x[0].pad_zeros(1, 2, 1));
    check(&[&[2, 3], &[1, 3]], |x| {
        Value::cat(&[x[0].clone(), x[1].clone(), x[0].clone()], 0)
    });
}

#[test]
fn rows_by_index() {
    let index = Tensor::new(&[2u32, 0, 2, 1], &Device::Cpu).unwrap();
    check(&[&[3, 2]], |x| x[0].rows(&index));
    check(&[&[4, 2]], |x| x[0].add_rows(&index, 5));
}

#[test]
fn products() {
    check(&[&[3, 4], &[4, 2]], |x| x[0].matmul(&x[1]));
    check(&[&[2, 3, 4], &[2, 5, 4]], |x| x[0].matmul(&x[1].t()?));
    check(&[&[5, 3], &[4, 3], &[4]], |x| {
        ops::linear(&x[0], &x[1], &x[2])
    });
}

/// A weight in panels, made by hand: some machines make none.
fn in_panels(weight: &Tensor) -> Tensor {
    let (n_out, _) = weight.dims2().unwrap();
    let n_panels = n_out.div_ceil(64);
    let padded = weight.pad_with_zeros(0, 0, n_panels * 64 - n_out).unwrap();
    let panels = padded.chunk(n_panels, 0).unwrap();
    let panels: Vec<Tensor> = panels.iter().map(|panel| panel.t().unwrap()).collect();
    Tensor::stack(&panels, 0).unwrap().contiguous().unwrap()
}

#[test]
fn products_by_panels() {
    for n_out in [2, 64, 70] {
        let weight = numbers(&[n_out, 3], 1);
        let panels = Value::constant(in_panels(&weight));
        check(&[&[2, 3], &[n_out]], |x| {
            ops::linear(&x[0], Weight::Panels(&panels), &x[1])
        });

        let constant = |x: &Tensor| Value::constant(x.to_dtype(DType::F32).unwrap());
        let numbers_of = |y: Value| y.tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for n_rows in [0, 1, 9] {
            let x = constant(&numbers(&[n_rows, 3], 0));
            let bias = constant(&numbers(&[n_out], 2));
            let (rows, panels) = (constant(&weight), constant(panels.tensor()));
            let (rows, panels) = (Weight::Rows(&rows), Weight::Panels(&panels));
            let plain = |weight| ops::linear(&x, weight, &bias).unwrap();
            let gelu = |weight| ops::linear_gelu(&x, weight, &bias).unwrap();
            for f in [&plain as &dyn Fn(_) -> _, &gelu] {
                let expected = numbers_of(f(rows));
                assert_eq!(numbers_of(f(panels)), expected);
                let composed = numbers_of(check::composed(|| f(panels)));
                for (a, b) in composed.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-5, "{a} and {b}");
                }
            }
        }
        if let Some(panels) = ops::panels(constant(&weight).tensor()).unwrap() {
            let expected = in_panels(&weight).to_dtype(DType::F32).unwrap();
            assert_eq!(panels.dims(), expected.dims());
            let expected = numbers_of(Value::constant(expected));
            assert_eq!(numbers_of(Value::constant(panels)), expected);
        }
        assert!(ops::panels(&weight).unwrap().is_none(), "of `f64`");
    }
}

#[test]
fn panels_that_do_not_fit() {
    let zeros =
        |dims: &[usize]| Value::constant(Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap());
    let (x, bias) = (zeros(&[2, 3]), zeros(&[70]));
    for dims in [&[1, 3, 64][..], &[2, 4, 64], &[2, 3, 32], &[70, 3]] {
        let error = ops::linear(&x, Weight::Panels(&zeros(dims)), &bias).unwrap_err();
        assert!(error.to_string().contains("(panels, in, 64)"), "{error}");
    }
    assert!(ops::panels(zeros(&[3]).tensor()).is_err());
}

#[test]
fn softmax_and_cross_entropy() {
    check(&[&[3, 5]], |x| x[0].softmax());
    check(&[&[3, 5]], |x| x[0].log_softmax());
    check(&[&[4, 3]], |x| {
        ops::cross_entropy(&x[0], &[2, ops::IGNORE_INDEX, 0, 1])
    });
}

#[test]
fn fused_layers() {
    check(&[&[3, 5], &[5], &[5]], |x| {
        ops::layer_norm(&x[0], &x[1], &x[2], 1e-12)
    });
    check(&[&[6, 4], &[6, 4], &[6, 4]], |x| {
        ops::attention(&x[0], &x[1], &x[2], &[4, 2], 2)
    });
    check(&[&[2, 4, 5, 3], &[3], &[3]], |x| {
        ops::norm_relu_pool(&x[0], &x[1], &x[2], 1e-5)
    });
}

/// Compares what a function makes of constants, for which nothing is kept, with what it makes of variables.
fn same_with_and_without_a_graph(
    shapes: &[&[usize]],
    f: impl Fn(&[Value]) -> metashot_autograd::Result<Value>,
) {
    for dtype in [DType::F64, DType::F32] {
        let inputs: Vec<Tensor> = (0..shapes.len())
            .map(|at| numbers(shapes[at], at).to_dtype(dtype).unwrap())
            .map(|x| x.affine(0.3, -0.3).unwrap())
            .collect();
        let of = |value: fn(Tensor) -> Value| {
            let x: Vec<Value> = inputs.iter().cloned().map(value).collect();
            let y = f(&x).unwrap().tensor().to_dtype(DType::F64).unwrap();
            y.to_vec2::<f64>().unwrap()
        };
        assert_eq!(of(Value::constant), of(Value::variable));
    }
}

#[test]
fn gelu_of_a_linear_layer() {
    check(&[&[3, 4], &[2, 4], &[2]], |x| {
        ops::linear_gelu(&x[0], &x[1], &x[2].affine(1.0, -2.0)?)
    });
    same_with_and_without_a_graph(&[&[70, 66], &[130, 66], &[130]], |x| {
        ops::linear_gelu(&x[0], &x[1], &x[2])
    });
}

#[test]
fn layer_norm_of_a_sum() {
    check(&[&[3, 4], &[3, 4], &[4], &[4]], |x| {
        ops::layer_norm_of_sum([&x[0], &x[1]], &x[2], &x[3], 1e-5)
    });
    same_with_and_without_a_graph(&[&[7, 37], &[7, 37], &[37], &[37]], |x| {
        ops::layer_norm_of_sum([&x[0], &x[1]], &x[2], &x[3], 1e-5)
    });
    // Sums that broadcast, and shapes that do not fit.
    same_with_and_without_a_graph(&[&[7, 5], &[1, 5], &[5], &[5]], |x| {
        ops::layer_norm_of_sum([&x[0], &x[1]], &x[2], &x[3], 1e-5)
    });
    let [x, w] = [numbers(&[3, 4], 0), numbers(&[5], 1)].map(Value::constant);
    assert!(ops::layer_norm_of_sum([&x, &x], &w, &w, 1e-5).is_err());
}

#[test]
fn attention_of_constants() {
    same_with_and_without_a_graph(&[&[90, 36], &[90, 36], &[90, 36]], |x| {
        ops::attention(&x[0], &x[1], &x[2], &[3, 70, 1, 16], 2)
    });
}

#[test]
fn convolution_of_odd_sizes() {
    check(&[&[2, 5, 3, 2], &[3, 3, 2, 3], &[3]], |x| {
        ops::conv2d(&x[0], &x[1], &x[2])
    });
    check(&[&[1, 1, 1, 2], &[3, 3, 2, 1], &[1]], |x| {
        ops::conv2d(&x[0], &x[1], &x[2])
    });
    check(&[&[1, 4, 4, 1], &[1, 5, 1, 2], &[2]], |x| {
        ops::conv2d(&x[0], &x[1], &x[2])
    });
}

/// The value of some operation on tasks side by side, and on each alone.
fn check_tasks(
    (rows, params): (&[usize], &[&[usize]]),
    own: &[bool],
    f: impl Fn(&[Value]) -> Result<Value>,
) {
    const TASKS: usize = 3;
    let mut shapes = vec![[&[TASKS * rows[0]], &rows[1..]].concat()];
    for (param, &own) in params.iter().zip(own) {
        let leading: &[usize] = if own { &[TASKS] } else { &[] };
        shapes.push([leading, param].concat());
    }
    let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    check(&shapes, &f);

    let inputs: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(salt, shape)| numbers(shape, salt))
        .collect();
    let constants =
        |inputs: &[Tensor]| -> Vec<Value> { inputs.iter().cloned().map(Value::constant).collect() };
    let together = f(&constants(&inputs)).unwrap();
    let alone: Vec<Tensor> = (0..TASKS)
        .map(|task| {
            let mut of_task = vec![inputs[0].narrow(0, task * rows[0], rows[0]).unwrap()];
            for (param, &own) in inputs[1..].iter().zip(own) {
                of_task.push(if own {
                    param.get(task).unwrap()
                } else {
                    param.clone()
                });
            }
            f(&constants(&of_task)).unwrap().into_tensor()
        })
        .collect();
    let alone = Tensor::cat(&alone, 0).unwrap();
    let difference = (together.tensor() - alone).unwrap().abs().unwrap();
    let largest: f64 = difference.max_all().unwrap().to_scalar().unwrap();
    assert!(largest < 1e-12, "off by {largest:e}");
}

#[test]
fn tasks_side_by_side_are_each_alone() {
    for own in [[true, true], [true, false], [false, true]] {
        check_tasks((&[4, 3], &[&[2, 3], &[2]]), &own, |x| {
            ops::linear(&x[0], &x[1], &x[2])
        });
        check_tasks((&[2, 5], &[&[5], &[5]]), &own, |x| {
            ops::layer_norm(&x[0], &x[1], &x[2], 1e-5)
        });
        check_tasks((&[2, 3, 4, 2], &[&[3, 1, 2, 3], &[3]]), &own, |x| {
            ops::conv2d(&x[0], &x[1], &x[2])
        });
        check_tasks((&[2, 4, 5, 2], &[&[2], &[2]]), &own, |x| {
            // Some channels must be cut off by the relu.
            ops::norm_relu_pool(&x[0], &x[1], &x[2].affine(1.0, -0.7)?, 1e-5)
        });
    }
    check(&[&[2, 3, 4]], |x| x[0].lookup(&[2, 0, 0, 1, 1, 2]));
    check(&[&[6, 2]], |x| {
        ops::cross_entropy_by_task(&x[0], &[0, 1, -100, 1, 1, 0], 2)
    });
}

#[test]
fn tasks_that_do_not_share_rows_evenly_are_refused() {
    let value = |shape: &[usize]| Value::constant(numbers(shape, 0));
    let error = |result: Result<Value>| result.unwrap_err().to_string();
    let rows = value(&[5, 3]);
    let uneven = error(ops::linear(&rows, &value(&[2, 4, 3]), &value(&[4])));
    assert!(
        uneven.contains("as many rows for each of 2 tasks"),
        "{uneven}"
    );
    let others = error(ops::linear(&rows, &value(&[5, 4, 3]), &value(&[3, 4])));
    assert!(others.contains("parameters of 5 tasks"), "{others}");
    let beyond = error(value(&[2, 3, 4]).lookup(&[0, 3]));
    assert!(beyond.contains("rows below 3"), "{beyond}");
    let loss = error(ops::cross_entropy_by_task(&rows, &[0; 5], 2));
    assert!(loss.contains("each of 2 tasks"), "{loss}");
}

#[test]
fn third_order_is_exact() {
    use metashot_autograd::{Order, grad};
    // The gradient of a Hessian-vector product of a fused operation.
    let inputs = [numbers(&[3, 4], 0), numbers(&[4], 1), numbers(&[4], 2)];
    let hessian_vector = |x: &[Value]| {
        let y = ops::layer_norm(&x[0].gelu()?, &x[1], &x[2], 1e-5)?;
        let loss = y.mul(&y)?.mul(&y)?.sum_all()?;
        let g = grad(&loss, &[&x[0]], Order::Higher)?.remove(0);
        g.mul(&g)?
            .mul(&Value::constant(numbers(&[3, 4], 7)))?
            .sum_all()
    };
    let error = check::second_order(&inputs, hessian_vector).unwrap();
    assert!(error < 1e-5, "third order is off by {error:e}");
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let value =
        |shape: &[usize]| Value::constant(Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    let linear = ops::linear(&value(&[2, 3]), &value(&[4, 5]), &value(&[4])).unwrap_err();
    assert_eq!(
        linear.to_string(),
        "`linear`: expected input (rows, in), weight (out, in) and bias (out), found [2, 3], [4, 5] and [4]"
    );
    let loss = |targets: &[i64]| {
        ops::cross_entropy(&value(&[2, 3]), targets)
            .unwrap_err()
            .to_string()
    };
    assert!(loss(&[0]).contains("2 targets"));
    assert!(loss(&[0, 3]).contains("targets below 3"));
    assert!(loss(&[-1, 0]).contains("targets below 3"));
    assert!(loss(&[-100, -100]).contains("not ignored"));
    assert!(value(&[2, 3]).matmul(&value(&[2, 3])).is_err());
    assert!(
        ops::attention(
            &value(&[3, 4]),
            &value(&[3, 4]),
            &value(&[3, 4]),
            &[2, 2],
            2
        )
        .is_err()
    );
}
