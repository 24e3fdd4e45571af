//! The other libraries' programs: their scripts, the variants that their README names, and how each is bounded.
//!
//! Deliberately not here: the scripts themselves, and how to install what they import.

use std::path::Path;

use anyhow::ensure;

use super::works::Family;

/// One way to run a script.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) script: &'static str,
    /// `{threads}` and `{scratch}` stand for a number and a folder.
    pub(crate) args: &'static str,
    /// What it is called with once before, if anything: it makes a file then.
    pub(crate) prepare: &'static str,
    /// How it is told for how many seconds to go on, with `{seconds}` for the number.
    bound: &'static str,
}

/// The variants that can do this work.
pub(crate) fn of(family: Family) -> impl Iterator<Item = &'static Variant> {
    VARIANTS
        .iter()
        .filter(move |variant| variant.family == family)
}

impl Variant {
    /// Fails if the script is not there.
    pub(crate) fn check(&self, folder: &Path) -> anyhow::Result<()> {
        let script = folder.join(self.script);
        ensure!(
            script.is_file(),
            "there is no script `{}`: `--peers` must name the folder with the peers' scripts",
            script.display()
        );
        Ok(())
    }

    /// The flags that tell it for how long to go on.
    pub(crate) fn bound(&self, seconds: f64) -> Vec<String> {
        words(&self.bound.replace("{seconds}", &seconds.to_string()))
    }
}

/// A line as arguments.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Many short steps, or few long ones.
const REPS: &str = "--reps 1000 --max-seconds {seconds}";
const STEPS: &str = "--steps 1000 --max-seconds {seconds}";

const fn variant(
    name: &'static str,
    family: Family,
    script: &'static str,
    args: &'static str,
    bound: &'static str,
) -> Variant {
    Variant {
        name,
        family,
        script,
        args,
        prepare: "",
        bound,
    }
}

const VARIANTS: &[Variant] = &[
    variant(
        "torch-workers",
        Family::Conv4,
        "peer_conv4_torch.py",
        "--impl loop --workers {threads}",
        REPS,
    ),
    variant(
        "jax-im2col-scan",
        Family::Conv4,
        "peer_conv4_jax.py",
        "--conv im2col --layout nhwc --task-map scan",
        REPS,
    ),
    variant(
        "torch-workers",
        Family::Proto,
        "peer_proto_torch.py",
        "--workers {threads}",
        REPS,
    ),
    variant(
        "torch-one-process",
        Family::Proto,
        "peer_proto_torch.py",
        "--workers 1",
        REPS,
    ),
    variant(
        "jax-unroll",
        Family::Bert,
        "peer_bert_jax.py",
        "--task-map unroll",
        STEPS,
    ),
    variant(
        "jax-scan",
        Family::Bert,
        "peer_bert_jax.py",
        "--task-map scan",
        STEPS,
    ),
    variant(
        "torch-workers",
        Family::Bert,
        "peer_bert_torch.py",
        "--impl workers --workers {threads}",
        STEPS,
    ),
    variant("torch-sdpa", Family::Tag, "peer_tag_torch.py", "", STEPS),
    Variant {
        prepare: "--export --fuse",
        ..variant(
            "onnxruntime",
            Family::Tag,
            "peer_tag_onnx.py",
            "--model {scratch}/minilm.onnx",
            STEPS,
        )
    },
    variant(
        "torch",
        Family::Matmul,
        "peer_gemm.py",
        "--lib torch --sizes 2048",
        "--seconds {seconds}",
    ),
    variant(
        "numpy",
        Family::Matmul,
        "peer_gemm.py",
        "--lib numpy --sizes 2048",
        "--seconds {seconds}",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_in_seconds() {
        let bounds =
            |family| -> Vec<_> { of(family).map(|peer| peer.bound(2.5).join(" ")).collect() };
        assert_eq!(bounds(Family::Conv4)[0], "--reps 1000 --max-seconds 2.5");
        assert_eq!(bounds(Family::Tag)[0], "--steps 1000 --max-seconds 2.5");
        assert_eq!(bounds(Family::Matmul)[0], "--seconds 2.5");
    }

    #[test]
    fn a_missing_script_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for variant in VARIANTS {
            let error = variant.check(folder.path()).unwrap_err().to_string();
            assert!(
                error.contains(variant.script) && error.contains("--peers"),
                "{error}"
            );
        }
    }
}
