//! Tests of the public interface: every operation against central differences, and the graph's own promises.
//!
//! Not here: kernels against their definitions, which need the inside (`ops::fused::tests`).

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test that fails says where; exact results are compared exactly"
)]

mod graph;
mod ops;
mod shared;
mod wide;
