//! Tests of the public interface.
//!
//! Not here: single operations, which `metashot-autograd` checks.

mod golden;
