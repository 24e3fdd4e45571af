//! Models that are mappings from parameters and input to logits: BERT, Conv-4 and linear heads.
