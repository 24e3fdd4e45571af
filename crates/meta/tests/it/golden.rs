//! Meta-gradients against references made with `PyTorch` in `f64`.
//!
//! The directory is `fixtures/golden`, or what `METASHOT_GOLD` names: every case in it is checked. The model is the
//! file's name up to its last `_`; steps, rate, tasks and what adapts are read from the file.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    path::{Path, PathBuf},
};

use candle_core::{
    DType, Device, Tensor,
    utils::{cuda_is_available, metal_is_available},
};
use metashot_autograd::{
    Order, Params, Patterns, Result as GradResult, Value, check::composed, ops,
};
use metashot_meta::{
    InnerLoop, LossError, Memory, Workers, adapt, batched_meta_gradient, meta_gradient,
    task_gradient, unprepared,
};
use metashot_models::{BertConfig, Conv4, TokenBatch, TokenClassifier, conv4};

type Tensors = HashMap<String, Tensor>;
type Loss = Box<dyn Fn(&Params<Value>) -> Result<Value, LossError> + Sync>;

/// A reference and the model it was made with.
struct Case {
    tensors: Tensors,
    model: Model,
    dtype: DType,
}

#[derive(Clone, Copy, PartialEq)]
enum Model {
    SinusoidMlp,
    Conv4,
    Bert,
}

/// The number of attention heads, which no tensor shows.
const BERT_HEADS: usize = 4;

impl Case {
    fn read(path: &Path, dtype: DType, device: &Device) -> Self {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (model, _) = stem
            .rsplit_once('_')
            .expect("a case's name is `MODEL_CASE`");
        let model = match model {
            "sinusoid_mlp" => Model::SinusoidMlp,
            "conv4" => Model::Conv4,
            "bert" | "bert_head" => Model::Bert,
            other => panic!(
                "{}: there is no model `{other}` to check it with",
                path.display()
            ),
        };
        let tensors = candle_core::safetensors::load(path, device).unwrap();
        Self {
            tensors,
            model,
            dtype,
        }
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors
            .get(name)
            .unwrap_or_else(|| panic!("the case has no `{name}`"))
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.get(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Everything below a prefix, in the layout and type the models compute in.
    fn params(&self, prefix: &str) -> Params {
        let found: Params = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            })
            .collect();
        let found = if self.model == Model::Conv4 {
            conv4::from_disk(&found).unwrap()
        } else {
            found
        };
        found.to_dtype(self.dtype).unwrap()
    }

    fn n_tasks(&self) -> usize {
        (0..1000)
            .take_while(|task| {
                self.tensors
                    .contains_key(&format!("task{task}.support.target"))
            })
            .count()
    }

