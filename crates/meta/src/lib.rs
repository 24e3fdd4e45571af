//! Meta-learning: meta-loss, inner loop, meta-optimizer, learners and evaluation.
