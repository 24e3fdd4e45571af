//! Tests of the public interface.
//!
//! Not here: single operations, which `metashot-autograd` checks.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test that fails says where; exact results are compared exactly"
)]

mod golden;
mod memory;
mod metrics;
mod optimizer;
mod outer;
mod proto_maml;
mod prototypes;
mod recursion;
mod seqeval;
mod sinusoid;