    fn inner(&self, order: Order) -> InnerLoop {
        let adapted: BTreeSet<&str> = self
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix("task0.adapted."))
            .collect();
        InnerLoop {
            steps: self.get("support_loss").dims()[1] - 1,
            lr: self.numbers("inner_lr")[0],
            adapt: Patterns::new(adapted),
            order,
            memory: Memory::Flat,
        }
    }

    /// The sum of some tasks' losses, one after another in one batch.
    fn loss(&self, tasks: Range<usize>, half: &str) -> Loss {
        let n_tasks = tasks.len();
        let cat = |what: &str| {
            let parts: Vec<&Tensor> = tasks
                .clone()
                .map(|task| self.get(&format!("task{task}.{half}.{what}")))
                .collect();
            Tensor::cat(&parts, 0).unwrap()
        };
        match self.model {
            Model::SinusoidMlp => {
                let [x, y] =
                    ["input", "target"].map(|what| cat(what).to_dtype(self.dtype).unwrap());
                Box::new(move |p| {
                    Ok(mean_squared_error(&mlp(p, &x)?, &y)?.affine(n_tasks as f64, 0.0)?)
                })
            }
            Model::Conv4 => {
                let (model, x) = self.conv4(&cat("input"));
                let y: Vec<i64> = cat("target").to_vec1().unwrap();
                Box::new(move |p| {
                    let logits = model.forward(p, &Value::constant(x.clone()))?;
                    Ok(ops::cross_entropy_by_task(&logits, &y, n_tasks)?)
                })
            }
            Model::Bert => {
                let (batches, labels): (Vec<TokenBatch>, Vec<Vec<i64>>) =
                    tasks.map(|task| self.tokens(task, half)).unzip();
                let (batch, _) = TokenBatch::task_after_task(&batches);
                let n_rows = batch.n_tokens() / n_tasks;
                let mut targets = Vec::new();
                for (number, of_task) in labels.into_iter().enumerate() {
                    targets.extend(of_task);
                    targets.resize((number + 1) * n_rows, ops::IGNORE_INDEX);
                }
                let model = self.bert();
                Box::new(move |p| {
                    let logits = model.forward(p, &batch)?;
                    Ok(ops::cross_entropy_by_task(&logits, &targets, n_tasks)?)
                })
            }
        }
    }

    /// The model, and pictures as it reads them.
    fn conv4(&self, x: &Tensor) -> (Conv4, Tensor) {
        let x = x.to_dtype(self.dtype).unwrap();
        let x = x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let shape = self.get("param.block1.conv.weight").dims();
        let model = Conv4 {
            in_channels: x.dims()[3],
            filters: shape[0],
            height: x.dims()[1],
            width: x.dims()[2],
            n_classes: self.get("param.head.weight").dims()[0],
        };
        (model, x)
    }

    /// The tokens of one half of a task and the target of each.
    fn tokens(&self, task: usize, half: &str) -> (TokenBatch, Vec<i64>) {
        let get = |what: &str| self.get(&format!("task{task}.{half}.{what}"));
        let flat = |what: &str| -> Vec<i64> { get(what).flatten_all().unwrap().to_vec1().unwrap() };
        let unsigned =
            |numbers: Vec<i64>| -> Vec<u32> { numbers.into_iter().map(|x| x as u32).collect() };
        let (ids, mask) = (
            unsigned(flat("input_ids")),
            unsigned(flat("attention_mask")),
        );
        let dims = get("input_ids").dims2().unwrap();
        let batch = TokenBatch::from_padded(&ids, &mask, dims).unwrap();
        let targets = flat("target").into_iter().zip(mask);
        let targets = targets.filter_map(|(y, kept)| (kept == 1).then_some(y));
        (batch, targets.collect())
    }

    fn bert(&self) -> TokenClassifier {
        let dims = |name: &str| self.get(&format!("param.{name}")).dims().to_vec();
        let words = dims("embeddings.word_embeddings.weight");
        let n_layers = (0..1000)
            .take_while(|layer| {
                self.tensors
                    .contains_key(&format!("param.encoder.layer.{layer}.output.dense.weight"))
            })
            .count();
        let config = BertConfig {
            vocab_size: words[0],
            hidden_size: words[1],
            num_hidden_layers: n_layers,
            num_attention_heads: BERT_HEADS,
            intermediate_size: dims("encoder.layer.0.intermediate.dense.weight")[0],
            max_position_embeddings: dims("embeddings.position_embeddings.weight")[0],
            type_vocab_size: dims("embeddings.token_type_embeddings.weight")[0],
            layer_norm_eps: 1e-12,
            ..BertConfig::default()
        };
        TokenClassifier::new(config, dims("classifier.weight")[0]).unwrap()
    }
}

fn mlp(p: &Params<Value>, x: &Tensor) -> GradResult<Value> {
    let layer = |x: &Value, name: &str| {
        ops::linear(
            x,
            p.get(&format!("{name}.weight"))?,
            p.get(&format!("{name}.bias"))?,
        )
    };
    let h = layer(&Value::constant(x.clone()), "l0")?.relu()?;
    layer(&layer(&h, "l1")?.relu()?, "l2")
}

fn mean_squared_error(out: &Value, y: &Tensor) -> GradResult<Value> {
    let difference = out.sub(&Value::constant(y.clone()))?;
    difference.mul(&difference)?.mean_all()
}

