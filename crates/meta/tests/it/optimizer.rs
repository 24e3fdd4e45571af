//! `AdamW` against `PyTorch`, clipping and the schedule against their definitions.

use candle_core::{Device, Tensor};
use metashot_autograd::{Params, Patterns};
use metashot_meta::{AdamW, Schedule, clip_norm};

fn params(entries: &[(&str, &[f64])]) -> Params {
    entries
        .iter()
        .map(|(name, x)| ((*name).to_owned(), Tensor::new(*x, &Device::Cpu).unwrap()))
        .collect()
}

/// ```python
/// w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
/// opt = torch.optim.AdamW([w], lr=0.1, weight_decay=0.01)
/// for g in ([0.5, -1.0], [0.25, 2.0], [-1.0, 0.5]):
///     w.grad = torch.tensor(g, dtype=torch.float64)
///     opt.step()
/// ```
#[test]
fn adamw_follows_pytorch() {
    let adamw = AdamW {
        no_decay: Patterns::new(["*.bias"]),
        ..AdamW::new(0.01)
    };
    let mut weights = params(&[("w", &[1.0, -2.0])]);
    let mut state = adamw.init(&weights).unwrap();
    for gradient in [[0.5, -1.0], [0.25, 2.0], [-1.0, 0.5]] {
        (weights, state) = adamw
            .update(0.1, &weights, &params(&[("w", &gradient)]), state)
            .unwrap();
    }
    let found: Vec<f64> = weights.get("w").unwrap().to_vec1().unwrap();
    for (found, expected) in found.iter().zip(PYTORCH) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }
    assert_eq!(state.step, 3);
}

const PYTORCH: [f64; 2] = [0.824_713_859_842_936, -1.972_344_760_792_302_6];

#[test]
fn what_does_not_decay_is_left_alone() {
    let adamw = AdamW {
        weight_decay: 0.5,
        ..AdamW::new(0.5)
    };
    let weights = params(&[
        ("a.bias", &[1.0]),
        ("a.weight", &[1.0]),
        ("untouched", &[1.0]),
    ]);
    let gradient = params(&[("a.bias", &[0.0]), ("a.weight", &[0.0])]);
    let state = adamw.init(&gradient).unwrap();
    let (weights, _) = adamw.update(0.1, &weights, &gradient, state).unwrap();
    let at = |name: &str| weights.get(name).unwrap().to_vec1::<f64>().unwrap()[0];
    assert_eq!(
        (at("a.bias"), at("a.weight"), at("untouched")),
        (1.0, 0.95, 1.0)
    );
}

#[test]
fn clipping_keeps_the_direction() {
    let gradient = params(&[("a", &[3.0]), ("b", &[0.0, 4.0])]);
    let (clipped, norm) = clip_norm(gradient.clone(), 1.0).unwrap();
    assert_eq!(norm, 5.0);
    let at = |params: &Params, name: &str| params.get(name).unwrap().to_vec1::<f64>().unwrap();
    assert!(
        (at(&clipped, "a")[0] - 0.6).abs() < 1e-15 && (at(&clipped, "b")[1] - 0.8).abs() < 1e-15
    );
    let (same, _) = clip_norm(gradient, 6.0).unwrap();
    assert_eq!(at(&same, "b"), [0.0, 4.0]);
}

#[test]
fn the_schedule_refuses_what_makes_no_sense() {
    let schedule = Schedule {
        peak: 1.0,
        warmup: 2,
        total: 6,
        floor: 0.0,
    };
    schedule.validate().unwrap();
    let message = |schedule: Schedule| schedule.validate().unwrap_err().to_string();
    assert!(
        message(Schedule {
            warmup: 7,
            ..schedule
        })
        .contains("`warmup_steps`")
    );
    assert!(
        message(Schedule {
            floor: 1.5,
            ..schedule
        })
        .contains("`lr_floor`")
    );
    assert!(
        message(Schedule {
            peak: f64::NAN,
            ..schedule
        })
        .contains("`outer_lr`")
    );
}

#[test]
fn a_gradient_that_does_not_fit_is_refused() {
    let adamw = AdamW::new(0.0);
    let weights = params(&[("w", &[1.0, 2.0])]);
    let update = |gradient: &Params| {
        let state = adamw.init(gradient).unwrap();
        let error = adamw.update(0.1, &weights, gradient, state).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        update(&params(&[("w", &[1.0])])),
        "`adamw`: expected a gradient of shape [2] for parameter `w`, found [1]"
    );
    assert_eq!(update(&params(&[("v", &[1.0])])), "no parameter `v`");
}
