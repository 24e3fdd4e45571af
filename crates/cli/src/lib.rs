//! Few-shot learning from the command line.