/// The distance of two sets of tensors, tensor by tensor, relative to the reference.
///
/// A tensor whose reference is a billionth of the whole or less is zero by mathematics and rounding noise by
/// arithmetic (the bias of a convolution before batch norm is one); it is measured against the whole.
fn assert_close(found: &Params, reference: &Params, tolerance: f64, what: &str) {
    let norm = |tensor: &Tensor| {
        let tensor = tensor.to_dtype(DType::F64).unwrap();
        ops::dot([(&tensor, &tensor)]).unwrap().sqrt()
    };
    let whole = reference
        .values()
        .map(|tensor| norm(tensor).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(!reference.is_empty(), "{what}: the case has no reference");
    assert_eq!(
        found.names().collect::<Vec<_>>(),
        reference.names().collect::<Vec<_>>(),
        "{what}"
    );
    for (name, reference) in reference.iter() {
        let difference = (found.get(name).unwrap() - reference).unwrap();
        let size = if norm(reference) > whole * 1e-9 {
            norm(reference)
        } else {
            whole
        };
        let error = norm(&difference) / size;
        assert!(error < tolerance, "{what}, `{name}`: off by {error:e}");
    }
}

fn assert_near(found: f64, reference: f64, tolerance: f64, what: &str) {
    let error = (found - reference).abs() / reference.abs().max(1e-3);
    assert!(
        error < tolerance,
        "{what}: {found} for {reference}, off by {error:e}"
    );
}

fn check(path: &Path, (dtype, device): (DType, &Device), tolerance: f64) {
    let case = Case::read(path, dtype, device);
    let slow = case.params("param.");
    let n_tasks = case.n_tasks();
    assert!(n_tasks > 0, "{}: no tasks", path.display());
    let name = path.file_stem().unwrap().to_str().unwrap();
    let support_losses = case.numbers("support_loss");
    let query_losses = case.numbers("query_loss");
    let steps = case.inner(Order::First).steps;

    for task in 0..n_tasks {
        let what = format!("{name} {dtype:?} task {task}");
        let (support, query) = (
            case.loss(task..task + 1, "support"),
            case.loss(task..task + 1, "query"),
        );
        let inner = case.inner(Order::First);
        let adapted = adapt(&slow, unprepared, &support, &inner).unwrap();
        let last = support(&adapted.fast.constants()).unwrap();
        let last = [last.to_f64().unwrap()];
        for (step, loss) in adapted.support_losses.iter().chain(&last).enumerate() {
            assert_near(
                *loss,
                support_losses[task * (steps + 1) + step],
                tolerance,
                &what,
            );
        }
        let (fast, _) = adapted.fast.split(&inner.adapt).unwrap();
        assert_close(
            &fast,
            &case.params(&format!("task{task}.adapted.")),
            tolerance,
            &what,
        );
        for order in [Order::First, Order::Higher] {
            let (inner, all) = (case.inner(order), Patterns::all());
            let gradient =
                task_gradient(&slow, unprepared, &support, &query, &inner, &all).unwrap();
            assert_near(gradient.query_loss, query_losses[task], tolerance, &what);
            assert_eq!(gradient.support_losses, adapted.support_losses);
        }
    }

    let tasks: Vec<(Loss, Loss)> = (0..n_tasks)
        .map(|task| {
            (
                case.loss(task..task + 1, "support"),
                case.loss(task..task + 1, "query"),
            )
        })
        .collect();
    let workers = Workers::new(2).unwrap();
    for (order, reference) in [(Order::Higher, "exact"), (Order::First, "first")] {
        let inner = case.inner(order);
        let settings = (&inner, &Patterns::all());
        let meta = meta_gradient(
            &slow,
            &tasks,
            |_, p| unprepared(p),
            |t, p| t.0(p),
            |t, p| t.1(p),
            settings,
            &workers,
        )
        .unwrap();
        let (support, query) = (
            case.loss(0..n_tasks, "support"),
            case.loss(0..n_tasks, "query"),
        );
        let batched =
            batched_meta_gradient(&slow, n_tasks, unprepared, support, query, settings).unwrap();
        for (meta, way) in [(meta, "side by side"), (batched, "batched")] {
            let what = format!("{name} {dtype:?} {reference}, {way}");
            assert_near(meta.loss, case.numbers("meta_loss")[0], tolerance, &what);
            assert_close(
                &meta.gradient,
                &case.params(&format!("grad.{reference}.")),
                tolerance,
                &what,
            );
        }
    }
}

fn cases() -> Vec<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
    let directory = std::env::var_os("METASHOT_GOLD").map_or(default, PathBuf::from);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "safetensors")
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", directory.display());
    cases
}

#[test]
fn double_precision_meets_the_references() {
    for path in cases() {
        check(&path, (DType::F64, &Device::Cpu), 1e-9);
    }
}

#[test]
fn single_precision_meets_the_references() {
    for path in cases() {
        check(&path, (DType::F32, &Device::Cpu), 1e-4);
    }
}

/// With `--features metashot/cuda` or `metashot/metal`, on a machine that has such a device.
#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_gpu_meets_the_references() {
    let device = if cuda_is_available() {
        // One queue for all threads, as the program opens it.
        Device::new_cuda_with_stream(0).unwrap()
    } else if metal_is_available() {
        Device::new_metal(0).unwrap()
    } else {
        eprintln!("skipped: this build has no GPU");
        return;
    };
    for path in cases() {
        check(&path, (DType::F32, &device), 1e-3);
    }
}

/// What a GPU runs, but for the arithmetic of its own.
#[test]
fn compositions_meet_the_references() {
    for path in cases() {
        composed(|| check(&path, (DType::F64, &Device::Cpu), 1e-9));
        composed(|| check(&path, (DType::F32, &Device::Cpu), 1e-3));
    }
}
