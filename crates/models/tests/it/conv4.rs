//! Conv-4 beside the formulas, written out one number at a time in `PyTorch`'s layout.

use candle_core::{DType, Device};
use metashot_autograd::{Params, Value};
use metashot_models::{
    Conv4,
    conv4::{from_disk, to_disk},
};

use crate::{noise, rng, same_bits, stirred};

/// `(channels, height, width)`, one picture.
#[derive(Clone)]
struct Picture {
    numbers: Vec<f64>,
    dims: [usize; 3],
}

impl Picture {
    fn at(&self, c: usize, y: usize, x: usize) -> f64 {
        let [_, height, width] = self.dims;
        self.numbers[(c * height + y) * width + x]
    }

    /// The number at `(y - 1, x - 1)`, 0 around the picture.
    fn padded(&self, c: usize, y: usize, x: usize) -> f64 {
        let [_, height, width] = self.dims;
        let inside = (1..=height).contains(&y) && (1..=width).contains(&x);
        if inside {
            self.at(c, y - 1, x - 1)
        } else {
            0.0
        }
    }

    fn build(dims: [usize; 3], f: impl Fn(usize, usize, usize) -> f64) -> Self {
        let [channels, height, width] = dims;
        let mut numbers = Vec::new();
        for c in 0..channels {
            for y in 0..height {
                numbers.extend((0..width).map(|x| f(c, y, x)));
            }
        }
        Self { numbers, dims }
    }
}

/// Logits by the definition, from parameters in `PyTorch`'s layout.
fn logits(params: &Params, mut pictures: Vec<Picture>) -> Vec<Vec<f64>> {
    let get = |name: &str| {
        params
            .get(name)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap()
    };
    for block in 0..4 {
        let [w, b, gamma, beta] = ["conv.weight", "conv.bias", "norm.weight", "norm.bias"]
            .map(|part| get(&format!("block{block}.{part}")));
        let [n_in, height, width] = pictures[0].dims;
        let n_out = b.len();
        let convolved: Vec<Picture> = pictures
            .iter()
            .map(|picture| {
                Picture::build([n_out, height, width], |o, y, x| {
                    let mut sum = b[o];
                    for i in 0..n_in {
                        for ky in 0..3 {
                            for kx in 0..3 {
                                let at = picture.padded(i, y + ky, x + kx);
                                sum += w[((o * n_in + i) * 3 + ky) * 3 + kx] * at;
                            }
                        }
                    }
                    sum
                })
            })
            .collect();
        let n = (convolved.len() * height * width) as f64;
        let plane = |o: usize| {
            let range = o * height * width..(o + 1) * height * width;
            convolved
                .iter()
                .flat_map(move |picture| picture.numbers[range.clone()].iter().copied())
        };
        let mean: Vec<f64> = (0..n_out).map(|o| plane(o).sum::<f64>() / n).collect();
        let variance: Vec<f64> = (0..n_out)
            .map(|o| plane(o).map(|x| (x - mean[o]).powi(2)).sum::<f64>() / n)
            .collect();
        let active = |picture: &Picture, o: usize, y: usize, x: usize| {
            let normal = (picture.at(o, y, x) - mean[o]) / (variance[o] + 1e-5).sqrt();
            (normal * gamma[o] + beta[o]).max(0.0)
        };
        pictures = convolved
            .iter()
            .map(|picture| {
                if height < 2 || width < 2 {
                    return Picture::build([n_out, height, width], |o, y, x| {
                        active(picture, o, y, x)
                    });
                }
                Picture::build([n_out, height / 2, width / 2], |o, y, x| {
                    let window = [(0, 0), (0, 1), (1, 0), (1, 1)];
                    window
                        .iter()
                        .map(|(dy, dx)| active(picture, o, 2 * y + dy, 2 * x + dx))
                        .fold(0.0, f64::max)
                })
            })
            .collect();
    }
    let (w, b) = (get("head.weight"), get("head.bias"));
    let n_features = w.len() / b.len();
    let row = |features: &[f64], class: usize| {
        let products = features
            .iter()
            .zip(&w[class * n_features..(class + 1) * n_features]);
        b[class] + products.map(|(x, w)| x * w).sum::<f64>()
    };
    pictures
        .iter()
        .map(|picture| {
            (0..b.len())
                .map(|class| row(&picture.numbers, class))
                .collect()
        })
        .collect()
}

#[test]
fn computes_what_its_definition_says() {
    // 33 x 47 ends at 2 x 2, where the order of the features matters.
    for (height, width, in_channels) in [(33, 47, 2), (14, 14, 1), (9, 2, 3)] {
        let model = Conv4 {
            in_channels,
            filters: 3,
            height,
            width,
            n_classes: 2,
        };
        let params = stirred(
            &model.init(&mut rng(1), DType::F64, &Device::Cpu).unwrap(),
            2,
        );
        let x = noise(&mut rng(3), &[3, height, width, in_channels]);
        let pictures = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let pictures = (0..3).map(|at| Picture {
            numbers: pictures
                .get(at)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap(),
            dims: [in_channels, height, width],
        });
        let expected = logits(&to_disk(&params).unwrap(), pictures.collect());
        let found = model
            .forward(&params.constants(), &Value::constant(x))
            .unwrap();
        for (found, expected) in found
            .tensor()
            .to_vec2::<f64>()
            .unwrap()
            .iter()
            .zip(&expected)
        {
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-10,
                    "{height} x {width}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn layouts_in_memory_and_on_disk_are_inverse() {
    let model = Conv4 {
        in_channels: 2,
        filters: 5,
        height: 4,
        width: 4,
        n_classes: 3,
    };
    let params = model.init(&mut rng(1), DType::F32, &Device::Cpu).unwrap();
    let disk = to_disk(&params).unwrap();
    assert_eq!(disk.get("block0.conv.weight").unwrap().dims(), [5, 2, 3, 3]);
    assert_eq!(
        disk.get("head.weight").unwrap().dims(),
        params.get("head.weight").unwrap().dims()
    );
    assert!(same_bits(&from_disk(&disk).unwrap(), &params));
}

#[test]
fn same_seed_same_first_values_in_either_precision() {
    let model = Conv4 {
        in_channels: 1,
        filters: 4,
        height: 28,
        width: 28,
        n_classes: 5,
    };
    let init = |seed, dtype| model.init(&mut rng(seed), dtype, &Device::Cpu).unwrap();
    assert!(same_bits(&init(1, DType::F32), &init(1, DType::F32)));
    assert!(same_bits(
        &init(1, DType::F32),
        &init(1, DType::F64).to_dtype(DType::F32).unwrap()
    ));
    assert!(!same_bits(&init(1, DType::F32), &init(2, DType::F32)));
}
