//! Tests of the public interface: every operation against central differences, and the graph's own promises.
//!
//! Not here: kernels against their definitions, which need the inside (`ops::fused::tests`).

mod graph;
mod ops;
mod wide;
